"""Which gallery images answer which queries, while image lists and ground truth are made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ames_lite.datasets.ground_truth import GRADES, Box
from ames_lite.datasets.rules import Rows
from ames_lite.records import GroundTruth

SIDES = ("query", "gallery")


@dataclass(frozen=True, eq=False)
class Relation:
    """Names relative to the image folder, and for each query the gallery rows by grade.

    rows: by grade, one ascending int64 array per query; without grades "easy", perhaps with "junk".
    bbox: (x1, y1, x2, y2) in pixels of the whole query image, or None, per query. notes: lines for
    the user. queries_are_named: whether someone said which images are queries. codes: a number for
    each label, by image name, or None; alone: the code of images that have no partner, or None.
    has_lists, has_truth: whether image lists and ground truth are there in a published form.
    """

    query_names: Sequence[str]
    gallery_names: Sequence[str]
    rows: dict[str, Rows]
    bbox: tuple[Box | None, ...] | None = None
    notes: tuple[str, ...] = ()
    queries_are_named: bool = True
    codes: dict[str, int] | None = None
    alone: int | None = None
    has_lists: bool = False
    has_truth: bool = False

    def without_own_image(self) -> Relation:
        """No query among its own answers."""
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

    def of_queries(self, kept: npt.NDArray[np.int64]) -> Relation:
        """The same of some queries."""
        rows = {grade: [lists[q] for q in kept] for grade, lists in self.rows.items()}
        return replace(self, query_names=[self.query_names[q] for q in kept], rows=rows)

    def swapped(self) -> Relation:
        """The other direction: the gallery asks, the queries answer. Of plain relations."""
        found: list[list[int]] = [[] for _ in self.gallery_names]
        for query, rows in enumerate(self.rows["easy"]):
            for row in rows.tolist():
                found[row].append(query)
        rows_of = [np.array(one, np.int64) for one in found]
        return Relation(self.gallery_names, self.query_names, {"easy": rows_of}, notes=self.notes)

    def ground_truth(self) -> GroundTruth:
        """The record. Raises BadInput for repeated names and rows outside the gallery."""
        nothing = [np.zeros(0, np.int64)] * len(self.query_names)
        easy, hard, junk = (tuple(self.rows.get(grade, nothing)) for grade in GRADES)
        return GroundTruth(
            query_names=tuple(self.query_names),
            gallery_names=tuple(self.gallery_names),
            easy=easy,
            hard=hard,
            junk=junk,
            bbox=self.bbox or (None,) * len(self.query_names),
            graded="hard" in self.rows,
        )

    def counts(self) -> dict[str, int]:
        """Images by side."""
        return {"query": len(self.query_names), "gallery": len(self.gallery_names)}


def compare_counts(found: Mapping[str, int], documented: Mapping[str, int | None]) -> list[str]:
    """One line for each side whose count is not the documented one.

    >>> compare_counts({"query": 3, "gallery": 5}, {"query": 4, "gallery": 5})
    ['3 query images, documented are 4']
    """
    return [
        f"{found[side]} {side} images, documented are {documented[side]}"
        for side in SIDES
        if documented.get(side) is not None and documented[side] != found[side]
    ]
