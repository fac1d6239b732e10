"""Images of official layouts: which a folder holds, in which order, and whether listed ones exist.

Names are relative to the root of the set, `/`-separated. Files that speak of images by number mean
the natural order of the folder (2.jpg before 10.jpg).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from ames_lite.errors import BadInput, MissingFile
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
    place = root / folder
    if not place.is_dir():
        raise MissingFile("a folder of the set is missing", where=place, expected="its images")
    return place


def read_lines(path: Path, expected: str) -> list[str]:
    """The lines of a text file, without what ends them. Raises MissingFile, BadInput."""
    if not path.is_file():
        raise MissingFile("a file of the set is missing", where=path, expected=expected)
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise BadInput(f"not UTF-8 text ({error})", where=path, expected=expected) from error


def read_names(path: Path, expected: str) -> list[str]:
    """One name a line. Raises BadInput, with the line, for a blank one and one listed twice."""
    names = [line.strip() for line in read_lines(path, expected)]
    first: dict[str, int] = {}
    for line, name in enumerate(names, start=1):
        before = first.setdefault(name, line)
        if not name or before != line:
            what = f"'{name}' is listed twice, first in line {before}" if name else "a blank line"
            raise BadInput(what, where=f"{path}, line {line}", expected=expected)
    if not names:
        raise BadInput("an empty list", where=path, expected=expected)
    return names


def line_of(path: Path | str, word: str = "line") -> Callable[[int], str]:
    """What names the line of a row, for messages.

    >>> line_of("list.txt")(0)
    'list.txt, line 1'
    """
    return lambda row: f"{path}, {word} {row + 1}"


def check_present(root: Path, names: Sequence[str], where: Callable[[int], str]) -> None:
    """Raise BadInput where listed images are absent: the first with file and line, and how many."""
    absent = [row for row, name in enumerate(names) if not (root / name).is_file()]
    if absent:
        raise BadInput(
            f"{len(absent)} of {len(names)} listed images are absent, first '{names[absent[0]]}'",
            where=where(absent[0]),
            expected=f"an image at {root / names[absent[0]]}",
        )
