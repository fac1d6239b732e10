"""Labels that speak of pairs: a CSV of pairs, or a matrix of 0 and 1.

A pair that is not labelled is a negative. The gallery of a CSV of pairs is every image of the
gallery's folder unless a list says which; that of a matrix is its list.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ames_lite.datasets.custom.entries import Lists
from ames_lite.datasets.custom.images import ImageFolders, find_listed, respelt
from ames_lite.datasets.ground_truth import GRADES
from ames_lite.datasets.relation import SIDES, Relation
from ames_lite.datasets.rules import Rows, marked
from ames_lite.datasets.tables import Table
from ames_lite.errors import BadInput, ConfigError, MissingFile
from ames_lite.stores.npz import array_of


def relate_pairs(table: Table, images: ImageFolders, lists: Lists) -> Relation:
    """Relate the queries of a table of pairs to the gallery.

    Queries are those of the list, or of the column `query` in order of appearance; pairs of other
    queries than the list's are left out. Raises BadInput with file and line.
    """
    found = {
        side: find_listed(
            images, table.columns[side], [side if images.apart else None] * len(table), table.where
        )
        for side in SIDES
    }
    _check_pairs(table, found)
    queries = lists["query"] or list(dict.fromkeys(found["query"]))
    gallery = lists["gallery"] or sorted({*images.names["gallery"], *found["gallery"]})
    query_of = {name: row for row, name in enumerate(queries)}
    row_of = {name: row for row, name in enumerate(gallery)}
    grades, graded = _grades_of(table)
    rows: dict[str, list[list[int]]] = {
        grade: [[] for _ in queries] for grade in (GRADES if graded else GRADES[:1])
    }
    for line, (query, image) in enumerate(zip(found["query"], found["gallery"], strict=True)):
        if image not in row_of:
            what = f"'{table.columns['gallery'][line]}' is not in the list of gallery="
            raise BadInput(what, where=table.where(line), expected="images of that list")
        if query in query_of and grades[line] is not None:
            rows[str(grades[line])][query_of[query]].append(row_of[image])
    _check_complete(table, found["query"], lists["query"])
    sorted_rows: dict[str, Rows] = {
        grade: [np.array(sorted(one), np.int64) for one in many] for grade, many in rows.items()
    }
    written = {**_spellings(table, "gallery", found), **_spellings(table, "query", found)}
    notes = respelt(list(written), list(written.values()), images)
    return Relation(queries, gallery, sorted_rows, queries_are_named=True, notes=notes)


def _spellings(table: Table, side: str, found: dict[str, list[str]]) -> dict[str, str]:
    """Each name of a column as written, and the image that it means."""
    return dict(zip(table.columns[side], found[side], strict=True))


def _grades_of(table: Table) -> tuple[list[str | None], bool]:
    """The grade of each pair (None: not relevant), and whether the table has grades at all."""
    if "grade" in table.columns:
        return list(table.choices("grade", GRADES)), True
    if "relevant" in table.columns:
        relevant = table.choices("relevant", ("0", "1"))
        return ["easy" if one == "1" else None for one in relevant], False
    return ["easy"] * len(table), False


def _check_pairs(table: Table, found: dict[str, list[str]]) -> None:
    """Every pair once; what else a row says of it stands in the message."""
    first: dict[tuple[str, str], int] = {}
    column = next((name for name in ("grade", "relevant") if name in table.columns), None)
    for row, pair in enumerate(zip(found["query"], found["gallery"], strict=True)):
        before = first.setdefault(pair, row)
        if before != row:
            what = f"the pair {','.join(pair)} is listed twice, first in {table.where(before)}"
            said = None if column is None else table.columns[column]
            if said is not None and said[before] != said[row]:
                what += f", there as '{said[before]}' and here as '{said[row]}'"
            raise BadInput(what, where=table.where(row), expected="every pair once")


def _check_complete(table: Table, queries: list[str], wanted: list[str] | None) -> None:
    if wanted is not None and not set(wanted) & set(queries):
        what = f"none of the {len(wanted)} images of queries= is a query of the pairs"
        raise BadInput(what, where=table.path, expected="the list's queries in the column `query`")


def relate_matrix(path: Path, lists: Lists) -> Relation:
    """Relate by a matrix [Q, N]: its rows are those of the query list, its columns the gallery's.

    Raises ConfigError without both lists; MissingFile; BadInput for another shape or other values.
    """
    queries, gallery = lists["query"], lists["gallery"]
    if queries is None or gallery is None:
        raise ConfigError(
            "a matrix needs the names of its rows and columns",
            where=path,
            expected="queries=<image list> gallery=<image list>",
        )
    matrix = _load_matrix(path)
    wanted = (len(queries), len(gallery))
    if matrix.ndim != 2 or matrix.shape != wanted or matrix.dtype.kind not in "buif":
        what = f"the matrix is {list(matrix.shape)} ({matrix.dtype.name})"
        if matrix.shape == wanted[::-1]:
            what += ", as if it were transposed"
        raise BadInput(
            what,
            where=path,
            expected=f"{list(wanted)} of bool or 0 and 1: {wanted[0]} in the query list, "
            f"{wanted[1]} in the gallery list",
        )
    return Relation(queries, gallery, {"easy": marked(matrix, str(path))}, queries_are_named=True)


def _load_matrix(path: Path) -> npt.NDArray[Any]:
    """The array of a .npy, or the only one of a .npz; nothing is unpickled."""
    expected = "a .npy, or a .npz with one array, of bool or 0 and 1"
    if not path.is_file():
        raise MissingFile("the matrix is missing", where=path, expected=expected)
    try:
        loaded = np.load(path, mmap_mode="r" if path.suffix == ".npy" else None, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            if len(loaded.files) != 1:
                held = ", ".join(loaded.files) or "none"
                raise BadInput(f"the file holds arrays {held}", where=path, expected=expected)
            return array_of(loaded, loaded.files[0])
    except BadInput:
        raise
    except Exception as error:  # of a damaged file nearly anything is raised
        raise BadInput(
            f"the matrix cannot be read: {error}", where=path, expected=expected
        ) from error
