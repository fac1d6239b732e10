"""Query expansion and database-side augmentation against loops over plain lists."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest

from ames_lite.retrieval.expansion import Aqe, Dba, augmented, expanded
from tests.retrieval.test_rerankers import made

Row = list[float]


def dot(a: Row, b: Row) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def slow_joined(vector: Row, near: list[Row], alpha: float) -> Row:
    """A unit vector joined by unit vectors, of unit length."""
    total = list(vector)
    for other in near:
        weight = dot(vector, other) ** alpha if dot(vector, other) > 0 else 0.0
        total = [t + weight * x for t, x in zip(total, other, strict=True)]
    return [t / sqrt(dot(total, total)) for t in total]


def slow_nearest(vector: Row, rows: list[Row], num: int, without: int | None = None) -> list[int]:
    others = [i for i in range(len(rows)) if i != without]
    return sorted(others, key=lambda i: -dot(vector, rows[i]))[:num]


def slow_aqe(query: Row, rows: list[Row], num: int, alpha: float) -> list[float]:
    """Similarities of all rows to the expanded query."""
    near = [rows[i] for i in slow_nearest(query, rows, num)]
    return [dot(slow_joined(query, near, alpha), row) for row in rows]


def slow_augmented(rows: list[Row], num: int, alpha: float) -> list[Row]:
    return [
        slow_joined(row, [rows[j] for j in slow_nearest(row, rows, num, i)], alpha)
        for i, row in enumerate(rows)
    ]


@pytest.mark.parametrize("num, alpha", [(1, 3.0), (10, 3.0), (10, 0.0), (200, 1.5)])
def test_query_expansion_equals_the_loops(num: int, alpha: float) -> None:
    world = made()
    found = Aqe(num, alpha).rerank(world.query, world.gallery, world.plain)
    rows = world.gallery.astype(float).tolist()
    for q, query in enumerate(world.query.astype(float).tolist()):
        sims = np.array(slow_aqe(query, rows, num, alpha))
        np.testing.assert_array_equal(found.ids[q], np.argsort(-sims))


@pytest.mark.parametrize("num, alpha, again", [(10, 3.0, 0), (4, 1.0, 7), (10, 0.0, 3)])
def test_augmentation_equals_the_loops(num: int, alpha: float, again: int) -> None:
    world = made()
    rows = slow_augmented(world.gallery.astype(float).tolist(), num, alpha)
    np.testing.assert_allclose(augmented(world.gallery, num, alpha), rows, atol=1e-6)
    found = Dba(num, alpha, again).rerank(world.query, world.gallery, world.plain)
    for q, query in enumerate(world.query.astype(float).tolist()):
        sims = np.array(slow_aqe(query, rows, again, alpha))
        np.testing.assert_allclose(found.sims[q], sims[found.ids[q]], atol=1e-6)
        np.testing.assert_allclose(found.sims[q], -np.sort(-sims), atol=1e-6)


def test_lengths_are_kept_and_lengths_of_neighbours_do_not_count() -> None:
    world = made()
    vector, near = world.query[0], world.gallery[:9]
    joined = expanded(vector, near, 3.0)
    assert np.linalg.norm(joined) == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(expanded(5 * vector, near, 3.0), 5 * joined, rtol=1e-5, atol=1e-6)
    longer = near * np.arange(1, 10, dtype=np.float32)[:, None]
    np.testing.assert_allclose(expanded(vector, longer, 3.0), joined, atol=1e-6)


def test_opposite_neighbours_do_not_count() -> None:
    vector = made().query[0]
    for alpha in (0.0, 1.0, 3.0):
        found = expanded(vector, np.stack([-vector, -vector]), alpha)
        np.testing.assert_array_equal(found, vector)
