"""The cells of a CSV, as people and spreadsheets write them.

UTF-8, UTF-16 and UTF-32 (by their marks, UTF-16 also without) and, where a file is none of these,
cp1252; cells between commas, semicolons, tabs or bars. Whatever is not a plain CSV in UTF-8 is said
in a note.
"""

import codecs
import csv
import io
import re
from collections.abc import Callable
from pathlib import Path

from ames_lite.errors import BadInput, require

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
MARKS = {  # the longer ones first: UTF-32's begins with UTF-16's
    "UTF-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),
    "UTF-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
}
WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # .xlsx, .ods; .xls


def read_cells(
    path: Path, count: Callable[[str], int], expected: str
) -> tuple[list[list[str]], list[int], str, list[str]]:
    """The rows that are not blank, the (last) line of each, the separator, notes.

    count: of the columns that a header's cell names: the separator is the one that shows the most,
    a comma where none does. Raises BadInput for no text or no CSV.
    """
    text, encoding = _decoded(path, expected)
    said = re.match(r'"?sep=(.)"?(?:[\r\n]|\Z)', text, re.IGNORECASE)  # of a spreadsheet
    header = next((line for line in text.splitlines() if line.strip()), "")
    separator = max(SEPARATORS, key=lambda by: sum(map(count, header.split(by))))
    separator = said[1] if said else separator
    spaced = f'{separator} "' in header  # then quotes are quotes behind a blank too
    file = io.StringIO(text, newline="")
    reader = csv.reader(file, delimiter=separator, skipinitialspace=spaced, strict=True)
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
