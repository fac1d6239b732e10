"""Two traverses of one route, and an object array that says which frames belong together.

Layout: a folder of gallery images and one of queries, flat, in natural order; `.npy` with one row
a query, whose second column (`gt[i][1]`) lists gallery rows. Distractors follow the gallery.

The convention to know: `frames` replaces the file: |i * stride - j| <= frames.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ames_lite.datasets.vpr.dataset import PlaceSet, Rows, make_place_set
from ames_lite.datasets.vpr.folders import check_present, natural_names
from ames_lite.datasets.vpr.positives import check_length, listed_positives, within_frames
from ames_lite.errors import BadInput
from ames_lite.stores.published.object_npy import read_npy


def read_traverses(
    root: Path,
    *,
    database: str,
    queries: str,
    ground_truth: str | None = None,
    first_row: int = 0,
    frames: int | None = None,
    stride: int = 1,
    distractors: str | None = None,
    names_from: str | None = None,
) -> PlaceSet:
    """Positives as listed from row first_row of `ground_truth` on (`listed_positives`), or by
    `frames`.

    names_from: the folder whose listing names the queries. Raises MissingFile; BadInput, naming
    file and row, for a list of another length, rows that the gallery lacks and absent images.
    """
    notes: list[str] = []
    gallery = natural_names(root, database)
    asked = _query_names(root, queries, names_from)
    if frames is not None:
        positives = _by_frames(root, asked, gallery, frames, stride)
    elif ground_truth is not None:
        path = root / ground_truth
        positives, notes = _listed(path, len(asked), len(gallery), first_row, queries)
    else:
        what = "neither a ground-truth file nor frames is given"
        raise BadInput(what, where=root, expected="ground_truth or frames")
    more = [] if distractors is None else natural_names(root, distractors)
    return make_place_set(asked, [*gallery, *more], positives, notes)


def _query_names(root: Path, queries: str, names_from: str | None) -> list[str]:
    if names_from is None or not (root / names_from).is_dir():
        return natural_names(root, queries)
    others = natural_names(root, names_from)
    names = [f"{queries}/{name.removeprefix(names_from + '/')}" for name in others]
    check_present(root, names, lambda row: f"{root / queries}, as {root / others[row]}")
    return names


def _by_frames(
    root: Path, asked: list[str], gallery: list[str], frames: int, stride: int
) -> list[Rows]:
    between = f"{root / asked[0]} … against {root / gallery[0]} …"
    return within_frames(len(asked), len(gallery), frames, stride, where=between)


def _listed(
    path: Path, num_query: int, num_gallery: int, first_row: int, folder: str
) -> tuple[list[Rows], list[str]]:
    expected = "an array with one row a query: (anything, gallery rows)"
    rows = read_npy(path, expected)
    if rows.ndim == 0:
        raise BadInput("a single value", where=path, expected=expected)
    skipped = f" after the first {first_row}" if first_row else ""
    what = f"the list{skipped}"
    check_length(max(len(rows) - first_row, 0), num_query, what, str(path), folder)

    def where(query: int) -> str:
        return f"{path}, row {first_row + query}"

    lists = [_second(row, where(q), expected) for q, row in enumerate(rows[first_row:])]
    return listed_positives(lists, num_gallery, where, expected)


def _second(row: Any, where: str, expected: str) -> object:
    row = row.tolist() if isinstance(row, np.ndarray) else row
    if not isinstance(row, list | tuple) or len(row) < 2:
        raise BadInput(f"a row is {row!r:.60}", where=where, expected=expected)
    if _is_list(row[0]) and not _is_list(row[1]):
        what = f"a row is {list(row)!r:.60}, as if its columns were swapped"
        raise BadInput(what, where=where, expected=expected)
    return row[1]


def _is_list(value: object) -> bool:
    return isinstance(value, list | tuple | np.ndarray)
