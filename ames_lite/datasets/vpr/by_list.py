"""Layouts that list which images belong together, by number, frame, row or object.

traverses: two traverses of one route; index_arrays: four `.npy` arrays, as for Mapillary's
validation set; matches_csv: Nardo-Air; pairs_by_id: AmsterTime; ilias: ids that name their object.
"""

import sys
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ames_lite.datasets.ground_truth import Box
from ames_lite.datasets.relation import Relation
from ames_lite.datasets.rules import Rows, near_frames, same_label
from ames_lite.datasets.tables import Form, read_table
from ames_lite.datasets.vpr import folders
from ames_lite.errors import BadInput, check_config, require
from ames_lite.io.names import Where, check_once, check_present, line_of
from ames_lite.stores.published.safe_pickle import read_npy

ROW = "row numbers of a file of the same release, and all images"
IDS, BOX = "one image id a line: <object>/…/<image>", "x y w h, pixels of the whole image"


def read_traverses(
    root: Path,
    *,
    database: str,
    queries: str,
    ground_truth: str | None = None,  # objects, one row per query; the second column: gallery rows
    first_row: int = 0,  # of the ground truth
    frames: int | None = None,  # or positives by |i * stride - j| <= frames
    stride: int = 1,
    distractors: str | None = None,  # follow the gallery
    names_from: str | None = None,  # the folder whose listing names the queries
) -> Relation:
    """Two traverses of one route: a folder of gallery images and one of queries, natural order."""
    gallery = folders.natural_names(root, database)
    asked = _query_names(root, queries, names_from)
    notes: tuple[str, ...] = ()
    if frames is not None:
        positives = _by_frames(root, asked, gallery, frames, stride)
    else:
        what = "neither a ground-truth file nor frames is given"
        require(ground_truth is not None, what, where=root, expected="ground_truth or frames")
        path = root / str(ground_truth)
        positives, notes = _listed(path, len(asked), len(gallery), first_row, queries)
    more = [] if distractors is None else folders.natural_names(root, distractors)
    return Relation(asked, [*gallery, *more], {"easy": positives}, notes=notes)


def _query_names(root: Path, queries: str, names_from: str | None) -> list[str]:
    if names_from is None or not (root / names_from).is_dir():
        return folders.natural_names(root, queries)
    others = folders.natural_names(root, names_from)
    names = [f"{queries}/{name.removeprefix(names_from + '/')}" for name in others]
    check_present(root, names, lambda row: f"{root / queries}, as {root / others[row]}")
    return names


def _by_frames(root: Path, asked: list[str], gallery: list[str], frames: int, stride: int) -> Rows:
    """Raises BadInput where the sequences cannot be of one traverse each."""
    fine, expected = frames >= 0 and stride >= 1, "frames of 0 or more, a stride of 1 or more"
    check_config(fine, f"frames is {frames} and stride {stride}", expected)
    low, high = (len(asked) - 1) * stride + 1, len(asked) * stride
    what = f"{len(asked)} query frames, one for {stride} of the gallery, meet {len(gallery)}"
    where = f"{root / asked[0]} … against {root / gallery[0]} …"
    expected = f"{low}{f' to {high}' if low < high else ''} gallery frames"
    require(low <= len(gallery) <= high, what, where=where, expected=expected)
    return near_frames(np.arange(len(asked)) * stride, np.arange(len(gallery)), frames)


def _listed(
    path: Path, num_query: int, num_gallery: int, first_row: int, folder: str
) -> tuple[Rows, tuple[str, ...]]:
    expected = "an array with one row a query: (anything, gallery rows)"
    rows = read_npy(path, expected)
    require(rows.ndim, "a single value", where=path, expected=expected)
    what = f"the list{f' after the first {first_row}' if first_row else ''}"
    folders.check_length(max(len(rows) - first_row, 0), num_query, what, path, folder)
    where = line_of(path, "row", first_row)
    lists = [_second(row, where(q), expected) for q, row in enumerate(rows[first_row:])]
    return folders.listed_positives(lists, num_gallery, where, expected)


def _second(row: Any, where: str, expected: str) -> object:
    row = row.tolist() if isinstance(row, np.ndarray) else row
    fine = isinstance(row, list | tuple) and len(row) > 1
    require(fine, f"a row is {row!r:.60}", where=where, expected=expected)
    nested = [isinstance(value, list | tuple | np.ndarray) for value in row[:2]]
    what = f"a row is {list(row)!r:.60}, as if its columns were swapped"
    require(nested != [True, False], what, where=where, expected=expected)
    return row[1]


def read_index_arrays(
    root: Path, *, db_images: str, query_images: str, query_rows: str, positives: str
) -> Relation:
    """Names and rows as published for Mapillary's validation set. query_rows: rows of query_images
    that are asked; positives: for each of these a list of rows of db_images (an array of objects).
    """
    gallery, everyone = (_names(root / name) for name in (db_images, query_images))
    path, expected = root / query_rows, f"rows of {query_images}"
    rows = read_npy(path, expected)
    asked = folders.check_rows(rows.ravel(), len(everyone), str(path), expected, "queries")
    rising, expected = np.array_equal(asked, rows.ravel()), "ascending rows, each once"
    require(rising, "the rows do not rise", where=path, expected=expected)
    names = [everyone[row] for row in asked.tolist()]
    check_present(root, names, lambda row: f"{root / query_images}, row {asked[row]}")
    check_present(root, gallery, line_of(root / db_images, "row", 0))
    path, expected = root / positives, f"for each query of {query_rows} rows of {db_images}"
    lists = read_npy(path, expected)
    folders.check_length(len(lists) if lists.ndim else 0, len(names), "the array", path, query_rows)
    where = line_of(path, "row", 0)
    found, notes = folders.listed_positives(list(lists), len(gallery), where, expected)
    return Relation(names, gallery, {"easy": found}, notes=notes)


