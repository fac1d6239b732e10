"""Nardo-Air: `gt_matches.csv` with query_ind and top_1_ref_ind … top_5_ref_ind, a row a query.

Layout: a folder of reference images and one of queries, flat; numbers in the file, from 0, are
places in the natural order of the folder. The convention to know: positives are soft: the first
`top` references count as right, whatever their distance.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from ames_lite.datasets.vpr.dataset import PlaceSet, make_place_set
from ames_lite.datasets.vpr.folders import natural_names
from ames_lite.datasets.vpr.positives import check_length, listed_positives
from ames_lite.errors import BadInput, ConfigError, MissingFile

ROW = "row numbers of a file of the same release, and all images"


def read_matches(
    root: Path, *, database: str, queries: str, matches: str, top: int = 5
) -> PlaceSet:
    """Positives: top_1_ref_ind to top_{top}_ref_ind of each query.

    Raises BadInput with file and line for another header, a number that fits no image, a query
    twice, and a file of another length than the folder.
    """
    if top < 1:
        raise ConfigError(f"top is {top}", expected="a number of at least 1")
    asked, gallery = natural_names(root, queries), natural_names(root, database)
    path = root / matches
    rows = _read(path, top)
    check_length(len(rows), len(asked), "the file", str(path), queries)
    listed: dict[int, list[int]] = {}
    lines: dict[int, str] = {}
    for line, cells in rows:
        where = f"{path}, line {line}"
        query = _row(cells[0], "query_ind", len(asked), where)
        if query in listed:
            raise BadInput(f"query_ind {query} stands twice", where=where, expected="once")
        lines[query] = where
        listed[query] = [_row(cell, "a top_*_ref_ind", None, where) for cell in cells[1:]]
    lists = [listed[query] for query in range(len(asked))]
    found, notes = listed_positives(lists, len(gallery), lines.__getitem__, ROW)
    return make_place_set(asked, gallery, found, notes)


def _read(path: Path, top: int) -> list[tuple[int, list[str]]]:
    """Line number, and query_ind with the chosen columns, of each row."""
    columns = ["query_ind", *(f"top_{k}_ref_ind" for k in range(1, top + 1))]
    expected = f"a CSV with the columns {', '.join(columns)}"
    if not path.is_file():
        raise MissingFile("a file of the set is missing", where=path, expected=expected)
    rows = []
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, skipinitialspace=True)
        try:
            header = reader.fieldnames or []
            missing = [column for column in columns if column not in header]
            if missing:
                what = f"the header '{','.join(header)}' lacks {', '.join(missing)}"
                raise BadInput(what, where=f"{path}, line 1", expected=expected)
            for row in reader:
                rows.append((reader.line_num, [row[column] or "" for column in columns]))
        except (csv.Error, UnicodeDecodeError) as error:
            where = f"{path}, after line {reader.line_num}"
            raise BadInput(f"no CSV ({error})", where=where, expected=expected) from error
    return rows


def _row(text: str, column: str, count: int | None, where: str) -> int:
    """A row; of so many, where that is to be checked here."""
    try:
        value = float(text)  # tables with a gap elsewhere write 3 as 3.0
    except ValueError:
        value = np.nan
    bounds = ROW if count is None else f"rows 0 to {count - 1}: {ROW}"
    if not (np.isfinite(value) and value == np.rint(value) and 0 <= value < (count or np.inf)):
        raise BadInput(f"{column} is '{text}'", where=where, expected=bounds)
    return int(value)
