"""Which gallery images answer which queries, and the prepared folder that it is written to.

Files that are there and differ are not replaced unless the caller says so, because stores made from
them would no longer fit; a published form of the same list is never doubled.
"""

import filecmp
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ames_lite.datasets.ground_truth import GRADES, Box, write_ground_truth
from ames_lite.datasets.image_lists import ImageList, write_image_list
from ames_lite.datasets.layout import PUBLISHED_LISTS
from ames_lite.datasets.rules import Rows
from ames_lite.errors import require
from ames_lite.io.writing import explain_write_errors
from ames_lite.records import GroundTruth

SIDES = ("query", "gallery")
Files = dict[str, Callable[[Path], object]]  # by name, what writes it at a path


@dataclass(frozen=True, eq=False)
class Relation:
    """Names relative to the image folder, and for each query the gallery rows by grade."""

    query_names: Sequence[str]
    gallery_names: Sequence[str]
    rows: dict[str, Rows]  # by grade, ascending; without grades "easy", perhaps with "junk"
    bbox: tuple[Box | None, ...] | None = None  # in pixels of the whole query image
    notes: tuple[str, ...] = ()  # lines for the user
    queries_are_named: bool = True  # whether someone said which images are queries
    codes: dict[str, int] | None = None  # a number for each label, by image name
    alone: int | None = None  # the code of images that have no partner
    classes: tuple[str, ...] = ()  # the labels, by code
    scenes: dict[str, str] | None = None  # the column `scene`, by image name
    labelled: bool = True  # whether anybody said what is right: class folders may be lacking
    has_lists: bool = False  # in a published form
    has_truth: bool = False  # in a published form
    kind: str = ""  # of a custom dataset, its form of labels
    root: Path = Path()  # of a custom dataset, the folder that names are relative to

    def without_own_image(self) -> "Relation":
        row_of = {name: row for row, name in enumerate(self.gallery_names)}
        own = [row_of.get(name, -1) for name in self.query_names]
        rows = {
            grade: [r if i < 0 else r[r != i] for r, i in zip(lists, own, strict=True)]
            for grade, lists in self.rows.items()
        }
        return replace(self, rows=rows)

    def num_right(self) -> npt.NDArray[np.int64]:
        """How many easy and hard answers each query has [Q]."""
        right = np.zeros(len(self.query_names), np.int64)
        for grade in ("easy", "hard"):
            right += np.array([len(rows) for rows in self.rows.get(grade, [])] or 0, np.int64)
        return right

    def of_queries(self, kept: npt.NDArray[np.int64]) -> "Relation":
        rows = {grade: [lists[q] for q in kept] for grade, lists in self.rows.items()}
        return replace(self, query_names=[self.query_names[q] for q in kept], rows=rows)

    def swapped(self) -> "Relation":
        """The other direction: the gallery asks, the queries answer. Of plain relations."""
        found: list[list[int]] = [[] for _ in self.gallery_names]
        for query, rows in enumerate(self.rows["easy"]):
            for row in rows.tolist():
                found[row].append(query)
        rows_of = [np.array(one, np.int64) for one in found]
        return Relation(self.gallery_names, self.query_names, {"easy": rows_of}, notes=self.notes)

    @property
    def without_positives(self) -> tuple[str, ...]:
        return tuple(self.query_names[q] for q in np.flatnonzero(self.num_right() == 0).tolist())

    @cached_property
    def truth(self) -> GroundTruth:
        """The record. Raises BadInput for repeated names and rows outside the gallery."""
        nothing = [np.zeros(0, np.int64)] * len(self.query_names)
        easy, hard, junk = (tuple(self.rows.get(grade, nothing)) for grade in GRADES)
        names = tuple(self.query_names), tuple(self.gallery_names)
        bbox = self.bbox or (None,) * len(self.query_names)
        return GroundTruth(*names, easy, hard, junk, bbox, "hard" in self.rows)

    def counts(self) -> dict[str, int]:
        return {"query": len(self.query_names), "gallery": len(self.gallery_names)}


def files_of(name: str, made: Relation) -> Files:
    """Lists and ground truth, but for published ones. BadInput where they contradict each other."""
    truth, files = made.truth, Files()
    for side, names in zip(SIDES, (truth.query_names, truth.gallery_names), strict=True):
        if names and not made.has_lists:
            codes = None if made.codes is None else np.array([made.codes[n] for n in names])
            files[f"{side}.txt"] = partial(write_image_list, images=ImageList(names, codes))
    if not made.has_truth:
        files[f"gnd_{name}.json"] = partial(write_ground_truth, ground_truth=truth)
    return files


def write_folder(
    folder: Path,
    files: Files,
    overwrite: bool,
    *,
    marked_by: str | None = None,  # the last file, of a complete folder: removed first
    expected: str = "the lists that are there, or none",  # where others are there
    remedy: str = "move it away",  # of a published form
) -> None:
    """Write files into a folder, in their order, in place once all are written. BadInput."""
    with explain_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        _refuse_published(folder, files, remedy)
        with tempfile.TemporaryDirectory(prefix=".prepare.", dir=folder) as name:
            for file, write in files.items():
                write(Path(name) / file)
            new = [Path(name) / file for file in files]
            if not overwrite:
                _refuse_others(folder, new, expected)
            if marked_by is not None:
                (folder / marked_by).unlink(missing_ok=True)
            for path in new:
                os.replace(path, folder / path.name)


def _refuse_published(folder: Path, new: Iterable[str], remedy: str) -> None:
    published = {f"{side}.txt": name for side, name in PUBLISHED_LISTS.items()}
    published[f"gnd_{folder.name}.json"] = f"gnd_{folder.name}.pkl"
    what = "the published form of a list or of the ground truth is there"
    for path in (folder / published[own] for own in new if own in published):
        require(not path.exists(), what, where=path, expected="one form", remedy=remedy)


def _refuse_others(folder: Path, new: list[Path], expected: str) -> None:
    there = [path for path in new if (folder / path.name).exists()]
    differing = [p.name for p in there if not filecmp.cmp(p, folder / p.name, shallow=False)]
    what = f"other lists are there already: {', '.join(differing)} would change"
    remedy = "overwrite=true replaces them; stores made from the old lists do not fit then"
    require(not differing, what, where=folder, expected=expected, remedy=remedy)
