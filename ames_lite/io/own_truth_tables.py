"""The CSV files in which one says what is right: read whole, lines kept for messages.

The header decides which form a file has; where it fits none or several, the reader refuses and
lists the forms. A form chosen by name may have further columns, which are then ignored.

The convention to know: cells are text as they stand (nothing is stripped: a file's name may begin
with a blank); `numbers` and `integers` turn a column into an array or name the line that cannot be.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput, MissingFile

LIMIT = 2**62  # of integers: sums and differences of two stay in int64


class Form(NamedTuple):
    """One form of a file: its kind, the columns it must have, those it may have."""

    kind: str
    required: tuple[str, ...]
    optional: tuple[str, ...]


FORMS = (
    Form("labels", ("file", "label"), ("split", "grade")),
    Form("pairs", ("query", "gallery"), ("relevant", "grade")),
    Form("coordinates", ("file", "x", "y"), ("split",)),
    Form("coordinates", ("file", "lat", "lon"), ("split",)),
    Form("frames", ("file", "frame"), ("split",)),
)
KINDS = tuple(dict.fromkeys(form.kind for form in FORMS))


def describe_forms(kind: str | None = None) -> str:
    """The headers of a kind, or of all: required columns, optional ones in brackets."""
    return "; ".join(
        f"{','.join(form.required)}{''.join(f'[,{name}]' for name in form.optional)} ({form.kind})"
        for form in FORMS
        if kind in (None, form.kind)
    )


@dataclass(frozen=True, eq=False)
class Table:
    """A CSV file: kind; columns, each with one text a row; lines, the line number of each row.

    ignored: columns that the form does not have.
    """

    path: Path
    kind: str
    columns: dict[str, list[str]]
    lines: list[int]
    ignored: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.lines)

    def where(self, row: int) -> str:
        """File and line of a row, for messages."""
        return f"{self.path}, line {self.lines[row]}"

    def choices(self, column: str, allowed: Sequence[str]) -> list[str]:
        """A column whose cells are all among `allowed`. Raises BadInput with the line."""
        for row, value in enumerate(self.columns[column]):
            if value not in allowed:
                expected = " or ".join(f"'{word}'" for word in allowed)
                what = f"{column} is '{value}'"
                raise BadInput(what, where=self.where(row), expected=expected)
        return self.columns[column]

    def numbers(self, column: str) -> npt.NDArray[np.float64]:
        """A column of finite numbers. Raises BadInput with the line of the first other cell."""
        values = np.full(len(self), np.nan)
        for row, text in enumerate(self.columns[column]):
            try:
                values[row] = np.nan if "_" in text else float(text)
            except ValueError:
                break
        for row in np.flatnonzero(~np.isfinite(values))[:1]:
            text = self.columns[column][row]
            raise BadInput(
                f"{column} is '{text}'", where=self.where(row), expected="a finite number"
            )
        return values

    def integers(self, column: str) -> npt.NDArray[np.int64]:
        """A column of whole numbers. Raises BadInput with the line of the first other cell."""
        values = np.zeros(len(self), np.int64)
        for row, text in enumerate(self.columns[column]):
            digits = text.strip().removeprefix("-")
            fine = digits.isascii() and digits.isdigit() and int(digits) < LIMIT
            if not fine:
                what = f"{column} is '{text}'"
                raise BadInput(what, where=self.where(row), expected="a whole number")
            values[row] = int(text)
        return values


def read_table(path: str | Path, kind: str | None = None) -> Table:
    """Read a CSV file of one of FORMS; kind: which, where the header alone does not tell.

    Raises MissingFile, and BadInput with file and line for a header of no or of several forms, a
    row with another number of cells than the header, and text that is no CSV in UTF-8.
    """
    path, expected = Path(path), f"a CSV with one of the headers {describe_forms(kind)}"
    if not path.is_file():
        raise MissingFile("the labels are missing", where=path, expected=expected)
    rows, lines = _read_rows(path, expected)
    if not rows:
        raise BadInput("an empty file", where=path, expected=expected)
    header = [cell.strip() for cell in rows[0]]
    form = _choose_form(header, kind, path)
    if len(rows) == 1:
        raise BadInput("a header and no rows", where=path, expected=expected)
    for row, line in zip(rows[1:], lines[1:], strict=True):
        if len(row) != len(header):
            what = f"a row has {len(row)} cells, the header {len(header)}"
            hint = f"{','.join(header)}; a text with a comma stands in quotes"
            raise BadInput(what, where=f"{path}, line {line}", expected=hint)
    known = (*form.required, *form.optional)
    columns = {
        name: list(cells)
        for name, cells in zip(header, zip(*rows[1:], strict=True), strict=True)
        if name in known
    }
    return Table(path, form.kind, columns, lines[1:], tuple(n for n in header if n not in known))


def _read_rows(path: Path, expected: str) -> tuple[list[list[str]], list[int]]:
    """All rows that are not blank, and the number of each one's (last) line."""
    rows, lines = [], []
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file, strict=True)
        try:
            for row in reader:
                if row:
                    rows.append(row)
                    lines.append(reader.line_num)
        except (csv.Error, UnicodeDecodeError) as error:
            where = f"{path}, after line {reader.line_num}"
            raise BadInput(
                f"not a CSV in UTF-8 ({error})", where=where, expected=expected
            ) from error
    return rows, lines


def _choose_form(header: Sequence[str], kind: str | None, path: Path) -> Form:
    """The one form that a header has."""
    shown, where = ",".join(header), f"{path}, line 1"
    expected = f"one of {describe_forms(kind)}"
    if len(set(header)) != len(header):
        raise BadInput(f"the header '{shown}' names a column twice", where=where, expected=expected)
    fitting = [
        form for form in FORMS if kind in (None, form.kind) and set(form.required) <= set(header)
    ]
    if len(fitting) != 1:
        what = f"the header '{shown}' fits " + ("no form" if not fitting else "several forms")
        remedy = "say which by kind=" if len({form.kind for form in fitting}) > 1 else None
        raise BadInput(what, where=where, expected=expected, remedy=remedy)
    form = fitting[0]
    unknown = [name for name in header if name not in (*form.required, *form.optional)]
    if unknown and kind is None:
        raise BadInput(
            f"the header '{shown}' has columns of no form: {', '.join(unknown)}",
            where=where,
            expected=expected,
            remedy=f"leave them out, or ignore them by kind={form.kind}",
        )
    if {"relevant", "grade"} <= set(header):
        what = "the header has both 'relevant' and 'grade'"
        raise BadInput(
            what, where=where, expected="one of the two: a grade says that it is relevant"
        )
    return form
