"""exact_knn is measured against a flat search that finds the same neighbours."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.extraction.neighbours import (
    NeighbourSpeed,
    compare,
    flat_search,
    measure_neighbours,
    unit_rows,
)


def test_the_flat_search_is_a_sort_of_all_similarities() -> None:
    vectors = unit_rows(200, 24, seed=3)
    ids, sims = flat_search(vectors[:50], vectors, 7)
    expected = vectors[:50] @ vectors.T
    order = np.argsort(-expected, axis=1)[:, :7]
    np.testing.assert_array_equal(ids, order)
    np.testing.assert_allclose(sims, np.take_along_axis(expected, order, 1), atol=1e-6)


@pytest.mark.slow
def test_both_sides_find_the_same_neighbours() -> None:
    (cell,) = measure_neighbours(NeighbourSpeed(500, 16, 20, repeats=2))
    assert cell["difference"]["ids_shared"] > 0.999 and cell["difference"]["sims"] < 1e-6
    assert cell["repeats"] == 2 and cell["threads"] >= 1
    assert set(cell["seconds"]) == set(cell["peak_memory_mib"]) == {"project", "flat"}
    assert all(value > 50 for value in cell["peak_memory_mib"].values())


def test_other_neighbours_are_noticed() -> None:
    flat_ids = np.array([[0, 1, 2], [1, 2, 0], [2, 0, 1]])
    flat_sims = np.array([[1, 0.5, 0.2], [1, 0.4, 0.5], [1, 0.2, 0.4]], np.float32)
    ids, sims = flat_ids[:, 1:].copy(), flat_sims[:, 1:].copy()
    assert compare(ids, sims, flat_ids.copy(), flat_sims) == {"ids_shared": 1.0, "sims": 0.0}
    other = np.where(ids == 2, 3, ids)
    assert compare(other, sims, flat_ids.copy(), flat_sims)["ids_shared"] == pytest.approx(4 / 6)
    with pytest.raises(RuntimeError, match="differ from the flat search's"):
        compare(ids, sims + 1e-3, flat_ids.copy(), flat_sims)


def test_a_row_that_its_copies_crowd_out_of_the_flat_list_is_no_error() -> None:
    ids = np.array([[1, 2], [0, 2], [0, 1], [0, 1]])
    flat_ids = np.array([[0, 1, 2], [0, 1, 2], [0, 1, 2], [0, 1, 2]])
    ones = np.ones((4, 3), np.float32)
    assert compare(ids, ones[:, 1:], flat_ids, ones)["ids_shared"] == 1.0
