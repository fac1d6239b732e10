"""The text of a table as people and spreadsheets write it: encoding, separator, empty cells.

Read are UTF-8, UTF-16 and UTF-32 (by their marks, UTF-16 also without) and, where a file is none of
these, Windows' cp1252; cells between commas, semicolons, tabs or bars; lines of any system.
Whatever is not a plain CSV in UTF-8 is said in a note.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from ames_lite.errors import BadInput

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
MARKS = (  # the longer ones first: UTF-32's begins with UTF-16's
    *((codecs.BOM_UTF32_LE, "UTF-32"), (codecs.BOM_UTF32_BE, "UTF-32")),
    *((codecs.BOM_UTF16_LE, "UTF-16"), (codecs.BOM_UTF16_BE, "UTF-16")),
)
WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # .xlsx, .ods; .xls


class Cells(NamedTuple):
    """The rows of a table that are not blank, the (last) line of each, its separator, notes."""

    rows: list[list[str]]
    lines: list[int]
    separator: str
    notes: tuple[str, ...]


def read_cells(path: Path, words: Collection[str], expected: str) -> Cells:
    """Read a table; words: what its header may have, which tells the separator.

    Empty columns behind the last one of the header are dropped. Raises BadInput, with `expected`,
    for what is no text or no CSV.
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
    notes = [f"encoding {encoding}"] * (encoding != "UTF-8")
    notes += [f"cells between {SEPARATORS.get(separator, separator)}"] * (separator != ",")
    note = (f"{path.name} is read with {', '.join(notes)}",) if notes else ()
    return Cells(_without_empty_columns(rows), lines, separator, note)


def _decoded(path: Path, expected: str) -> tuple[str, str]:
    """The text and its encoding."""
    data = path.read_bytes()
    if data.startswith(WORKBOOKS):
        remedy = "save it as CSV"
        raise BadInput("a workbook, not a text", where=path, expected=expected, remedy=remedy)
    encoding = next((name for mark, name in MARKS if data.startswith(mark)), None)
    for name in (encoding,) if encoding else _guesses(data):
        try:
            text = data.decode("utf-8-sig" if name == "UTF-8" else name)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text, name
    raise BadInput("not a text in UTF-8", where=path, expected=expected)


def _guesses(data: bytes) -> tuple[str, ...]:
    """Encodings to try for a text without a mark."""
    odd, even = data[1::2].count(0), data[::2].count(0)
    if odd + even > len(data) // 4:  # ASCII in two bytes: every other one is 0
        return ("UTF-16-LE" if odd > even else "UTF-16-BE",)
    return ("UTF-8", "cp1252", "latin-1")


def _separator(text: str, words: Collection[str]) -> str:
    """The one between which the header has most of the words; a comma where none has any."""
    header = next((line for line in text.splitlines() if line.strip()), "")

    def count(separator: str) -> int:
        return sum(cell.strip().strip('"').lower() in words for cell in header.split(separator))

    return max(SEPARATORS, key=count)


def _without_empty_columns(rows: list[list[str]]) -> list[list[str]]:
    """The rows without blank cells beyond the header's last word."""
    if not rows:
        return rows
    width = max(number for number, cell in enumerate(rows[0], 1) if cell.strip())
    return [row[:width] if not "".join(row[width:]).strip() else row for row in rows]


def with_points(texts: Sequence[str], separator: str) -> list[str] | None:
    """Numbers with decimal commas, with points; None where there are none, or between commas.

    >>> with_points(["48,85", "2"], ";"), with_points(["48,85"], ",")
    (['48.85', '2'], None)
    """
    has_comma = any(re.fullmatch(r"[+-]?\d*,\d+", text.strip()) for text in texts)
    if separator == "," or not has_comma or any("." in text for text in texts):
        return None
    return [text.replace(",", ".") for text in texts]
