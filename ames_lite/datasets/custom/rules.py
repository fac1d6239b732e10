"""Rules that say which gallery images are right for a query, on arrays: no names, no files.

In: one value a query [Q] and one a gallery image [N]. Out: for each query the rows of the gallery,
int64, ascending. Nothing of size Q × N is made. That a query is no answer to itself is not known
here: the caller takes it out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from ames_lite.errors import BadInput

Rows = list[npt.NDArray[np.int64]]
Floats = npt.NDArray[np.float64]
ALONE = "distractor"  # the label that never makes a partner
EARTH = 6_371_008.8  # metres: the mean radius, for distances by haversine
SLACK = 1e-6  # metres: decimals are not exact, and 25.00 m apart is within 25 m
MAX_POSITIVES = 50_000_000  # in all: beyond it the rule, not the data, is wrong
BLOCK = 2_000_000  # pairs looked at at a time


def same_label(queries: Sequence[str], gallery: Sequence[str]) -> Rows:
    """Gallery rows of the query's label; none for the label `distractor`.

    >>> [rows.tolist() for rows in same_label(["a", "distractor"], ["b", "a", "distractor", "a"])]
    [[1, 3], []]
    """
    code_of: dict[str, int] = {}
    codes = np.array([code_of.setdefault(label, len(code_of)) for label in gallery], np.int64)
    wanted = [-1 if label == ALONE else code_of.get(label, -1) for label in queries]
    order = np.argsort(codes, kind="stable")
    ends = np.searchsorted(codes[order], np.arange(-1, len(code_of)), side="right")
    starts = np.concatenate([[0], ends])  # of code c: starts[c + 1] to ends[c + 1]; of -1: nothing
    first = np.array([starts[code + 1] for code in wanted], np.int64)
    last = np.array([ends[code + 1] for code in wanted], np.int64)
    return _runs(order, first, last)


def near_frames(
    queries: npt.NDArray[np.int64], gallery: npt.NDArray[np.int64], tolerance: int
) -> Rows:
    """Gallery rows whose frame number is at most `tolerance` away.

    >>> near_frames(np.array([10]), np.array([12, 9, 11, 10]), 1)[0].tolist()
    [1, 2, 3]
    """
    order = np.argsort(gallery, kind="stable")
    by_frame = gallery[order]
    first = np.searchsorted(by_frame, queries - tolerance, side="left")
    last = np.searchsorted(by_frame, queries + tolerance, side="right")
    return _runs(order, first, last)


def near_on_the_plane(queries: Floats, gallery: Floats, radius: float) -> Rows:
    """Gallery rows at most `radius` metres away; queries [Q, 2] and gallery [N, 2] are x, y.

    >>> near_on_the_plane(np.array([[0.0, 0.0]]), np.array([[3.0, 4.0], [3.0, 4.1]]), 5)[0].tolist()
    [0]
    """
    reach = (radius + SLACK) * (1 + 1e-9)
    return _near(queries, gallery, reach, (queries, gallery), _euclidean, radius)


def near_on_the_earth(queries: Floats, gallery: Floats, radius: float) -> Rows:
    """Gallery rows at most `radius` metres away; [Q, 2] and [N, 2] are latitude, longitude.

    Degrees; distances by haversine on a sphere of 6371008.8 m (up to 0.5 % from the ellipsoid).
    The search goes by chords in space, so that the date line and the poles need no care.
    """
    angle = min((radius + SLACK) / (2 * EARTH), np.pi / 2)
    reach = 2 * np.sin(angle) * (1 + 1e-6) + 1e-12
    points = (_on_sphere(queries), _on_sphere(gallery))
    return _near(queries, gallery, reach, points, haversine, radius)


def haversine(one: Floats, other: Floats) -> Floats:
    """Metres between positions (latitude, longitude in degrees), [P, 2] each.

    >>> round(float(haversine(np.array([[0.0, 179.5]]), np.array([[0.0, -179.5]]))[0]))
    111195
    """
    (lat1, lon1), (lat2, lon2) = np.radians(one).T, np.radians(other).T
    squared = np.sin((lat2 - lat1) / 2) ** 2
    squared = squared + np.cos(lat1) * np.cos(lat2) * np.sin((lon2 - lon1) / 2) ** 2
    metres: Floats = 2 * EARTH * np.arcsin(np.sqrt(np.minimum(squared, 1)))
    return metres


def _euclidean(one: Floats, other: Floats) -> Floats:
    metres: Floats = np.hypot(*(one - other).T)
    return metres


def _on_sphere(degrees: Floats) -> Floats:
    lat, lon = np.radians(degrees).T
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1)


def _near(
    queries: Floats,
    gallery: Floats,
    reach: float,
    points: tuple[Floats, Floats],
    distance: Callable[[Floats, Floats], Floats],
    radius: float,
) -> Rows:
    """A tree finds all within `reach` of the points, the distance itself decides."""
    query_points, tree = points[0], cKDTree(points[1])
    counts = tree.query_ball_point(query_points, reach, return_length=True)
    _check_total(int(counts.sum()), len(queries))
    found: Rows = []
    blocks = np.cumsum(counts) // BLOCK
    for block in np.split(np.arange(len(queries)), np.flatnonzero(np.diff(blocks)) + 1):
        near = tree.query_ball_point(query_points[block], reach, return_sorted=True)
        lengths = np.array([len(rows) for rows in near], np.int64)
        query = np.repeat(np.arange(len(block)), lengths)
        row = np.array([row for rows in near for row in rows], np.int64)
        kept = distance(queries[block][query], gallery[row]) <= radius + SLACK
        ends = np.cumsum(np.bincount(query[kept], minlength=len(block)))
        found += np.split(row[kept], ends[:-1])
    return found


def marked(matrix: npt.NDArray[np.generic], where: str) -> Rows:
    """Gallery rows that a matrix [Q, N] of booleans, or of 0 and 1, marks in each row.

    Raises BadInput, naming `where`, row and column, for any other value.
    """
    found: Rows = []
    total = 0
    step = max(1, BLOCK * 8 // max(1, matrix.shape[1]))
    for start in range(0, len(matrix), step):
        block = np.asarray(matrix[start : start + step])
        for q, column in np.argwhere(~((block == 0) | (block == 1)))[:1]:
            raise BadInput(
                f"row {start + q}, column {column} is {block[q, column]}",
                where=where,
                expected="true and false, or 0 and 1",
            )
        query, row = np.nonzero(block)
        ends = np.cumsum(np.bincount(query, minlength=len(block)))
        found += np.split(row.astype(np.int64), ends[:-1])
        total += len(row)
        _check_total(total, len(matrix))
    return found


def _runs(
    order: npt.NDArray[np.int64], first: npt.NDArray[np.int64], last: npt.NDArray[np.int64]
) -> Rows:
    """order[first:last] of each query, ascending."""
    _check_total(int((last - first).sum()), len(first))
    return [np.sort(order[start:end]) for start, end in zip(first, last, strict=True)]


def _check_total(total: int, num_queries: int) -> None:
    if total > MAX_POSITIVES:
        raise BadInput(
            f"{num_queries} queries would have {total} positives, "
            f"{total // max(1, num_queries)} each",
            expected=f"at most {MAX_POSITIVES}: a smaller radius= or tolerance=, finer labels",
        )
