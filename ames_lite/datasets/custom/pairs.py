"""Labels that speak of pairs: a CSV of pairs, or a matrix of 0 and 1.

A pair that is not labelled is a negative. The gallery of a CSV of pairs is every image of the
gallery's folder unless a list says which; that of a matrix is its list.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ames_lite.datasets.custom.images import ImageFolders, check_unique, find_listed, respelt
from ames_lite.datasets.custom.labels import Lists
from ames_lite.datasets.ground_truth import GRADES
from ames_lite.datasets.relation import SIDES, Relation
from ames_lite.datasets.rules import marked
from ames_lite.datasets.tables import Table
from ames_lite.errors import BadInput, ConfigError, MissingFile, require
from ames_lite.stores.npz import array_of


def relate_pairs(table: Table, images: ImageFolders, lists: Lists) -> Relation:
    """Relate the queries of the list, or of the column `query` in order of appearance.

    Pairs of other queries than the list's are left out. Raises BadInput with file and line.
    """
    found = {}
    for side in SIDES:
        look = [side if images.apart else None] * len(table)
        found[side] = find_listed(images, table.columns[side], look, table.where)
    pairs = list(zip(found["query"], found["gallery"], strict=True))
    said = table.columns.get("grade", table.columns.get("relevant"))
    check_unique([",".join(pair) for pair in pairs], table.where, said, expected="every pair once")
    queries = lists["query"] or list(dict.fromkeys(found["query"]))
    gallery = lists["gallery"] or sorted({*images.names["gallery"], *found["gallery"]})
    query_of = {name: row for row, name in enumerate(queries)}
    row_of = {name: row for row, name in enumerate(gallery)}
    grades = _grades_of(table)
    kinds = GRADES if "grade" in table.columns else GRADES[:1]
    rows: dict[str, list[list[int]]] = {grade: [[] for _ in queries] for grade in kinds}
    for line, (query, image) in enumerate(pairs):
        if image not in row_of:
            what = f"'{table.columns['gallery'][line]}' is not in the list of gallery="
            raise BadInput(what, where=table.where(line), expected="images of that list")
        if query in query_of and grades[line] is not None:
            rows[str(grades[line])][query_of[query]].append(row_of[image])
    none_asked = lists["query"] is not None and not set(queries) & set(found["query"])
    what = f"none of the {len(queries)} images of queries= is a query of the pairs"
    expected = "the list's queries in the column `query`"
    require(not none_asked, what, where=table.path, expected=expected)
    sorted_rows = {
        grade: [np.array(sorted(one), np.int64) for one in many] for grade, many in rows.items()
    }
    written: dict[str, str] = {}
    for side in reversed(SIDES):
        written |= dict(zip(table.columns[side], found[side], strict=True))
    notes = respelt(list(written), list(written.values()), images)
    return Relation(queries, gallery, sorted_rows, notes=notes)


def _grades_of(table: Table) -> list[str | None]:
    """The grade of each pair; None: not relevant."""
    if "grade" in table.columns:
        return list(table.choices("grade", GRADES))
    if "relevant" in table.columns:
        relevant = table.choices("relevant", ("0", "1"))
        return ["easy" if one == "1" else None for one in relevant]
    return ["easy"] * len(table)


def relate_matrix(path: Path, lists: Lists) -> Relation:
    """Relate by a matrix [Q, N]: its rows are those of the query list, its columns the gallery's.

    Raises ConfigError without both lists; MissingFile; BadInput for another shape or other values.
    """
    queries, gallery = lists["query"], lists["gallery"]
    if queries is None or gallery is None:
        what = "a matrix needs the names of its rows and columns"
        raise ConfigError(what, where=path, expected="queries=<image list> gallery=<image list>")
    matrix, wanted = _load_matrix(path), (len(queries), len(gallery))
    transposed = ", as if it were transposed" if matrix.shape == wanted[::-1] else ""
    require(
        matrix.shape == wanted and matrix.dtype.kind in "buif",
        f"the matrix is {list(matrix.shape)} ({matrix.dtype.name}){transposed}",
        where=path,
        expected=f"{list(wanted)} of bool or 0 and 1: {wanted[0]} in the query list, "
        f"{wanted[1]} in the gallery list",
    )
    return Relation(queries, gallery, {"easy": marked(matrix, str(path))})


def _load_matrix(path: Path) -> npt.NDArray[Any]:
    """The array of a .npy, or the only one of a .npz; nothing is unpickled."""
    expected = "a .npy, or a .npz with one array, of bool or 0 and 1"
    what = "the matrix is missing"
    require(path.is_file(), what, where=path, expected=expected, kind=MissingFile)
    try:
        loaded = np.load(path, mmap_mode="r" if path.suffix == ".npy" else None, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            what = f"the file holds arrays {', '.join(loaded.files) or 'none'}"
            require(len(loaded.files) == 1, what, where=path, expected=expected)
            return array_of(loaded, loaded.files[0])
    except BadInput:
        raise
    except Exception as error:  # of a damaged file nearly anything is raised
        what = f"the matrix cannot be read: {error}"
        raise BadInput(what, where=path, expected=expected) from error
