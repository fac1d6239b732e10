"""Names of images: listed once, there on disk, in UTF-8."""

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from ames_lite.errors import BadInput

Where = Callable[[int], str]  # names the place of a row, for messages


def line_of(path: Path | str, word: str = "line") -> Where:
    """What names the line of a row.

    >>> line_of("list.txt")(0)
    'list.txt, line 1'
    """
    return lambda row: f"{path}, {word} {row + 1}"


def check_once(
    names: Iterable[object],
    where: Where,
    *,
    expected: str = "every image once",
    written: Sequence[str] | None = None,
    said: Sequence[str] | None = None,
) -> None:
    """Raise BadInput where a name stands twice. written: as in the file; said: what a row says."""
    first: dict[object, int] = {}
    for row, name in enumerate(names):
        before = first.setdefault(name, row)
        if before == row:
            continue
        what = f"'{name}' is listed twice, first in {where(before)}"
        if written is not None and {written[before], written[row]} != {name}:
            what += f", there written '{written[before]}' and here '{written[row]}'"
        if said is not None and said[before] != said[row]:
            what += f", there as '{said[before]}' and here as '{said[row]}'"
        raise BadInput(what, where=where(row), expected=expected)


def check_present(root: Path, names: Sequence[str], where: Where) -> None:
    """Raise BadInput where listed images are absent: the first with file and line, and how many."""
    absent = [row for row, name in enumerate(names) if not os.path.isfile(root / name)]
    if absent:
        what = f"{len(absent)} of {len(names)} listed images are absent, first '{names[absent[0]]}'"
        expected = f"an image at {root / names[absent[0]]}"
        raise BadInput(what, where=where(absent[0]), expected=expected)


def say_difference(there: Sequence[str], listed: Sequence[str]) -> str:
    """Where the names of a store first differ from those of its image list, in words."""
    both = min(len(there), len(listed))
    row = next((row for row in range(both) if there[row] != listed[row]), both)
    a, b = (names[row] if row < len(names) else "nothing" for names in (there, listed))
    said = f"{len(there)} names, the image list {len(listed)}"
    return f"the store has {said}; row {row} is '{a}' there and '{b}' in the list"


def check_utf8(names: Iterable[str], where: str | Path) -> None:
    """Raise BadInput for a file name whose bytes are not UTF-8: no list can hold it."""
    for name in names:
        try:
            name.encode("utf-8")
        except UnicodeEncodeError as error:
            shown = name.encode("utf-8", "backslashreplace").decode()
            what = f"the name of an image is not UTF-8: '{shown}'"
            raise BadInput(what, where=where, expected="UTF-8", remedy="rename it") from error
