"""Which gallery images answer which queries, while a set of one's own is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ames_lite.datasets.custom.rules import Rows
from ames_lite.records import GroundTruth

GRADES = ("easy", "hard", "junk")


@dataclass(frozen=True, eq=False)
class Relation:
    """Names, and for each query the gallery rows by grade.

    rows: by grade, one ascending int64 array a query; a relation without grades has "easy" alone.
    queries_are_named: whether someone said which images are queries. codes: a number for each
    label, by image name, or None. notes: lines for the user. alone: the code of images that have no
    partner whatever else has it, or None.
    """

    query_names: Sequence[str]
    gallery_names: Sequence[str]
    rows: dict[str, Rows]
    queries_are_named: bool
    codes: dict[str, int] | None = None
    notes: tuple[str, ...] = ()
    alone: int | None = None

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

    def ground_truth(self) -> GroundTruth:
        """The record; graded where there are grades."""
        nothing = [np.zeros(0, np.int64)] * len(self.query_names)
        easy, hard, junk = (tuple(self.rows.get(grade, nothing)) for grade in GRADES)
        return GroundTruth(
            query_names=tuple(self.query_names),
            gallery_names=tuple(self.gallery_names),
            easy=easy,
            hard=hard,
            junk=junk,
            bbox=(None,) * len(self.query_names),
            graded=len(self.rows) > 1,
        )
