"""Rules that say which gallery images are right: by distance, by rank of distance, by frames.

In: positions or frame numbers of both sides. Out: one ascending array of gallery rows a query.
The conventions to know: a radius is inclusive and Euclidean, in the units of the positions; frames
are places in the order of the folder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from ames_lite.errors import BadInput, ConfigError

Positions = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]


def within_radius(query: Positions, gallery: Positions, radius: float) -> list[Rows]:
    """For each query [Q, d] the gallery rows [N, d] at a distance of at most `radius`.

    >>> a = np.array
    >>> within_radius(a([[0.0, 0.0]]), a([[15.0, 20.0], [15.1, 20.0]]), 25.0)
    [array([0])]
    """
    if not 0 <= radius < np.inf:
        raise ConfigError(f"radius is {radius}", expected="a distance, 0 or more")
    found = cKDTree(gallery).query_ball_point(query, radius)
    return [np.array(sorted(rows), np.int64) for rows in found]


def nearest(query: Positions, gallery: Positions, count: int) -> list[Rows]:
    """Soft positives: for each query the `count` gallery rows that are nearest, ties by row.

    >>> a = np.array
    >>> nearest(a([[0.0]]), a([[5.0], [1.0], [-1.0], [1.0]]), 2)
    [array([1, 2])]
    """
    if count < 1:
        raise ConfigError(f"nearest is {count}", expected="a number of at least 1")
    found = []
    for position in query:
        distances = np.linalg.norm(gallery - position, axis=1)
        found.append(np.sort(np.argsort(distances, kind="stable")[:count]).astype(np.int64))
    return found


def by_position(
    query: Positions, gallery: Positions, radius: float | None, nearest_count: int | None
) -> list[Rows]:
    """Within a radius, the nearest so many, or where both are given those that are both."""
    if radius is None and nearest_count is None:
        raise ConfigError("neither radius nor nearest is given", expected="one of them, or both")
    if nearest_count is None:
        assert radius is not None
        return within_radius(query, gallery, radius)
    first = nearest(query, gallery, nearest_count)
    if radius is None:
        return first
    inside = within_radius(query, gallery, radius)
    return [np.intersect1d(one, other) for one, other in zip(first, inside, strict=True)]


def within_frames(
    num_query: int, num_gallery: int, tolerance: int, stride: int = 1, where: str | None = None
) -> list[Rows]:
    """Query i is where gallery image i * stride is; up to `tolerance` frames beside it are right.

    >>> within_frames(3, 21, tolerance=1, stride=10)
    [array([0, 1]), array([ 9, 10, 11]), array([19, 20])]

    Raises BadInput, naming `where`, where the sequences cannot be of one traverse each: the gallery
    must have between (Q - 1) * stride + 1 and Q * stride images.
    """
    if tolerance < 0 or stride < 1:
        what = f"frames is {tolerance} and stride {stride}"
        raise ConfigError(what, expected="frames of 0 or more, a stride of 1 or more")
    low, high = (num_query - 1) * stride + 1, num_query * stride
    if not low <= num_gallery <= high:
        expected = f"{low} to {high}" if low < high else str(low)
        raise BadInput(
            f"{num_query} query frames, one for {stride} of the gallery, meet {num_gallery}",
            where=where,
            expected=f"{expected} gallery frames",
        )
    found = []
    for query in range(num_query):
        first = max(0, query * stride - tolerance)
        found.append(np.arange(first, min(num_gallery, query * stride + tolerance + 1)))
    return [rows.astype(np.int64) for rows in found]


def check_rows(
    values: object, num_gallery: int, where: str, expected: str, what: str = "positives"
) -> Rows:
    """Gallery rows as a file lists them: one whole number, or a list or array of them; ascending.

    Raises BadInput, naming `where`, for anything else and for rows that the gallery lacks.
    """
    rows = _whole_rows(values, where, expected, what)
    if rows.size and not 0 <= rows[0] <= rows[-1] < num_gallery:
        raise BadInput(
            f"{what} name gallery rows {rows[0]} to {rows[-1]}, there are {num_gallery} images",
            where=where,
            expected=f"rows 0 to {num_gallery - 1}: ground truth of another release, or images "
            "that are missing",
        )
    return rows


def listed_positives(
    lists: Sequence[object], num_gallery: int, where: Callable[[int], str], expected: str
) -> tuple[list[Rows], list[str]]:
    """The rows of every query's list, and what is to be said of them. where: names a query's list.

    A window of frames may reach beyond the last: rows that go on from the gallery's last one
    without a gap can never be retrieved, and are left out and counted. Other rows that the gallery
    lacks are those of another release; errors as of `check_rows`.

    >>> rows, notes = listed_positives([[2, 3, 4], [3, 4, 5, 6]], 5, str, "rows")
    >>> [found.tolist() for found in rows], notes[0][:39]
    ([[2, 3, 4], [3, 4]], '2 positives of 1 query are beyond the l')
    """
    found, cut = [], []
    for query, values in enumerate(lists):
        rows = _whole_rows(values, where(query), expected, "positives")
        beyond = rows[rows >= num_gallery]
        window = np.arange(num_gallery - 1, num_gallery + len(beyond))
        if len(beyond) and np.array_equal(rows[-len(window) :], window):
            cut.append(beyond)
            rows = rows[: -len(beyond)]
        found.append(check_rows(rows, num_gallery, where(query), expected))
    if not cut:
        return found, []
    total, queries = sum(map(len, cut)), "1 query" if len(cut) == 1 else f"{len(cut)} queries"
    return found, [
        f"{total} positives of {queries} are beyond the last of {num_gallery} gallery images (rows "
        f"to {max(rows[-1] for rows in cut)}), at the end of a window of frames: never matched"
    ]


def _whole_rows(values: object, where: str, expected: str, what: str) -> Rows:
    """Whole numbers, ascending, each once."""
    given = values.tolist() if isinstance(values, np.ndarray) else values
    given = list(given) if isinstance(given, list | tuple) else [given]
    if not all(_is_whole(value) for value in given):
        raise BadInput(f"{what} are {_shown(values)}", where=where, expected=expected)
    return np.unique(np.array([int(value) for value in given], np.int64))


def _is_whole(value: object) -> bool:
    """Whether a value is a whole number, also one written as 3.0."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        return False
    number = float(value)
    return abs(number) < 2**53 and number.is_integer()


def _shown(values: object) -> str:
    text = " ".join(repr(values).split())
    return text if len(text) < 60 else text[:57] + "..."


def check_length(found: int, wanted: int, what: str, where: str, of: str) -> None:
    """Raise BadInput where a list has another length than the images that it speaks of."""
    if found != wanted:
        raise BadInput(
            f"{what} has {found} rows, and {of} {wanted} images",
            where=where,
            expected=f"{wanted} rows: a list of the same release, and all images",
        )
