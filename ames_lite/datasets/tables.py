"""CSV tables of labels, pairs, positions and the like, as people and spreadsheets write them.

UTF-8, UTF-16 and UTF-32 (by their marks, UTF-16 also without) and, where a file is none of these,
cp1252; cells between commas, semicolons, tabs or bars. Whatever is not a plain CSV in UTF-8 is said
in a note. The header decides which form a file has; a form chosen by name may have further columns,
which are ignored. Names of files are kept as they are; labels lose the blanks around them, words of
a choice their capitals.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
import unicodedata
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput, existing_file, require
from ames_lite.io.images import IMAGE_SUFFIXES

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
MARKS = {  # the longer ones first: UTF-32's begins with UTF-16's
    "UTF-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),
    "UTF-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
}
WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # .xlsx, .ods; .xls


def _read_cells(
    path: Path, words: Collection[str], expected: str
) -> tuple[list[list[str]], list[int], str, list[str]]:
    """The rows that are not blank, the (last) line of each, the separator, notes.

    words: of headers, which tell the separator. Raises BadInput for no text or no CSV.
    """
    text, encoding = _decoded(path, expected)
    said = re.match(r'"?sep=(.)"?(?:[\r\n]|\Z)', text, re.IGNORECASE)  # of a spreadsheet
    separator = said[1] if said else _separator(text, words)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    rows, lines = [], []
    try:
        for row in reader:
            if any(cell.strip() for cell in row) and reader.line_num > bool(said):
                rows.append(row)
                lines.append(reader.line_num)
    except csv.Error as error:
        where = f"{path}, after line {reader.line_num}"
        raise BadInput(f"not a CSV ({error})", where=where, expected=expected) from error
    require(rows, "an empty file", where=path, expected=expected)
    width = max(number for number, cell in enumerate(rows[0], 1) if cell.strip())
    rows = [row if any(map(str.strip, row[width:])) else row[:width] for row in rows]
    notes = [f"encoding {encoding}"] * (encoding != "UTF-8")
    notes += [f"cells between {SEPARATORS.get(separator, separator)}"] * (separator != ",")
    notes = [f"{path.name} is read with {', '.join(notes)}"] * bool(notes)
    return rows, lines, separator, notes


def _decoded(path: Path, expected: str) -> tuple[str, str]:
    """The text and its encoding."""
    data = path.read_bytes()
    if data.startswith(WORKBOOKS):
        remedy = "save it as CSV"
        raise BadInput("a workbook, not a text", where=path, expected=expected, remedy=remedy)
    marked = [name for name, marks in MARKS.items() if data.startswith(marks)]
    odd, even = data[1::2].count(0), data[::2].count(0)
    if marked:
        guesses = marked[:1]
    elif odd + even > len(data) // 4:  # ASCII in two bytes: every other one is 0
        guesses = ["UTF-16-LE" if odd > even else "UTF-16-BE"]
    else:
        guesses = ["UTF-8", "cp1252", "latin-1"]
    for name in guesses:
        try:
            text = data.decode("utf-8-sig" if name == "UTF-8" else name)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text, name
    raise BadInput("not a text in UTF-8", where=path, expected=expected)


def _separator(text: str, words: Collection[str]) -> str:
    """The one between which the header has most of the words; a comma where none has any."""
    header = next((line for line in text.splitlines() if line.strip()), "")

    def count(separator: str) -> int:
        return sum(cell.strip().strip('"').lower() in words for cell in header.split(separator))

    return max(SEPARATORS, key=count)


LIMIT = 2**62  # of integers: sums and differences of two stay in int64


class Form(NamedTuple):
    """One form of a file: its kind, the columns it must have, those it may have."""

    kind: str
    required: tuple[str, ...]
    optional: tuple[str, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        return self.required + self.optional


FORMS = (
    Form("labels", ("file", "label"), ("split", "grade")),
    Form("pairs", ("query", "gallery"), ("relevant", "grade")),
    Form("coordinates", ("file", "x", "y"), ("split",)),
    Form("coordinates", ("file", "lat", "lon"), ("split",)),
    Form("frames", ("file", "frame"), ("split",)),
)
NAMES, CHOICES = ("file", "query", "gallery"), ("split", "grade", "relevant")
NUMBERS = ("x", "y", "lat", "lon")
KINDS = tuple(dict.fromkeys(form.kind for form in FORMS))


def describe_forms(kind: str | None = None, forms: Sequence[Form] = FORMS) -> str:
    """The headers of a kind, or of all: required columns, optional ones in brackets."""
    return "; ".join(
        f"{','.join(form.required)}{''.join(f'[,{name}]' for name in form.optional)} ({form.kind})"
        for form in forms
        if kind in (None, form.kind)
    )


@dataclass(frozen=True, eq=False)
class Table:
    """A CSV file: columns, each with one text a row; the line of each row; notes on reading."""

    path: Path
    kind: str
    columns: dict[str, list[str]]
    lines: list[int]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.lines)

    def where(self, row: int) -> str:
        return f"{self.path}, line {self.lines[row]}"

    def of_rows(self, rows: npt.NDArray[np.int64]) -> Table:
        """The same with some rows alone."""
        chosen = rows.tolist()
        columns = {name: [cells[row] for row in chosen] for name, cells in self.columns.items()}
        return replace(self, columns=columns, lines=[self.lines[row] for row in chosen])

    def choices(self, column: str, allowed: Sequence[str]) -> list[str]:
        """A column whose cells are all among `allowed`. Raises BadInput with the line."""
        expected = " or ".join(f"'{word}'" for word in allowed)
        return self._checked(column, allowed.__contains__, expected)

    def filled(self, column: str, expected: str) -> list[str]:
        """A column without blank cells. Raises BadInput with the line of the first."""
        return self._checked(column, str.strip, expected)

    def numbers(self, column: str) -> npt.NDArray[np.float64]:
        """A column of finite numbers. Raises BadInput with the line of the first other cell."""
        cells = self._checked(column, _is_finite, "a finite number, with a decimal point")
        return np.array([float(cell) for cell in cells])

    def integers(self, column: str) -> npt.NDArray[np.int64]:
        """A column of whole numbers. Raises BadInput with the line of the first other cell."""
        cells = self._checked(column, _is_whole, "a whole number")
        return np.array([int(cell) for cell in cells], np.int64)

    def _checked(self, column: str, fine: Callable[[str], object], expected: str) -> list[str]:
        for row, cell in enumerate(self.columns[column]):
            if not fine(cell):
                what = f"{column} is '{cell}'"
                raise BadInput(what, where=self.where(row), expected=expected)
        return self.columns[column]


def _is_finite(text: str) -> bool:
    try:
        return "_" not in text and bool(np.isfinite(float(text)))
    except ValueError:
        return False


def _is_whole(text: str) -> bool:
    digits = text.strip().removeprefix("-")
    return digits.isascii() and digits.isdigit() and int(digits) < LIMIT


def read_table(path: str | Path, kind: str | None = None, forms: Sequence[Form] = FORMS) -> Table:
    """Read a table of one of the forms (kind: which). MissingFile; BadInput with the line."""
    path, expected = Path(path), f"a CSV with one of the headers {describe_forms(kind, forms)}"
    remedy = "labels=folders where its folders are the classes, and images=<the folder>"
    what = "a folder is given as labels"
    require(not path.is_dir(), what, where=path, expected=expected, remedy=remedy)
    existing_file(path, f"missing: the {kind or 'labels'}", expected=expected)
    words = {word for form in forms for word in form.columns}
    (first, *rows), (_, *lines), separator, notes = _read_cells(path, words, expected)
    written = [cell.strip() for cell in first]
    header = [name.lower() if name.lower() in words else name for name in written]
    form = _choose_form(header, kind, path, forms)
    require(rows, "a header and no rows", where=path, expected=expected)
    for row, line in zip(rows, lines, strict=True):
        what = f"a row has {len(row)} cells, the header {len(header)}"
        hint = f"{','.join(header)}; a text with a comma in quotes, decimals with a point"
        require(len(row) == len(header), what, where=f"{path}, line {line}", expected=hint)
    if written != header:
        notes.append(f"the header of {path.name} is taken as {','.join(header)}")
    columns = dict(zip(header, map(list, zip(*rows, strict=True)), strict=True))
    kept = {name: cells for name, cells in columns.items() if name in form.columns}
    for name in [name for name in form.columns if name in kept]:
        kept[name], more = _tidied(name, kept[name], separator)
        notes += more
    ignored = [name for name in header if name not in kept]
    notes += [f"columns ignored: {', '.join(ignored)}"] * bool(ignored)
    return Table(path, form.kind, kept, lines, tuple(notes))


def _tidied(name: str, column: list[str], separator: str) -> tuple[list[str], list[str]]:
    """A column without what means nothing in it, and what is said of that."""
    if name in NAMES:
        return column, []
    if name in CHOICES:
        return [cell.strip().lower() for cell in column], []
    if name in NUMBERS:
        has_comma = any(re.fullmatch(r"[+-]?\d*,\d+", cell.strip()) for cell in column)
        if separator == "," or not has_comma or any("." in cell for cell in column):
            return column, []
        said = f"decimal commas in {name} are taken as points"
        return [cell.replace(",", ".") for cell in column], [said]
    plain = [unicodedata.normalize("NFC", cell.strip()) for cell in column]
    changed = [cell for cell, other in zip(column, plain, strict=True) if cell != other]
    many = "1 label is" if len(changed) == 1 else f"{len(changed)} labels are"
    how = "taken without blanks around and in Unicode's form NFC"
    return plain, [f"{many} {how}, first '{cell}'" for cell in changed[:1]]


def _choose_form(
    header: Sequence[str], kind: str | None, path: Path, forms: Sequence[Form]
) -> Form:
    shown, where = ",".join(header), f"{path}, line 1"
    expected = f"one of {describe_forms(kind, forms)}"
    twice = len(set(header)) != len(header)
    what = f"the header '{shown}' names a column twice"
    require(not twice, what, where=where, expected=expected)
    fitting = [
        form for form in forms if kind in (None, form.kind) and set(form.required) <= set(header)
    ]
    if len(fitting) != 1:
        what = f"the header '{shown}' fits " + ("no form" if not fitting else "several forms")
        if len(forms) == 1:
            missing = [name for name in forms[0].required if name not in header]
            what = f"the header '{shown}' lacks {', '.join(missing)}"
        if any(name.lower().endswith(IMAGE_SUFFIXES) for name in header):
            what += ": the first line is a row already"
        remedy = "say which by kind=" if len({form.kind for form in fitting}) > 1 else None
        raise BadInput(what, where=where, expected=expected, remedy=remedy)
    form = fitting[0]
    unknown = [name or "one without a name" for name in header if name not in form.columns]
    what = f"the header '{shown}' has columns of no form: {', '.join(unknown)}"
    remedy = f"leave them out, or ignore them by kind={form.kind}"
    require(not unknown or kind, what, where=where, expected=expected, remedy=remedy)
    what = "the header has both 'relevant' and 'grade'"
    expected = "one of the two: a grade says that it is relevant"
    require(not {"relevant", "grade"} <= set(header), what, where=where, expected=expected)
    return form
