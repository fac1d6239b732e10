"""CSVs as people and spreadsheets write them: their cells, and which of our columns each header is.

UTF-8, UTF-16 and UTF-32 (by their marks, UTF-16 also without) and, where a file is none of these,
cp1252; cells between commas, semicolons, tabs or bars. Whatever is not a plain CSV in UTF-8 is said
in a note. A column of our own name counts before other SPELLINGS; two that may be one are refused.
"""

import codecs
import csv
import io
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from ames_lite.errors import BadInput, require

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
MARKS = {  # the longer ones first: UTF-32's begins with UTF-16's
    "UTF-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),
    "UTF-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
}
WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # .xlsx, .ods; .xls
SPELLINGS: Mapping[str, tuple[str, ...]] = {
    "file": (
        *("image_path", "filename", "file_name", "file_path", "filepath", "path", "image", "img"),
        *("image_name", "image_file", "img_path", "image_id", "id", "key"),
    ),
    "label": (
        *("landmark_id", "class", "class_id", "class_name", "category", "category_id", "place"),
        *("place_id", "instance_id", "product_id", "object_id", "landmark", "label_id"),
    ),
    "query": ("query_id", "query_path", "query_image", "query_name", "query_file"),
    "gallery": (
        *("gallery_id", "gallery_path", "gallery_image", "index", "index_id", "reference", "ref"),
        *("reference_id", "reference_path", "database", "database_id", "db", "db_id", "corpus_id"),
    ),
    "x": ("utm_east", "utm_x", "easting", "east"),
    "y": ("utm_north", "utm_y", "northing", "north"),
    "lat": ("latitude",),
    "lon": ("longitude", "lng", "long"),
    "frame": ("frame_id", "frame_number", "frame_index"),
    "relevant": ("relevance", "is_match"),
}
IGNORED = (  # of public tables: nothing is lost with them
    *("", "unnamed:_0", "url", "author", "license", "title", "unique_cluster", "night"),
    *("control_panel", "view_direction"),
)
PAIRS = ({"lat", "lon"}, {"x", "y"})  # that may share a column, such as `lat; lon`
_COLUMN_OF = {theirs: ours for ours, spelled in SPELLINGS.items() for theirs in spelled}


def read_cells(
    path: Path, count: Callable[[str], int], expected: str
) -> tuple[list[list[str]], list[int], str, list[str]]:
    """The rows that are not blank, the (last) line of each, the separator, notes. count: columns
    that a header's cell names; the separator shows the most. BadInput for no text or no CSV.
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
    data, what, remedy = path.read_bytes(), "a workbook, not a text", "save it as CSV"
    require(not data.startswith(WORKBOOKS), what, where=path, expected=expected, remedy=remedy)
    marked = [name for name, marks in MARKS.items() if data.startswith(marks)]
    odd, even = data[1::2].count(0), data[::2].count(0)
    guesses = marked[:1] or ["UTF-8", "cp1252", "latin-1"]
    if not marked and odd + even > len(data) // 4:  # ASCII in two bytes: every other one is 0
        guesses = ["UTF-16-LE" if odd > even else "UTF-16-BE"]
    for name in guesses:
        with suppress(UnicodeDecodeError):
            text = data.decode("utf-8-sig" if name == "UTF-8" else name)
            if "\0" not in text:
                return text, name
    raise BadInput("not a text in UTF-8", where=path, expected=expected)


def plain(cell: str) -> str:
    """A header without quotes and blanks around, capitals, and blanks or dashes within.

    >>> plain(" 'Image-Path' ")
    'image_path'
    """
    return re.sub(r"[\s-]+", "_", cell.strip().strip("\"'`").strip().lower())


def column_of(cell: str, words: Collection[str]) -> str | None:
    """The column among `words` that a header is taken as; None for no such column.

    >>> column_of("Landmark ID", ("file", "label")), column_of("latitude", ("file", "label"))
    ('label', None)
    """
    name = plain(cell)
    ours = name if name in words else _COLUMN_OF.get(name)
    return ours if ours in words else None


def both_of(cell: str, words: Collection[str]) -> tuple[str, str, str] | None:
    """The two columns of a header such as `lat; lon`, and what is between them; else None.

    >>> both_of("latitude; longitude", ("lat", "lon"))
    ('lat', 'lon', ';')
    """
    found = re.fullmatch(r"\W*(\w+)\s*([;,/|\s])\s*(\w+)\W*", cell)
    first, second = (column_of(found[part], words) if found else None for part in (1, 3))
    if found and first and second and {first, second} in PAIRS:
        return first, second, found[2]
    return None


def taken_as(written: Sequence[str], words: Collection[str], where: str) -> list[str]:
    """Our names of a header's columns, else as written. BadInput where two may be one of ours."""
    own = {plain(cell) for cell in written} & {*words}
    header = [column_of(cell, words) or cell.strip() for cell in written]
    for at, (cell, name) in enumerate(zip(written, header, strict=True)):
        if name in own and plain(cell) != name:
            header[at] = cell.strip()
    for name in {*words} - own:
        both = [cell.strip() for cell, ours in zip(written, header, strict=True) if ours == name]
        what = f"columns {' and '.join(map(repr, both))} may both be {name}"
        remedy = f"call the right one {name}"
        require(len(both) < 2, what, where=where, expected="one", remedy=remedy)
    return header
