"""Rules of positives against slow, obvious referees; positions and orders by hand."""

from __future__ import annotations

import numpy as np
import pytest

from ames_lite.datasets.relation import Relation
from ames_lite.datasets.rules import near_frames, near_on_the_plane, nearest
from ames_lite.datasets.vpr.by_position import angles, by_position
from ames_lite.datasets.vpr.folders import check_rows, listed_positives, natural_key
from ames_lite.errors import BadInput


def slow_radius(query: np.ndarray, gallery: np.ndarray, radius: float) -> list[list[int]]:
    return [[row for row, g in enumerate(gallery) if sum((q - g) ** 2) <= radius**2] for q in query]


@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize("seed", range(3))
def test_the_radius_is_inclusive_and_finds_what_comparing_all_finds(dim: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    query, gallery = (random.integers(0, 40, (n, dim)).astype(float) for n in (30, 200))
    for radius in (0.0, 5.0, 13.0, 25.0):  # whole numbers: 3-4-5, 5-12-13 lie on the border
        found = [rows.tolist() for rows in near_on_the_plane(query, gallery, radius, slack=0)]
        assert found == slow_radius(query, gallery, radius)


def test_soft_positives_are_the_nearest_ties_by_row() -> None:
    random = np.random.default_rng(0)
    query, gallery = (random.integers(0, 6, (n, 2)).astype(float) for n in (20, 50))
    for count in (1, 5, 50, 60):
        for q, rows in zip(query, nearest(query, gallery, count), strict=True):
            far = [(float(((q - g) ** 2).sum()), row) for row, g in enumerate(gallery)]
            assert rows.tolist() == sorted(row for _, row in sorted(far)[:count])
    both = by_position(query, gallery, 2.0, 3)
    for one, near, inside in zip(
        both, nearest(query, gallery, 3), near_on_the_plane(query, gallery, 2.0), strict=True
    ):
        assert set(one.tolist()) == set(near.tolist()) & set(inside.tolist())


def test_frames_are_right_up_to_the_tolerance() -> None:
    whole = near_frames(np.arange(2760) * 10, np.arange(27592), 1)  # Nordland as VPR-Bench splits
    assert {len(rows) for rows in whole} == {2, 3}
    assert whole[0].tolist() == [0, 1] and whole[-1].tolist() == [27589, 27590, 27591]


@pytest.mark.parametrize(
    "values, rows",
    [
        (3, [3]),
        ([], []),
        (np.zeros(0), []),
        ([2, 0, 2], [0, 2]),
        (np.array([1.0, 4.0]), [1, 4]),
        (np.array([np.int64(2), 1], object), [1, 2]),
    ],
)
def test_rows_are_read_from_whatever_holds_whole_numbers(values: object, rows: list[int]) -> None:
    assert check_rows(values, 5, "file", "rows").tolist() == rows


@pytest.mark.parametrize(
    "values", [5, -1, 0.5, [True], "1", [[1], [2, 3]], [None], np.nan, np.inf, [1, "2"]]
)
def test_rows_that_are_none_are_refused(values: object) -> None:
    with pytest.raises(BadInput, match="file, row 7"):
        check_rows(values, 5, "file, row 7", "rows")


def referee_of_windows(lists: list[list[int]], num: int) -> list[list[int]] | None:
    """None where a row that the gallery lacks is not reached from its last one, one by one."""
    kept = []
    for rows in lists:
        reached = {num - 1} & set(rows)
        while reached and max(reached) + 1 in rows:
            reached.add(max(reached) + 1)
        if not all(0 <= row < num or row in reached for row in rows):
            return None
        kept.append([row for row in sorted(set(rows)) if row < num])
    return kept


@pytest.mark.parametrize(
    "lists",
    [
        [[0, 1, 2], [2, 3, 4], [3, 4, 5, 6, 7], [4, 5]],  # as of tolerance windows
        [[4, 6, 5, 3], [5, 4, 4]],
        [[0, 4, 5]],  # a place that was passed twice
        [[3, 4]],
        [[], [4]],
        [[5]],  # none of it is in the gallery
        [[4, 6]],
        [[3, 5]],
        [[4, 5, 7]],
        [[0, 9]],
        [[-1, 0]],
        [[3, 4, 5], [9, 10, 11]],
    ],
)
def test_only_the_end_of_a_window_may_lie_beyond_the_gallery(lists: list[list[int]]) -> None:
    wanted = referee_of_windows(lists, 5)
    if wanted is None:
        with pytest.raises(BadInput, match=r"file, row \d(?s:.*)another release"):
            listed_positives(lists, 5, lambda row: f"file, row {row}", "rows")
        return
    found, notes = listed_positives(lists, 5, str, "rows")
    assert [rows.tolist() for rows in found] == wanted
    beyond = [[row for row in set(rows) if row >= 5] for rows in lists]
    number, lists_cut = sum(map(len, beyond)), sum(map(bool, beyond))
    assert bool(notes) == bool(number)
    if notes:
        queries = "1 query" if lists_cut == 1 else f"{lists_cut} queries"
        assert f"{number} positives of {queries} are beyond" in notes[0]


def test_natural_order_counts() -> None:
    names = ["10.jpg", "9.jpg", "a10b2.jpg", "a10b10.jpg", "a9b100.jpg", "b.jpg"]
    assert sorted(reversed(names), key=natural_key) == [
        "9.jpg",
        "10.jpg",
        "a9b100.jpg",
        "a10b2.jpg",
        "a10b10.jpg",
        "b.jpg",
    ]


def test_swapping_twice_changes_nothing() -> None:
    random = np.random.default_rng(0)
    found = [np.flatnonzero(random.random(7) < 0.3) for _ in range(5)]
    names = [f"q{i}" for i in range(5)], [f"g{i}" for i in range(7)]
    given = Relation(*names, {"easy": found})
    back = given.swapped().swapped()
    assert back.query_names == given.query_names and back.gallery_names == given.gallery_names
    assert [r.tolist() for r in back.rows["easy"]] == [r.tolist() for r in given.rows["easy"]]
    for g, rows in enumerate(given.swapped().rows["easy"]):
        assert rows.tolist() == [q for q, right in enumerate(found) if g in right]


def test_the_angle_of_two_cameras_is_that_of_the_rotation_between() -> None:
    def turned(degrees: float) -> np.ndarray:
        c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
        return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])

    turns = np.stack([turned(d) for d in (10.0, 40.0, 190.0)])
    np.testing.assert_allclose(angles(turns, turned(10.0)), [0.0, 30.0, 180.0], atol=1e-4)
