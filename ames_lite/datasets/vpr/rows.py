"""Gallery rows as the files of official layouts list them: checked, ascending, each once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from ames_lite.datasets.rules import Rows
from ames_lite.errors import require


def check_rows(
    values: object, num_gallery: int, where: str, expected: str, what: str = "positives"
) -> npt.NDArray[np.int64]:
    """Gallery rows as a file lists them: one whole number, or a list or array of them; ascending.

    Raises BadInput, naming `where`, for anything else and for rows that the gallery lacks.
    """
    rows = _whole_rows(values, where, expected, what)
    low, high = (rows[0], rows[-1]) if rows.size else (0, 0)
    require(
        not rows.size or 0 <= low <= high < num_gallery,
        f"{what} name gallery rows {low} to {high}, there are {num_gallery} images",
        where=where,
        expected=f"rows 0 to {num_gallery - 1}: ground truth of another release, or images that "
        "are missing",
    )
    return rows


def listed_positives(
    lists: Sequence[object], num_gallery: int, where: Callable[[int], str], expected: str
) -> tuple[Rows, list[str]]:
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


def _whole_rows(values: object, where: str, expected: str, what: str) -> npt.NDArray[np.int64]:
    """Whole numbers, also written as 3.0: ascending, each once."""
    given = values.tolist() if isinstance(values, np.ndarray) else values
    given = list(given) if isinstance(given, list | tuple) else [given]
    shown = " ".join(repr(values).split())
    shown = shown if len(shown) < 60 else shown[:57] + "..."
    fine = all(map(_is_whole, given))
    require(fine, f"{what} are {shown}", where=where, expected=expected)
    return np.unique(np.array([int(value) for value in given], np.int64))


def _is_whole(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        return False
    number = float(value)
    return abs(number) < 2**53 and number.is_integer()


def check_length(found: int, wanted: int, what: str, where: object, of: str) -> None:
    """Raise BadInput where a list has another length than the images that it speaks of."""
    require(
        found == wanted,
        f"{what} has {found} rows, and {of} {wanted} images",
        where=str(where),
        expected=f"{wanted} rows: a list of the same release, and all images",
    )
