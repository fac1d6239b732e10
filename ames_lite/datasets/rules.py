"""Rules that say which gallery images are right for a query, on arrays: no names, no files.

One value per query [Q] and per gallery image [N] gives, for each query, the gallery rows, int64 and
ascending. Nothing of size Q × N is made. A query that is its own answer is the caller's to remove.
"""

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from ames_lite.errors import BadInput, check_config, require

Ids = npt.NDArray[np.int64]
Rows = list[Ids]
Floats = npt.NDArray[np.float64]
ALONE = "distractor"  # the label that never makes a partner
EARTH = 6_371_008.8  # metres: the mean radius
FARTHEST = 1e9  # metres: what lies farther is no position
TINY = 1e-6  # metres: decimals are not exact, and 25.00 m apart is within 25 m
MAX_POSITIVES = 50_000_000  # in all: beyond it the rule, not the data, is wrong
BLOCK = 2_000_000  # pairs looked at at a time


def same_label(queries: Sequence[Hashable], gallery: Sequence[Hashable]) -> Rows:
    """Gallery rows of the query's label; none for the label `distractor`.

    >>> [rows.tolist() for rows in same_label(["a", "distractor"], ["b", "a", "distractor", "a"])]
    [[1, 3], []]
    """
    code_of: dict[Hashable, int] = {}
    codes = np.array([code_of.setdefault(label, len(code_of)) for label in gallery], np.int64)
    wanted = np.array([-1 if q == ALONE else code_of.get(q, -1) for q in queries], np.int64)
    return _between(codes, wanted, wanted)


def near_frames(queries: Ids, gallery: Ids, tolerance: int) -> Rows:
    """Gallery rows whose frame number is at most `tolerance` away.

    >>> near_frames(np.array([10]), np.array([12, 9, 11, 10]), 1)[0].tolist()
    [1, 2, 3]
    """
    return _between(gallery, queries - tolerance, queries + tolerance)


def near_on_the_plane(queries: Floats, gallery: Floats, radius: float, slack: float = TINY) -> Rows:
    """Gallery rows at most `radius` away; positions [Q, d] and [N, d], Euclidean, such as metres.

    >>> near_on_the_plane(np.array([[0.0, 0.0]]), np.array([[3.0, 4.0], [3.0, 4.1]]), 5)[0].tolist()
    [0]
    """
    check_radius(radius)
    return _near(queries, gallery, radius + slack)


def near_on_the_earth(queries: Floats, gallery: Floats, radius: float) -> Rows:
    """Gallery rows at most `radius` metres away; [Q, 2] and [N, 2] are latitude, longitude.

    Degrees; distances along a sphere (up to 0.5 % from the ellipsoid), compared as chords in space,
    so that the date line and the poles need no care.

    >>> near_on_the_earth(np.array([[0.0, 179.5]]), np.array([[0.0, -179.5]]), 111_195)
    [array([], dtype=int64)]
    >>> near_on_the_earth(np.array([[0.0, 179.5]]), np.array([[0.0, -179.5]]), 111_196)
    [array([0])]
    """
    check_radius(radius)
    angle = min((radius + TINY) / (2 * EARTH), np.pi / 2)
    return _near(_on_sphere(queries), _on_sphere(gallery), 2 * np.sin(angle) + 1e-15)


def are_metres(values: npt.NDArray[Any]) -> bool:
    """Whether all are finite, and not so large that no distance could be told."""
    return bool((np.abs(values) < FARTHEST).all())


def check_radius(radius: float) -> None:
    check_config(0 <= radius < np.inf, f"radius is {radius}", "metres, 0 or more")


def nearest(queries: Floats, gallery: Floats, count: int) -> Rows:
    """Soft positives: for each query the `count` gallery rows that are nearest, ties by row.

    >>> nearest(np.array([[0.0]]), np.array([[5.0], [1.0], [-1.0], [1.0]]), 2)
    [array([1, 2])]
    """
    check_config(count >= 1, f"nearest is {count}", "a number of at least 1")
    far = (np.linalg.norm(gallery - position, axis=1) for position in queries)
    return [np.sort(np.argsort(one, kind="stable")[:count]).astype(np.int64) for one in far]


def marked(matrix: npt.NDArray[np.generic], where: str) -> Rows:
    """Gallery rows that a matrix [Q, N] of 0 and 1 marks. BadInput, with the place, for others."""
    found: Rows = []
    total, step = 0, max(1, BLOCK * 8 // max(1, matrix.shape[1]))
    for start in range(0, len(matrix), step):
        block = np.asarray(matrix[start : start + step])
        for q, column in np.argwhere(~((block == 0) | (block == 1)))[:1]:
            what = f"row {start + q}, column {column} is {block[q, column]}"
            raise BadInput(what, where=where, expected="true and false, or 0 and 1")
        rows = [np.flatnonzero(row) for row in block]
        total += sum(map(len, rows))
        _check_total(total, len(matrix))
        found += rows
    return found


def _on_sphere(degrees: Floats) -> Floats:
    lat, lon = np.radians(degrees).T
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1)


def _near(queries: Floats, gallery: Floats, reach: float) -> Rows:
    """Gallery points within `reach` of each query, as many queries at a time as BLOCK allows."""
    tree = cKDTree(gallery)
    counts = tree.query_ball_point(queries, reach, return_length=True)
    _check_total(int(counts.sum()), len(queries))
    found: Rows = []
    for block in np.split(queries, np.flatnonzero(np.diff(np.cumsum(counts) // BLOCK)) + 1):
        near = tree.query_ball_point(block, reach, return_sorted=True)
        found += [np.array(rows, np.int64) for rows in near]
    return found


def _between(values: Ids, low: Ids, high: Ids) -> Rows:
    """Rows whose value lies in [low, high], for each query."""
    order = np.argsort(values, kind="stable")
    first = np.searchsorted(values[order], low, side="left")
    last = np.searchsorted(values[order], high, side="right")
    _check_total(int((last - first).sum()), len(first))
    return [np.sort(order[start:end]) for start, end in zip(first, last, strict=True)]


def _check_total(total: int, num_queries: int) -> None:
    each = total // max(1, num_queries)
    what = f"{num_queries} queries would have {total} positives, {each} each"
    expected = f"at most {MAX_POSITIVES}: a smaller radius= or tolerance=, finer labels"
    require(total <= MAX_POSITIVES, what, expected=expected)
