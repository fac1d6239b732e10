"""Nardo-Air: `gt_matches.csv` with query_ind and top_1_ref_ind … top_5_ref_ind, a row a query.

Layout: a folder of reference images and one of queries, flat; numbers in the file, from 0, are
places in the natural order of the folder. The convention to know: positives are soft: the first
`top` references count as right, whatever their distance.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from ames_lite.errors import BadInput, ConfigError, MissingFile
from ames_lite.io.place_sets.folders import natural_names
from ames_lite.io.place_sets.place_set import PlaceSet, Rows, make_place_set
from ames_lite.io.place_sets.positives import check_length


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
    found: dict[int, Rows] = {}
    for line, cells in rows:
        where = f"{path}, line {line}"
        query = _row(cells[0], len(asked), "query_ind", where)
        if query in found:
            raise BadInput(f"query_ind {query} stands twice", where=where, expected="once")
        chosen = [_row(cell, len(gallery), "a top_*_ref_ind", where) for cell in cells[1:]]
        found[query] = np.array(chosen, np.int64)
    return make_place_set(asked, gallery, [found[query] for query in range(len(asked))])


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


def _row(text: str, count: int, column: str, where: str) -> int:
    try:
        value = float(text)  # tables with a gap elsewhere write 3 as 3.0
    except ValueError:
        value = np.nan
    if value != np.rint(value) or not 0 <= value < count:
        expected = f"rows 0 to {count - 1}: a file of the same release, and all images"
        raise BadInput(f"{column} is '{text}'", where=where, expected=expected)
    return int(value)
