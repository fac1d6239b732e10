"""Image lists: text files with one image per line, `path[,label[,width,height]]`.

Further columns, as published training lists have them, are ignored. The path is the image's name
from then on, extension included, and its row number is its id. A path with a comma stands in
quotes, as in CSV. The file says width before height; `sizes` are (height, width). Published lists
end without a newline: both ways are read.
"""

from __future__ import annotations

import csv
import logging
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput, MissingFile

logger = logging.getLogger(__name__)

COLUMNS = 4
LINE = "path[,label[,width,height]], a path with a comma in quotes"
_INTEGER = re.compile(r"-?[0-9]{1,18}")


@dataclass(frozen=True, eq=False)
class ImageList:
    """The images of a set, in order.

    names [N], unique and not empty; labels [N] int64, or None; sizes [N, 2] int32, (height,
    width) in pixels, or None. Sizes come with labels, as in the file. Raises BadInput otherwise.
    """

    names: tuple[str, ...]
    labels: npt.NDArray[np.int64] | None = None
    sizes: npt.NDArray[np.int32] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names))
        n = len(self.names)
        if len(set(self.names)) != n or not all(name.strip() for name in self.names):
            raise BadInput("an image list has empty or repeated names", expected="unique names")
        for field, shape, kind in (("labels", (n,), np.int64), ("sizes", (n, 2), np.int32)):
            values = getattr(self, field)
            if values is None:
                continue
            values = np.array(values)  # a copy: a view would follow the caller's array
            if values.shape != shape or not (n == 0 or np.issubdtype(values.dtype, np.integer)):
                raise BadInput(
                    f"{field} have shape {values.shape} and dtype {values.dtype}",
                    expected=f"integers of shape {shape}",
                )
            values = values.astype(kind)
            values.flags.writeable = False
            object.__setattr__(self, field, values)
        if self.sizes is not None and (self.labels is None or bool((self.sizes <= 0).any())):
            raise BadInput("sizes without labels, or not positive", expected="labels, sizes > 0")

    def __len__(self) -> int:
        return len(self.names)


def read_image_list(path: str | Path) -> ImageList:
    """Read an image list.

    Raises MissingFile where there is none, and BadInput with file and line at a blank line, an
    image listed twice, a wrong or changing number of fields, or a field that is no integer.
    """
    if not Path(path).is_file():
        raise MissingFile("an image list is missing", where=path, expected=LINE)
    rows = list(_checked_rows(Path(path)))
    if not rows:
        raise BadInput("an image list is empty", where=path, expected=LINE)
    names = tuple(name for name, _ in rows)
    numbers = np.array([fields for _, fields in rows], np.int64).reshape(len(rows), -1)
    labels = numbers[:, 0] if numbers.shape[1] else None
    sizes = numbers[:, [2, 1]].astype(np.int32) if numbers.shape[1] == 3 else None
    return ImageList(names, labels, sizes)


def _checked_rows(path: Path) -> Iterator[tuple[str, list[int]]]:
    """Name and numbers of each line; the first line sets how many numbers there are."""
    line_of: dict[str, int] = {}
    width, ignored = None, False
    for line, fields in _lines(path):
        where = f"{path}, line {line}"
        if not fields or not fields[0].strip():
            raise BadInput("a line without a path", where=where, expected=LINE)
        fields, more = fields[:COLUMNS], fields[COLUMNS:]
        width = len(fields) if width is None else width
        if len(fields) != width or width not in (1, 2, COLUMNS):
            expected = f"{width} fields as in the first line" if width in (1, 2, COLUMNS) else LINE
            raise BadInput(f"a line has {len(fields)} fields", where=where, expected=expected)
        if fields[0] in line_of:
            what = f"'{fields[0]}' is listed twice, first in line {line_of[fields[0]]}"
            raise BadInput(what, where=where, expected="every image once")
        if more and not ignored:
            ignored = True
            _say_ignored(path, line)
        line_of[fields[0]] = line
        yield fields[0], _numbers(fields[1:], where)


