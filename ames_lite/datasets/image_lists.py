"""Image lists: text files with one image per line, `path[,label[,width,height]]`.

Further columns, as published training lists have them, are ignored. The path is the image's name,
its row number is its id. The file says width before height; `sizes` are (height, width).

`families.csv` beside `train.txt` has a row for each label: images of another label of the same
family are no negatives in training.
"""

import csv
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ames_lite.datasets.tables import Form, read_table
from ames_lite.errors import BadInput, existing_file, require
from ames_lite.io.names import check_once, check_utf8
from ames_lite.io.writing import csv_writer, replacing

logger = logging.getLogger(__name__)
Array = npt.NDArray[Any]
COLUMNS = 4
LINE = "path[,label[,width,height]], a path with a comma in quotes"
_INTEGER = re.compile(r"-?[0-9]{1,18}")
FORM = Form("families", ("label", "family"), ())
HEADER = ("label", "family", "instance", "kind")  # of families, as written


@dataclass(frozen=True, eq=False)
class ImageList:
    """The images of a set, in order. Raises BadInput, also for sizes without labels."""

    names: tuple[str, ...]  # [N], unique and not empty
    labels: npt.NDArray[np.int64] | None = None  # [N]
    sizes: npt.NDArray[np.int32] | None = None  # [N, 2], (height, width) in pixels

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names))
        n = len(self.names)
        unique = len(set(self.names)) == n and all(name.strip() for name in self.names)
        require(unique, "an image list has empty or repeated names", expected="unique names")
        for field, shape, kind in (("labels", (n,), np.int64), ("sizes", (n, 2), np.int32)):
            if getattr(self, field) is not None:
                object.__setattr__(self, field, _integers(field, getattr(self, field), shape, kind))
        if self.sizes is not None:
            fine = self.labels is not None and bool((self.sizes > 0).all())
            require(fine, "sizes without labels, or not positive", expected="labels, sizes > 0")

    def __len__(self) -> int:
        return len(self.names)


def _integers(field: str, given: Array, shape: tuple[int, ...], kind: type[np.integer]) -> Array:
    """A read-only copy: a view would follow the caller's array."""
    values = np.array(given)
    fine = values.shape == shape and (values.size == 0 or values.dtype.kind in "iu")
    what = f"{field} have shape {values.shape} and dtype {values.dtype}"
    require(fine, what, expected=f"integers of shape {shape}")
    values = values.astype(kind)
    values.flags.writeable = False
    return values


def read_image_list(path: str | Path) -> ImageList:
    """Read an image list. Raises MissingFile; BadInput with the line of the first fault."""
    path = existing_file(path, "an image list is missing", expected=LINE)
    lines, names, numbers, width = [], [], [], 0  # width: fields of the first line
    for line, fields in _lines(path):
        width = width or len(fields[:COLUMNS])
        numbers.append(_numbers(fields, width, path, line))
        names.append(fields[0])
        lines.append(line)
    require(names, "an image list is empty", where=path, expected=LINE)
    check_once(names, lambda row: f"{path}, line {lines[row]}")
    columns = np.array(numbers, np.int64).reshape(len(names), -1).T
    labels = columns[0] if width > 1 else None
    sizes = columns[[2, 1]].T.astype(np.int32) if width == COLUMNS else None
    return ImageList(tuple(names), labels, sizes)


def _numbers(fields: list[str], width: int, path: Path, line: int) -> list[int]:
    """The numbers of a line; width: how many fields the first line has."""
    where, named = f"{path}, line {line}", fields and fields[0].strip() and "\0" not in fields[0]
    require(named, "a line without a path", where=where, expected=LINE)
    if len(fields) > COLUMNS:
        _say_ignored(path)
    fields = fields[:COLUMNS]
    if len(fields) != width or width not in (1, 2, COLUMNS):
        expected = f"{width} fields as in the first line" if width in (1, 2, COLUMNS) else LINE
        raise BadInput(f"a line has {len(fields)} fields", where=where, expected=expected)
    for field, what in zip(fields[1:], ("label", "width", "height"), strict=False):
        whole = _INTEGER.fullmatch(field)
        require(whole, f"{what} '{field}' is no integer", where=where, expected=LINE)
        fine = what == "label" or 0 < int(field) < 2**31
        require(fine, f"{what} is {field}", where=where, expected="pixels, at least 1")
    return [int(field) for field in fields[1:]]


@cache  # a command reads its lists more than once
def _say_ignored(path: Path) -> None:
    logger.info("%s: columns after the fourth are ignored", path)


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file, strict=True)
        try:
            for fields in reader:
                yield reader.line_num, fields
        except (csv.Error, UnicodeDecodeError) as error:
            where = f"{path}, after line {reader.line_num}"
            raise BadInput(f"not a text list ({error})", where=where, expected=LINE) from error


def write_image_list(path: str | Path, images: ImageList) -> Path:
    """Write an image list; BadInput for a name not in UTF-8."""
    check_utf8(images.names, path)
    columns: list[Sequence[object]] = [images.names]
    if images.labels is not None:
        columns.append(images.labels.tolist())
    if images.sizes is not None:
        columns += images.sizes[:, ::-1].T.tolist()
    return write_csv(path, zip(*columns, strict=True))


def write_csv(path: str | Path, rows: Iterable[Iterable[object]]) -> Path:
    with replacing(path, overwrite=True) as partial:
        with open(partial, "w", newline="", encoding="utf-8") as file:
            csv_writer(file).writerows(rows)
    return Path(path)


def read_families(path: Path, labels: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """The family of every image as a number [N]; labels [N]. BadInput for one without a row."""
    table = read_table(path, FORM.kind, (FORM,))
    numbers = table.integers("label").tolist()
    check_once(map(str, numbers), table.where, expected="one row for each label")  # 07 is 7
    families = np.unique(table.columns["family"], return_inverse=True)[1]
    family_of = dict(zip(numbers, families.tolist(), strict=True))
    absent = sorted({*labels.tolist()} - {*numbers})
    few = ", ".join(map(str, absent[:3]))
    what = f"{len(absent)} labels of the training list have no family: {few}"
    require(not absent, what, where=path, expected="a row label,family for each label")
    return np.array([family_of[label] for label in labels.tolist()], np.int64)


def write_families(path: Path, rows: Iterable[tuple[int, str, str, str]]) -> None:
    write_csv(path, [HEADER, *rows])
