"""Every rule against a slow referee that looks at all pairs."""

from __future__ import annotations

import math
from decimal import Decimal

import numpy as np
import numpy.typing as npt
import pytest

from ames_lite.datasets import rules
from ames_lite.datasets.rules import (
    EARTH,
    marked,
    near_frames,
    near_on_the_earth,
    near_on_the_plane,
    same_label,
)
from ames_lite.errors import BadInput

Rows = list[npt.NDArray[np.int64]]


def listed(rows: Rows) -> list[list[int]]:
    assert all(one.dtype == np.int64 for one in rows)
    return [one.tolist() for one in rows]


def slow_plane(queries: list[list[str]], gallery: list[list[str]], radius: int) -> list[list[int]]:
    """All pairs, in exact decimals."""

    def apart(one: list[str], other: list[str]) -> Decimal:
        steps = [Decimal(a) - Decimal(b) for a, b in zip(one, other, strict=True)]
        return steps[0] ** 2 + steps[1] ** 2

    return [[n for n, g in enumerate(gallery) if apart(q, g) <= radius**2] for q in queries]


def slow_earth(queries: npt.NDArray[np.float64], gallery: npt.NDArray[np.float64]) -> list[float]:
    """Metres of all pairs by the angle between unit vectors (no haversine, no tree)."""

    def vector(lat: float, lon: float) -> tuple[float, float, float]:
        lat, lon = math.radians(lat), math.radians(lon)
        return math.cos(lat) * math.cos(lon), math.cos(lat) * math.sin(lon), math.sin(lat)

    metres = []
    for q in queries.tolist():
        for g in gallery.tolist():
            a, b = vector(*q), vector(*g)
            cross = math.hypot(
                a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]
            )
            metres.append(EARTH * math.atan2(cross, sum(x * y for x, y in zip(a, b, strict=True))))
    return metres


def as_text(values: npt.NDArray[np.int64]) -> list[list[str]]:
    """Positions in centimetres as a file of UTM coordinates writes metres."""
    return [[f"{49900000 + x:d}"[:-2] + f".{x % 100:02d}" for x in row] for row in values.tolist()]


@pytest.mark.parametrize("spread", [20, 60, 500])
def test_the_radius_finds_what_exact_arithmetic_finds(spread: int) -> None:
    rng = np.random.default_rng(spread)
    texts = [as_text(rng.integers(0, spread, (count, 2)) * 100) for count in (40, 90)]
    texts[1] += [[one[0], one[1]] for one in texts[0][:5]]  # the very same place
    points = [np.array([[float(x) for x in row] for row in text]) for text in texts]
    wanted = slow_plane(*texts, radius=25)
    assert listed(near_on_the_plane(*points, 25)) == wanted
    assert 0 < sum(map(len, wanted)) < 40 * 95 + 1


def test_exactly_25_metres_is_within_25_metres_in_centimetres_too() -> None:
    start = [Decimal("499638.99"), Decimal("6958015.36")]
    steps = [("25", "0"), ("25.01", "0"), ("7", "24"), ("15", "-20"), ("15.01", "-20"), ("0", "0")]
    gallery = [[float(a + Decimal(b)) for a, b in zip(start, step, strict=True)] for step in steps]
    found = near_on_the_plane(np.array([[float(a) for a in start]]), np.array(gallery), 25)
    assert listed(found) == [[0, 2, 3, 5]]
    assert listed(near_on_the_plane(np.array(gallery[:1]), np.array(gallery), 0)) == [[0]]


@pytest.mark.parametrize("radius", [30.0, 400_000.0, 3e7])
def test_the_radius_on_the_earth_equals_all_pairs(radius: float) -> None:
    rng = np.random.default_rng(3)
    lat, lon = rng.uniform(-90, 90, 60), rng.uniform(-180, 180, 60)
    lat[:6], lon[:6] = [0, 0, 90, 90, -90, 0], [180, -180, 12, -100, 7, 179.9999]
    gallery = np.stack([lat, lon], axis=1)
    queries = gallery[:20] + rng.uniform(-3e-4, 3e-4, (20, 2)) * np.tile([[1.0], [0.0]], (10, 1))
    queries = np.clip(queries, [-90, -180], [90, 180])
    metres = np.array(slow_earth(queries, gallery)).reshape(20, 60)
    assert np.abs(metres - radius).min() > 1e-3  # no pair at the edge: the referee decides all
    wanted = [np.flatnonzero(row <= radius).tolist() for row in metres]
    assert listed(near_on_the_earth(queries, gallery, radius)) == wanted
    assert sum(map(len, wanted)) > 20


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    points = rng.uniform(0, 100, (80, 2))
    matrix = rng.random((30, 7)) < 0.3
    whole = near_on_the_plane(points, points, 25), marked(matrix, "m")
    monkeypatch.setattr(rules, "BLOCK", 3)
    pieces = near_on_the_plane(points, points, 25), marked(matrix, "m")
    assert [listed(one) for one in whole] == [listed(one) for one in pieces]
    assert listed(whole[1]) == [np.flatnonzero(row).tolist() for row in matrix]


@pytest.mark.parametrize("tolerance", [0, 1, 10])
def test_frames_equal_all_pairs(tolerance: int) -> None:
    rng = np.random.default_rng(tolerance)
    queries, gallery = rng.integers(-20, 60, 30), rng.integers(-20, 60, 50)
    wanted = [[n for n, j in enumerate(gallery) if abs(i - j) <= tolerance] for i in queries]
    assert listed(near_frames(queries, gallery, tolerance)) == wanted


def test_labels_equal_all_pairs_and_distractors_have_no_partner() -> None:
    rng = np.random.default_rng(1)
    words = np.array(["a", "b", "ä", "A", "distractor", "only the gallery", "only a query"])
    queries = words[rng.choice([0, 1, 2, 3, 4, 6], 30)].tolist()
    gallery = words[rng.choice([0, 1, 2, 3, 4, 5], 50)].tolist()
    wanted = [
        [n for n, other in enumerate(gallery) if other == label != "distractor"]
        for label in queries
    ]
    assert listed(same_label(queries, gallery)) == wanted


@pytest.mark.parametrize("kind", [bool, np.uint8, np.int64, np.float32])
def test_a_matrix_of_any_type_marks_the_same(kind: type) -> None:
    matrix = np.array([[1, 0, 1], [0, 0, 0]])
    assert listed(marked(matrix.astype(kind), "m")) == [[0, 2], []]


@pytest.mark.parametrize("value", [2, -1, 0.5, np.nan])
def test_a_matrix_of_other_values_is_refused_with_its_place(value: float) -> None:
    matrix = np.zeros((3, 4))
    matrix[2, 1] = value
    with pytest.raises(BadInput, match=r"row 2, column 1 is(.|\n)*where: +m"):
        marked(matrix, "m")


def test_a_rule_under_which_everything_is_right_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rules, "MAX_POSITIVES", 99)
    points, frames = np.zeros((10, 2)), np.zeros(10, np.int64)
    for rule in (
        lambda: near_on_the_plane(points, points, 25),
        lambda: near_on_the_earth(points, points, 25),
        lambda: near_frames(frames, frames, 1),
        lambda: same_label(["a"] * 10, ["a"] * 10),
        lambda: marked(np.ones((10, 10), bool), "m"),
    ):
        with pytest.raises(BadInput, match="10 queries would have 100 positives, 10 each"):
            rule()
