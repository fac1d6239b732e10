"""Labels that say one thing of each image: a class, a position, a frame number.

The gallery is every listed image that is not on the query side. Classes and frames may stand in the
paths: these are read as a table of all images.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ames_lite.datasets.custom.images import ImageFolders, check_unique, find_listed, respelt
from ames_lite.datasets.custom.positions import place
from ames_lite.datasets.ground_truth import GRADES
from ames_lite.datasets.relation import SIDES, Relation
from ames_lite.datasets.rules import ALONE, Rows, near_frames, same_label
from ames_lite.datasets.tables import LIMIT, Table
from ames_lite.errors import BadInput, require

Lists = Mapping[str, list[str] | None]  # by side: names from the root, or None where not given
Ids = npt.NDArray[np.int64]


class _Entries(NamedTuple):
    """A table with a row an image; the name of each from the root, and its side (None: both)."""

    table: Table
    names: list[str]
    sides: list[str | None]
    notes: tuple[str, ...] = ()


def relate_labels(
    kind: str,
    table: Table | None,
    images: ImageFolders,
    lists: Lists,
    *,
    radius: float,
    tolerance: int,
) -> Relation:
    """Relate images by class ("folders", "labels"), "coordinates" or "frames".

    table: None for classes and frames by path. radius in metres, for coordinates; tolerance for
    frames. Raises BadInput with file and line.
    """
    rows: dict[str, Rows]
    notes: tuple[str, ...] = ()
    unplaced, codes, alone = 0, None, None
    placed = place(table, radius) if table is not None and kind == "coordinates" else None
    if table is not None and placed is not None:
        unplaced, table, notes = len(table) - len(placed.table), placed.table, placed.notes
    entries = _from_paths(kind, images) if table is None else _from_table(table, images)
    if kind == "frames":
        _check_complete(entries, images, lists)
    queries, gallery = (_chosen(side, entries, lists) for side in SIDES)
    if placed is not None:
        found = placed.rule(placed.positions[queries], placed.positions[gallery], radius)
        rows = {"easy": found}
    elif kind == "frames":
        frames = entries.table.integers("frame")
        rows = {"easy": near_frames(frames[queries], frames[gallery], tolerance)}
    else:
        expected = f"a label; {ALONE} for an image without a partner"
        labels = entries.table.filled("label", expected)
        rows = _by_class(entries.table, labels, queries, gallery)
        numbers = {label: code for code, label in enumerate(sorted(set(labels)))}
        codes = {name: numbers[label] for name, label in zip(entries.names, labels, strict=True)}
        alone = numbers.get(ALONE)
        notes = (*_one_class(labels), *_differing_in_case(labels))
    unlisted = len(set(images.all_names()) - set(entries.names)) - unplaced
    if unlisted:
        notes += (f"{unlisted} images are not in {entries.table.path}: left out",)
    return Relation(
        [entries.names[row] for row in queries],
        [entries.names[row] for row in gallery],
        rows,
        notes=entries.notes + notes,
        queries_are_named=lists["query"] is not None or "query" in entries.sides,
        codes=codes,
        alone=alone,
    )


# ---------------------------------------------------------------- which images


def _from_table(table: Table, images: ImageFolders) -> _Entries:
    written = table.columns["file"]
    split: Sequence[str | None] = [None] * len(table)
    if "split" in table.columns:
        split = list(table.choices("split", SIDES))
    where_to_look = split if images.apart else [None] * len(table)
    names = find_listed(images, written, where_to_look, table.where)
    sides = [side or images.side_of(name) for name, side in zip(names, split, strict=True)]
    others = [cells for column, cells in table.columns.items() if column != "file"]
    said = [",".join(cells) for cells in zip(*others, strict=True)]
    check_unique(names, table.where, said, written)
    return _Entries(table, names, sides, respelt(written, names, images))


def _from_paths(kind: str, images: ImageFolders) -> _Entries:
    names = list(images.all_names())
    if kind == "folders":
        cells = {"label": [first_folder(images.within_side(name), images) for name in names]}
    else:
        cells = {"frame": [_frame_of(name, images) for name in names]}
    rows = list(range(len(names)))
    table = Table(Path("the paths"), kind, {"file": names, **cells}, rows)
    return _Entries(table, names, [images.side_of(name) for name in names])


def first_folder(name: str, images: ImageFolders) -> str:
    """The class folder of an image. Raises BadInput where it is in none."""
    expected = f"<class>/{name}; images without a class in {ALONE}/"
    what = f"'{name}' is in no class folder"
    require("/" in name, what, where=images.folder(None), expected=expected)
    return name.split("/", 1)[0]


def _frame_of(name: str, images: ImageFolders) -> str:
    """The last number in a file's name, extension left out."""
    found = re.findall(r"[0-9]+", PurePosixPath(name).stem)
    expected = "names such as 000123.jpg, or file,frame"
    what = "the name of an image has no frame number"
    require(found and int(found[-1]) < LIMIT, what, where=images.root / name, expected=expected)
    return str(found[-1])


