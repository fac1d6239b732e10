"""Images and text files of official layouts: what a folder holds, in which order, line by line.

Names are relative to the root of the dataset, `/`-separated. Files that speak of images by number
mean the natural order of the folder (2.jpg before 10.jpg).
"""

from __future__ import annotations

import logging
import re
from pathlib import Path

import numpy as np

from ames_lite.datasets.names import check_once, line_of
from ames_lite.datasets.rules import Floats
from ames_lite.errors import BadInput, MissingFile, require
from ames_lite.io.images import is_image_name, list_folder, no_images
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
    what = "a file of the set is missing"
    require(path.is_file(), what, where=path, expected=expected, kind=MissingFile)
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise BadInput(f"not UTF-8 text ({error})", where=path, expected=expected) from error


def read_names(path: Path, expected: str) -> list[str]:
    """One name a line. Raises BadInput, with the line, for a blank one and one listed twice."""
    names = [line.strip() for line in read_lines(path, expected)]
    require(names, "an empty list", where=path, expected=expected)
    blank = names.index("") if "" in names else 0
    require(all(names), "a blank line", where=f"{path}, line {blank + 1}", expected=expected)
    check_once(names, line_of(path), expected=expected)
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
