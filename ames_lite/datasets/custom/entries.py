"""Labels that say one thing of each image: a class, a position, a frame number.

The gallery is every listed image that is not on the query side.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from ames_lite.datasets.custom.images import ImageFolders, check_unique, find_listed, respelt
from ames_lite.datasets.custom.positions import place
from ames_lite.datasets.ground_truth import GRADES
from ames_lite.datasets.relation import SIDES, Relation
from ames_lite.datasets.rules import (
    ALONE,
    Rows,
    near_frames,
    same_label,
)
from ames_lite.datasets.tables import LIMIT, Table
from ames_lite.errors import BadInput

DEFAULT_RADIUS = 25.0  # metres: the custom of place recognition
Lists = Mapping[str, list[str] | None]  # by side: names from the root, or None where not given


@dataclass(frozen=True, eq=False)
class Entries:
    """The images that the labels speak of: names from the root, the side of each (None: both).

    said: each one's cells, for messages; where: file and line; source: the labels as a whole;
    notes: lines for the user.
    """

    names: list[str]
    sides: list[str | None]
    said: list[str]
    where: Callable[[int], str]
    source: str
    notes: tuple[str, ...] = ()


def relate_entries(
    kind: str,
    table: Table | None,
    images: ImageFolders,
    lists: Lists,
    *,
    radius: float | None = None,
    tolerance: int | None = None,
) -> Relation:
    """Relate images by class ("folders", "labels"), "coordinates" or "frames".

    table: None for classes and frames by path. radius in metres, for coordinates; tolerance for
    frames. Raises BadInput with file and line.
    """
    placed, unplaced = None, 0
    if kind == "coordinates":
        assert table is not None and radius is not None
        placed = place(table, radius)
        unplaced = len(table) - len(placed.table)
        table = placed.table
    entries = _from_paths(kind, images) if table is None else _from_table(table, images)
    written = None if table is None else table.columns["file"]
    check_unique(entries.names, entries.said, entries.where, written)
    if kind == "frames":
        _check_complete(entries, images, lists)
    queries, gallery = (_chosen(side, entries, lists) for side in SIDES)
    names = [[entries.names[row] for row in rows] for rows in (queries, gallery)]
    named = lists["query"] is not None or "query" in entries.sides
    notes = entries.notes
    codes, alone, rows = None, None, {}
    if kind in ("folders", "labels"):
        labels = entries.said if table is None else _labels_of(table)
        rows = {"easy": same_label(*([labels[row] for row in side] for side in (queries, gallery)))}
        if table is not None and "grade" in table.columns:
            rows = _graded(rows["easy"], table, labels, gallery)
        numbers = {label: code for code, label in enumerate(sorted(set(labels)))}
        alone = numbers.get(ALONE)
        codes = {name: numbers[label] for name, label in zip(entries.names, labels, strict=True)}
        notes += (*_one_class(labels), *_differing_in_case(labels))
    elif placed is not None:
        notes += placed.notes
        sides = (placed.positions[side] for side in (queries, gallery))
        rows = {"easy": placed.rule(*sides, radius)}
    else:
        assert tolerance is not None
        frames = _frames_of(entries) if table is None else table.integers("frame")
        rows = {"easy": near_frames(frames[queries], frames[gallery], tolerance)}
    unlisted = len(set(images.all_names()) - set(entries.names)) - unplaced
    if unlisted:
        notes += (f"{unlisted} images are not in {entries.source}: left out",)
    return Relation(
        names[0], names[1], rows, notes=notes, queries_are_named=named, codes=codes, alone=alone
    )


# ---------------------------------------------------------------- which images


def _from_table(table: Table, images: ImageFolders) -> Entries:
    written = table.columns["file"]
    split: Sequence[str | None] = [None] * len(table)
    if "split" in table.columns:
        split = list(table.choices("split", SIDES))
    where_to_look = split if images.apart else [None] * len(table)
    names = find_listed(images, written, where_to_look, table.where)
    sides = [side or images.side_of(name) for name, side in zip(names, split, strict=True)]
    others = [cells for column, cells in table.columns.items() if column != "file"]
    said = [",".join(cells) for cells in zip(*others, strict=True)]
    notes = respelt(written, names, images)
    return Entries(names, sides, said, table.where, str(table.path), notes)


def _from_paths(kind: str, images: ImageFolders) -> Entries:
    names = list(images.all_names())
    sides = [images.side_of(name) for name in names]
    said = names
    if kind == "folders":
        said = [first_folder(images.within_side(name), images) for name in names]
    return Entries(names, sides, said, lambda row: str(images.root / names[row]), "the paths")


def first_folder(name: str, images: ImageFolders) -> str:
    """The class folder of an image. Raises BadInput where it is in none."""
    if "/" not in name:
        raise BadInput(
            f"'{name}' is in no class folder",
            where=images.folder(None),
            expected=f"<class>/{name}; images without a class in {ALONE}/",
        )
    return name.split("/", 1)[0]


def _chosen(side: str, entries: Entries, lists: Lists) -> npt.NDArray[np.int64]:
    """Rows of the entries that are queries, or the gallery: by list, by side, else all."""
    wanted = lists[side]
    if wanted is not None:
        row_of = {name: row for row, name in enumerate(entries.names)}
        absent = [name for name in wanted if name not in row_of]
        if absent:
            raise BadInput(
                f"{len(absent)} of {len(wanted)} images of the {side} list are not among the "
                f"{len(row_of)} of the labels, the first is '{absent[0]}'",
                where=f"{'queries' if side == 'query' else side}= against {entries.source}",
                expected="a label for every image of the list",
            )
        return np.array([row_of[name] for name in wanted], np.int64)
    split = any(other is not None for other in entries.sides)
    rows = [row for row, of in enumerate(entries.sides) if of in (side, None)]
    if not rows and split:
        what = f"no image is on the {side} side"
        raise BadInput(what, where=entries.source, expected="images of query and gallery")
    return np.array(rows, np.int64)


def _check_complete(entries: Entries, images: ImageFolders, lists: Lists) -> None:
    """A traverse with a gap in its frame list is a mistake, not a choice."""
    everything = images.all_names()
    listed = set(entries.names)
    first = next((name for name in everything if name not in listed), None)
    if first is None or None not in lists.values():
        return
    raise BadInput(
        f"{len(entries.names)} images have a frame, {len(everything)} are there: "
        f"'{first}' has none",
        where=f"{entries.source} against {images.folder(None)}",
        expected="a frame for every image, or lists by queries= and gallery=",
    )


# ---------------------------------------------------------------- what is said of them


def _labels_of(table: Table) -> list[str]:
    labels = table.columns["label"]
    for row, label in enumerate(labels):
        if not label.strip():
            name = table.columns["file"][row]
            raise BadInput(
                f"'{name}' has no label",
                where=table.where(row),
                expected=f"a label; {ALONE} for an image without a partner",
            )
    return labels


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


def _graded(
    rows: Rows, table: Table, labels: Sequence[str], gallery: npt.NDArray[np.int64]
) -> dict[str, Rows]:
    """Answers by how hard each is to recognise; an image that answers nothing needs no grade."""
    grades = table.choices("grade", (*GRADES, ""))
    for row in gallery.tolist():
        if grades[row] == "" and labels[row] != ALONE:
            what = f"'{table.columns['file'][row]}' has a label and no grade"
            raise BadInput(what, where=table.where(row), expected=" or ".join(GRADES))
    number = np.array([(*GRADES, "").index(grades[row]) for row in gallery], np.int64)
    return {
        grade: [found[number[found] == code] for found in rows] for code, grade in enumerate(GRADES)
    }


def _frames_of(entries: Entries) -> npt.NDArray[np.int64]:
    """The last number in each file's name, extension left out."""
    frames = np.zeros(len(entries.names), np.int64)
    for row, name in enumerate(entries.names):
        found = re.findall(r"[0-9]+", Path(PurePosixPath(name).name).stem)
        if not found or int(found[-1]) >= LIMIT:
            what = "the name of an image has no frame number"
            raise BadInput(
                what, where=entries.where(row), expected="names such as 000123.jpg, or file,frame"
            )
        frames[row] = int(found[-1])
    return frames