def _names(path: Path) -> list[str]:
    expected = "an array of names"
    array = read_npy(path, expected).ravel()
    if array.dtype.kind == "U":  # NumPy makes texts of numbers that are no letters
        letters = array.astype(array.dtype.newbyteorder("=")).view(np.uint32)
        fine = letters.size and letters.max() <= sys.maxunicode
        require(fine, "letters that there are not", where=path, expected=expected)
    names: list[str] = array.tolist()
    fine = names and all(isinstance(name, str) and name for name in names)
    require(fine, f"an array of {array.dtype}", where=path, expected=expected)
    return names


def read_matches(
    root: Path, *, database: str, queries: str, matches: str, top: int = 5
) -> Relation:
    """A CSV of the row of each query (query_ind) and of its references, folders in natural order.
    Positives are soft: top_1_ref_ind to top_{top}_ref_ind, whatever their distance.
    """
    check_config(top >= 1, f"top is {top}", "a number of at least 1")
    asked, gallery = folders.natural_names(root, queries), folders.natural_names(root, database)
    columns = ("query_ind", *(f"top_{k}_ref_ind" for k in range(1, top + 1)))
    table = read_table(root / matches, "matches", (Form("matches", columns, ()),))
    folders.check_length(len(table), len(asked), "the file", table.path, queries)
    numbers = np.stack([table.numbers(column) for column in columns], axis=1)
    own = enumerate(numbers[:, 0].tolist())
    places = ((number, len(asked), table.where(line), ROW, "query_ind") for line, number in own)
    rows_of = [int(folders.check_rows(*place)[0]) for place in places]
    check_once([f"query {row}" for row in rows_of], table.where, expected="once")
    lines = np.argsort(rows_of).tolist()
    lists, num = [numbers[line, 1:] for line in lines], len(gallery)
    found, notes = folders.listed_positives(lists, num, lambda q: table.where(lines[q]), ROW)
    return Relation(asked, gallery, {"easy": found}, notes=notes)


def read_pairs_by_id(root: Path, *, database: str, queries: str) -> Relation:
    """Two folders whose images of one number show one place, `old/12.jpg`, `new/12.png`."""
    asked, gallery = _by_number(root, queries), _by_number(root, database)
    for one, other, folder in ((asked, gallery, database), (gallery, asked, queries)):
        alone = sorted(set(one) - set(other))
        if alone:
            what = f"{len(alone)} images have no partner, first '{one[alone[0]]}'"
            expected = f"an image of number {alone[0]} in {folder}"
            raise BadInput(what, where=root / one[alone[0]], expected=expected)
    rows = {"easy": same_label(list(asked), list(gallery))}
    return Relation(list(asked.values()), list(gallery.values()), rows)


def _by_number(root: Path, folder: str) -> dict[int, str]:
    found: dict[int, str] = {}
    for name in folders.natural_names(root, folder):
        stem = PurePosixPath(name).stem
        fine, what = stem.isascii() and stem.isdigit(), f"'{name}' has no number for a name"
        require(fine, what, where=root / name, expected="names such as 12.jpg")
        other = found.setdefault(int(stem), name)
        what = f"'{other}' and '{name}' have one number"
        require(other == name, what, where=root / name, expected="every number once")
    return found


def read_ilias(
    root: Path, *, images: str, queries: str, positives: str, distractors: str | None = None
) -> Relation:
    """Image ids `<object>/…/<image>` (an assumption: unverified against official files).

    images: the folder that ids are relative to ("" or ".": the set's). Positives have the query's
    object; distractors follow. A box is a text file of the image's name.
    """
    folder = images if images.strip("./") else ""
    asked, right = (folders.listed_images(root, listed, folder) for listed in (queries, positives))
    far = [] if distractors is None else folders.listed_images(root, distractors, folder)
    wanted = _objects(asked, folder, line_of(root / queries))
    found = same_label(wanted, _objects(right, folder, line_of(root / positives)))
    for row, rows in enumerate(found):
        what, where = f"the object '{wanted[row]}' has no positive", line_of(root / queries)(row)
        require(len(rows), what, where=where, expected=f"one in {root / positives}")
    boxes = tuple(_box(root / PurePosixPath(name).with_suffix(".txt")) for name in asked)
    return Relation(asked, [*right, *far], {"easy": found}, bbox=boxes)


def _objects(names: list[str], folder: str, where: Where) -> list[str]:
    ids = [name.removeprefix(f"{folder}/") for name in names]
    for row, name in enumerate(ids):
        require("/" in name, f"'{name}' names no object", where=where(row), expected=IDS)
    return [name.split("/", 1)[0] for name in ids]


def _box(path: Path) -> Box | None:
    """(x1, y1, x2, y2); None where there is no such file."""
    if not path.is_file():
        return None
    text = " ".join(folders.read_lines(path, BOX))
    x, y, width, height = folders.numbers_of(text, 4).tolist()
    fine = bool(np.isfinite([x, y, width, height]).all()) and min(width, height) > 0
    require(fine, f"a box '{text}'", where=f"{path}, line 1", expected=BOX)
    return (x, y, x + width, y + height)