@cache  # a command reads its lists more than once
def _say_ignored(path: Path, line: int) -> None:
    logger.info("%s, line %d: columns after the fourth are ignored", path, line)


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line number and fields of each line."""
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file, strict=True)
        try:
            for fields in reader:
                yield reader.line_num, fields
        except (csv.Error, UnicodeDecodeError) as error:
            where = f"{path}, after line {reader.line_num}"
            raise BadInput(f"not a text list ({error})", where=where, expected=LINE) from error


def _numbers(fields: Sequence[str], where: str) -> list[int]:
    for field, what in zip(fields, ("label", "width", "height"), strict=False):
        if not _INTEGER.fullmatch(field):
            raise BadInput(f"{what} '{field}' is no integer", where=where, expected=LINE)
        if what != "label" and not 0 < int(field) < 2**31:
            raise BadInput(f"{what} is {field}", where=where, expected="pixels, at least 1")
    return [int(field) for field in fields]


def write_image_list(path: str | Path, images: ImageList) -> Path:
    """Write an image list under a temporary name, then rename; `read_image_list` gives it back.

    Raises BadInput for a name that is not UTF-8.
    """
    path = Path(path)
    check_utf8(images.names, path)
    partial = path.with_name(path.name + ".partial")
    with open(partial, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        for row, name in enumerate(images.names):
            fields: list[str | int] = [name]
            if images.labels is not None:
                fields.append(int(images.labels[row]))
            if images.sizes is not None:
                fields += [int(images.sizes[row, 1]), int(images.sizes[row, 0])]
            writer.writerow(fields)
    os.replace(partial, path)
    return path


def check_utf8(names: Iterable[str], where: str | Path) -> None:
    """Raise BadInput for a file name whose bytes are not UTF-8: no list can hold it."""
    for name in names:
        try:
            name.encode("utf-8")
        except UnicodeEncodeError as error:
            shown = name.encode("utf-8", "backslashreplace").decode()
            what = f"the name of an image is not UTF-8: '{shown}'"
            raise BadInput(what, where=where, expected="UTF-8", remedy="rename it") from error


def match_names(
    wanted: Sequence[str],
    available: Sequence[str],
    *,
    wanted_from: str = "the names asked for",
    available_from: str = "the image list",
) -> npt.NDArray[np.int64]:
    """The row in `available` of every wanted name, [len(wanted)].

    A name matches itself, or else the one path that it is the end of, with or without the
    extension: official ground truth says `all_souls_000013` for `jpg/all_souls_000013.jpg`.

    >>> match_names(["b", "jpg/a.jpg"], ["jpg/a.jpg", "jpg/b.jpg"])
    array([1, 0])

    Raises BadInput, naming both sides, where a name fits no image or several, or where two
    different names fit the same image.
    """
    rows = {name: [row] for row, name in enumerate(available)}
    unmatched = {name for name in wanted if name not in rows}
    if unmatched:
        rows |= _match_short_forms(unmatched, available)
    between = f"{wanted_from} against {available_from}"
    absent = [name for name in dict.fromkeys(wanted) if name not in rows]
    if absent:
        few = ", ".join(f"'{name}'" for name in absent[:3])
        what = f"{len(absent)} of {len(wanted)} names fit no image: {few}"
        raise BadInput(what, where=between, expected=f"names such as '{_example(available)}'")
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
        for form in {*_endings(name), *_endings(os.path.splitext(name)[0])} & wanted:
            found.setdefault(form, []).append(row)
    return found


def _endings(name: str) -> Iterator[str]:
    """'a/b/c' gives 'a/b/c', 'b/c', 'c'."""
    yield name
    while "/" in name:
        name = name.split("/", 1)[1]
        yield name


def _example(available: Sequence[str]) -> str:
    return str(PurePosixPath(available[0])) if available else "(the list is empty)"