def _chosen(side: str, entries: _Entries, lists: Lists) -> Ids:
    """Rows of the entries that are queries, or the gallery: by list, by side, else all."""
    wanted, source = lists[side], entries.table.path
    if wanted is not None:
        row_of = {name: row for row, name in enumerate(entries.names)}
        absent = [name for name in wanted if name not in row_of]
        if absent:
            raise BadInput(
                f"{len(absent)} of {len(wanted)} images of the {side} list are not among the "
                f"{len(row_of)} of the labels, the first is '{absent[0]}'",
                where=f"{'queries' if side == 'query' else side}= against {source}",
                expected="a label for every image of the list",
            )
        return np.array([row_of[name] for name in wanted], np.int64)
    rows = [row for row, of in enumerate(entries.sides) if of in (side, None)]
    what, expected = f"no image is on the {side} side", "images of query and gallery"
    require(rows or not entries.names, what, where=source, expected=expected)
    return np.array(rows, np.int64)


def _check_complete(entries: _Entries, images: ImageFolders, lists: Lists) -> None:
    """A traverse with a gap in its frame list is a mistake, not a choice."""
    everything, listed = images.all_names(), set(entries.names)
    first = next((name for name in everything if name not in listed), None)
    if first is not None and None in lists.values():
        raise BadInput(
            f"{len(entries.names)} images have a frame, {len(everything)} are there: "
            f"'{first}' has none",
            where=f"{entries.table.path} against {images.folder(None)}",
            expected="a frame for every image, or lists by queries= and gallery=",
        )


# ---------------------------------------------------------------- classes


def _by_class(table: Table, labels: Sequence[str], queries: Ids, gallery: Ids) -> dict[str, Rows]:
    """Answers of the same label, by grade where the table has grades.

    An image that answers nothing needs none.
    """
    found = same_label(*([labels[row] for row in side] for side in (queries, gallery)))
    if "grade" not in table.columns:
        return {"easy": found}
    grades = table.choices("grade", (*GRADES, ""))
    for row in gallery.tolist():
        if grades[row] == "" and labels[row] != ALONE:
            what = f"'{table.columns['file'][row]}' has a label and no grade"
            raise BadInput(what, where=table.where(row), expected=" or ".join(GRADES))
    of_gallery = np.array([grades[row] for row in gallery])
    return {grade: [rows[of_gallery[rows] == grade] for rows in found] for grade in GRADES}


def _one_class(labels: Sequence[str]) -> tuple[str, ...]:
    """A note where nothing can be wrong."""
    if len(set(labels)) > 1:
        return ()
    return (f"all images are of one class, '{labels[0]}': each is right for every other",)


def _differing_in_case(labels: Sequence[str]) -> tuple[str, ...]:
    """A note where two labels are one but for capitals: they stay two."""
    first: dict[str, str] = {}
    pairs = []
    for label in sorted(set(labels)):
        other = first.setdefault(label.casefold(), label)
        pairs += [] if other == label else [f"'{other}' and '{label}'"]
    if not pairs:
        return ()
    more = f" and {len(pairs) - 1} more" if len(pairs) > 1 else ""
    return (f"labels that differ in capitals alone are not the same: {pairs[0]}{more}",)
