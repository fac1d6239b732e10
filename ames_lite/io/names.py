"""Names of images: matched to those of a list, listed once, there on disk, in UTF-8."""

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput, require

Where = Callable[[int], str]  # names the place of a row, for messages


def match_names(
    wanted: Sequence[str],
    available: Sequence[str],
    wanted_from: str = "the names asked for",
    available_from: str = "the image list",
) -> npt.NDArray[np.int64]:
    """The row in `available` of every wanted name, [len(wanted)].

    A name matches itself, or else the one path that it is the end of, with or without the
    extension: official ground truth says `all_souls_000013` for `jpg/all_souls_000013.jpg`. Raises
    BadInput where a name fits no image or several, or two names the same image.

    >>> match_names(["b", "jpg/a.jpg"], ["jpg/a.jpg", "jpg/b.jpg"])
    array([1, 0])
    """
    rows = {name: [row] for row, name in enumerate(available)}
    unmatched = {name for name in wanted if name not in rows}
    if unmatched:
        rows |= _match_short_forms(unmatched, available)
    between = f"{wanted_from} against {available_from}"
    absent = [name for name in dict.fromkeys(wanted) if name not in rows]
    few = ", ".join(f"'{name}'" for name in absent[:3])
    what = f"{len(absent)} of {len(wanted)} names fit no image: {few}"
    example = f"'{available[0]}'" if available else "'(the list is empty)'"
    require(not absent, what, where=between, expected=f"names such as {example}")
    taken: dict[int, str] = {}
    for name in wanted:
        fits = rows[name]
        if len(fits) > 1:
            both = " and ".join(f"'{available[row]}'" for row in fits[:2])
            raise BadInput(f"'{name}' fits {both}", where=between, expected="one image per name")
        if taken.setdefault(fits[0], name) != name:
            what = f"'{taken[fits[0]]}' and '{name}' both fit '{available[fits[0]]}'"
            raise BadInput(what, where=between, expected="one name per image")
    return np.array([rows[name][0] for name in wanted], np.int64)


def _match_short_forms(wanted: set[str], available: Sequence[str]) -> dict[str, list[int]]:
    """For each wanted name the rows of the paths that it is a short form of."""
    found: dict[str, list[int]] = {}
    for row, name in enumerate(available):
        paths = [path.split("/") for path in (name, os.path.splitext(name)[0])]
        ends = {"/".join(path[start:]) for path in paths for start in range(len(path))}
        for form in ends & wanted:
            found.setdefault(form, []).append(row)
    return found


def pair_names(names: Sequence[str], keys: Sequence[str], where: str | Path) -> dict[str, str]:
    """The key of every name that has one: the same, or one is the end of the other, with or
    without the extension. Raises BadInput where a key fits two names or a name two keys.

    >>> pair_names(["jpg/a.jpg", "jpg/b.jpg", "c.png"], ["a", "jpg/b.jpg", "d"], "x")
    {'jpg/b.jpg': 'jpg/b.jpg', 'jpg/a.jpg': 'a'}
    """
    same = {*names} & {*keys}
    found, names_of = {name: name for name in names if name in same}, {key: key for key in same}
    for_keys = _match_short_forms({*keys} - same, names)
    for_names = _match_short_forms({*names} - same, keys)
    pairs = {(names[row], key) for key, rows in for_keys.items() for row in rows}
    pairs |= {(name, keys[row]) for name, rows in for_names.items() for row in rows}
    for name, key in sorted(pairs):
        if name in same or key in same:
            continue
        other, owner = found.setdefault(name, key), names_of.setdefault(key, name)
        what = f"'{name}' fits '{other}' and '{key}'" if other != key else ""
        what = what or (f"'{key}' fits '{owner}' and '{name}'" if owner != name else "")
        require(not what, what, where=where, expected="names that tell images apart")
    return found


def line_of(path: Path | str, word: str = "line", first: int = 1) -> Where:
    """What names the line of a row.

    >>> line_of("list.txt")(0)
    'list.txt, line 1'
    """
    return lambda row: f"{path}, {word} {row + first}"


def check_once(
    names: Iterable[object],
    where: Where,
    *,
    expected: str = "every image once",
    written: Sequence[str] | None = None,  # as in the file
    said: Sequence[str] | None = None,  # what a row says
) -> None:
    """Raise BadInput where a name stands twice."""
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
    for row in absent[:1]:
        what = f"{len(absent)} of {len(names)} listed images are absent, first '{names[row]}'"
        raise BadInput(what, where=where(row), expected=f"an image at {root / names[row]}")


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
        shown = name.encode("utf-8", "backslashreplace").decode()
        what = f"the name of an image is not UTF-8: '{shown}'"
        require(shown == name, what, where=where, expected="UTF-8", remedy="rename it")
