"""Image lists and positives as four `.npy` arrays, as published for Mapillary's validation set.

db_images and query_images: names; query_rows: rows of query_images that are asked; positives: for
each of these a list of rows of db_images (an array of objects).
"""

from __future__ import annotations

from pathlib import Path

from ames_lite.datasets.vpr.dataset import PlaceSet, make_place_set
from ames_lite.datasets.vpr.folders import check_present
from ames_lite.datasets.vpr.positives import check_length, check_rows, listed_positives
from ames_lite.errors import BadInput
from ames_lite.stores.published.object_npy import read_npy


def read_index_arrays(
    root: Path, *, db_images: str, query_images: str, query_rows: str, positives: str
) -> PlaceSet:
    """Queries without a row in query_rows are left out, as published.

    Raises MissingFile; BadInput, naming file and row, for arrays that do not fit and absent images.
    """
    gallery, everyone = (_names(root / name) for name in (db_images, query_images))
    path, expected = root / query_rows, f"rows of {query_images}"
    rows = read_npy(path, expected)
    asked = check_rows(rows.ravel(), len(everyone), str(path), expected, "queries")
    check_length(rows.size, len(asked), "the list of queries", str(path), "it names")
    if (asked != rows.ravel()).any():
        raise BadInput("the rows do not rise", where=path, expected="ascending rows, each once")
    names = [everyone[row] for row in asked.tolist()]
    check_present(root, names, lambda row: f"{root / query_images}, row {asked[row]}")
    check_present(root, gallery, lambda row: f"{root / db_images}, row {row}")
    path, expected = root / positives, f"for each query of {query_rows} rows of {db_images}"
    lists = read_npy(path, expected)
    check_length(len(lists) if lists.ndim else 0, len(names), "the array", str(path), query_rows)
    found, notes = listed_positives(
        list(lists), len(gallery), lambda row: f"{path}, row {row}", expected
    )
    return make_place_set(names, gallery, found, notes)


def _names(path: Path) -> list[str]:
    expected = "an array of names"
    array = read_npy(path, expected)
    names = array.ravel().tolist()
    if not names or not all(isinstance(name, str) and name for name in names):
        raise BadInput(f"an array of {array.dtype}", where=path, expected=expected)
    return names
