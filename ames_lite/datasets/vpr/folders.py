"""Folders, text files and lists of gallery rows of official layouts, checked as they are read.

Names are relative to the root of the dataset, `/`-separated. Files that speak of images by number
mean the natural order of the folder (2.jpg before 10.jpg).
"""

import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ames_lite.datasets.image_lists import read_image_list
from ames_lite.datasets.rules import Floats, Rows
from ames_lite.errors import BadInput, MissingFile, existing_file, explained, require
from ames_lite.io.images import is_image_name, list_folder, no_images
from ames_lite.io.names import check_present, line_of
from ames_lite.io.walking import is_hidden

logger = logging.getLogger(__name__)


def natural_key(name: str) -> tuple[tuple[str, int], ...]:
    """What natural order sorts by: texts and the numbers between them.

    >>> sorted(["f10.jpg", "f2.jpg", "e30.jpg"], key=natural_key)
    ['e30.jpg', 'f2.jpg', 'f10.jpg']
    """
    parts = re.split(r"([0-9]+)", name)
    texts, numbers = parts[::2], [int(part) for part in parts[1::2]]
    return tuple(zip(texts, [*numbers, -1], strict=True))


def natural_names(root: Path, folder: str) -> list[str]:
    """Images right in a folder (not below it), in natural order. Raises where there are none."""
    place = _folder(root, folder)
    pictures = [p.name for p in place.iterdir() if is_image_name(p.name)]
    found = [name for name in pictures if not is_hidden(name) and (place / name).is_file()]
    hidden = sum(map(is_hidden, pictures))
    if hidden:
        logger.warning("%d hidden images are left out in %s", hidden, place)
    if not found:
        raise no_images(place)
    return [f"{folder}/{name}" for name in sorted(found, key=natural_key)]


def sorted_names(root: Path, folder: str) -> list[str]:
    """Images anywhere below a folder, sorted by path. Raises where there are none."""
    found, notes = list_folder(_folder(root, folder))
    for note in notes:
        logger.warning("%s: %s", root / folder, note)
    if not found:
        raise no_images(root / folder)
    return [f"{folder}/{name}" for name in found]


def _folder(root: Path, folder: str) -> Path:
    place, what = root / folder, "a folder of the set is missing"
    require(place.is_dir(), what, where=place, expected="its images", kind=MissingFile)
    return place


def read_lines(path: Path, expected: str) -> list[str]:
    """The lines of a text file, without what ends them. Raises MissingFile, BadInput."""
    existing_file(path, "a file of the set is missing", expected=expected)
    with explained("not UTF-8 text ({})", UnicodeDecodeError, where=path, expected=expected):
        return path.read_text(encoding="utf-8-sig").splitlines()


def listed_images(root: Path, listed: str, folder: str) -> list[str]:
    """Names of the images of a list, below a folder ("": the root)."""
    names = [f"{folder}/{name}".lstrip("/") for name in read_image_list(root / listed).names]
    check_present(root, names, line_of(root / listed))
    return names


def numbers_of(text: str, count: int) -> Floats:
    """The numbers of a text, as many as `count`; NaN where it has others, or none.

    >>> numbers_of("1 2.5", 2), numbers_of("1 x", 2)
    (array([1. , 2.5]), array([nan, nan]))
    """
    try:
        values = np.array([float(word) for word in text.split()])
    except ValueError:
        values = np.empty(0)
    return values if len(values) == count else np.full(count, np.nan)


def check_rows(
    values: object, num_gallery: int, where: str, expected: str, what: str = "positives"
) -> npt.NDArray[np.int64]:
    """Gallery rows as a file lists them, a whole number or a list of them: ascending, in range."""
    rows = _whole_rows(values, where, expected, what)
    if rows.size and not 0 <= rows[0] <= rows[-1] < num_gallery:
        what = f"{what} name gallery rows {rows[0]} to {rows[-1]}, there are {num_gallery} images"
        other = "ground truth of another release, or images that are missing"
        raise BadInput(what, where=where, expected=f"rows 0 to {num_gallery - 1}: {other}")
    return rows


def listed_positives(
    lists: Sequence[object], num_gallery: int, where: Callable[[int], str], expected: str
) -> tuple[Rows, tuple[str, ...]]:
    """The rows of every query's list (where: names it), and what is to be said of them.

    A window of frames may reach beyond the last: rows that go on from the gallery's last one
    without a gap are left out and counted. Other rows that it lacks are refused by `check_rows`.

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
        return found, ()
    total, queries = sum(map(len, cut)), "1 query" if len(cut) == 1 else f"{len(cut)} queries"
    last = f"the last of {num_gallery} gallery images (rows to {max(rows[-1] for rows in cut)})"
    note = f"{total} positives of {queries} are beyond {last}, at the end of a window of frames"
    return found, (f"{note}: never matched",)


def _whole_rows(values: object, where: str, expected: str, what: str) -> npt.NDArray[np.int64]:
    """Whole numbers, also written as 3.0: ascending, each once."""
    given = values.tolist() if isinstance(values, np.ndarray) else values
    given = list(given) if isinstance(given, list | tuple) else [given]
    shown = " ".join(repr(values).split())
    shown = shown if len(shown) < 60 else shown[:57] + "..."
    require(all(map(_is_whole, given)), f"{what} are {shown}", where=where, expected=expected)
    return np.unique(np.array([int(value) for value in given], np.int64))


def _is_whole(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        return False
    return abs(float(value)) < 2**53 and float(value).is_integer()


def check_length(found: int, wanted: int, what: str, where: object, of: str) -> None:
    """Raise BadInput where a list has another length than the images that it speaks of."""
    what = f"{what} has {found} rows, and {of} {wanted} images"
    expected = f"{wanted} rows: a list of the same release, and all images"
    require(found == wanted, what, where=str(where), expected=expected)
