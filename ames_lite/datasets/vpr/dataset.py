"""What a reader of an official layout gives: who asks, who may answer, and which answers are right.

In: names relative to the folder of the images, and for each query the gallery rows that are right,
in any order, repeated or not. Out: a record that refuses to be wrong, and the ground truth of it.
The convention to know: a query without a positive stays a query.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ames_lite.records import GroundTruth

Rows = npt.NDArray[np.int64]
Box = tuple[float, float, float, float]
SIDES = ("query", "gallery")


@dataclass(frozen=True, eq=False)
class PlaceSet:
    """The images of a set and its positives.

    query_names [Q], gallery_names [N]; positives: one ascending array of gallery rows a query;
    bbox: (x1, y1, x2, y2) in pixels of the whole query image, or None, a query; junk: as
    positives, or None; notes: lines for the user. has_lists, has_truth: whether image lists and
    ground truth are there already, under names that every command finds.
    """

    query_names: tuple[str, ...]
    gallery_names: tuple[str, ...]
    positives: tuple[Rows, ...]
    bbox: tuple[Box | None, ...] | None = None
    junk: tuple[Rows, ...] | None = None
    notes: tuple[str, ...] = ()
    has_lists: bool = False
    has_truth: bool = False

    def ground_truth(self) -> GroundTruth:
        """The same as a record. Raises BadInput for repeated names and rows outside the gallery."""
        none = tuple(np.zeros(0, np.int64) for _ in self.query_names)
        return GroundTruth(
            query_names=self.query_names,
            gallery_names=self.gallery_names,
            easy=self.positives,
            hard=none,
            junk=self.junk or none,
            bbox=self.bbox or (None,) * len(self.query_names),
            graded=False,
        )

    def counts(self) -> dict[str, int]:
        """Images by side."""
        return {"query": len(self.query_names), "gallery": len(self.gallery_names)}


def make_place_set(
    query_names: Sequence[str],
    gallery_names: Sequence[str],
    positives: Sequence[npt.NDArray[np.integer]],
    notes: Sequence[str] = (),
) -> PlaceSet:
    """A set from plain lists; rows are sorted, and each counts once."""
    rows = tuple(np.unique(np.asarray(found, np.int64)) for found in positives)
    return PlaceSet(tuple(query_names), tuple(gallery_names), rows, notes=tuple(notes))


def swapped(given: PlaceSet) -> PlaceSet:
    """The other direction: the gallery asks, the queries answer."""
    found: list[list[int]] = [[] for _ in given.gallery_names]
    for query, rows in enumerate(given.positives):
        for row in rows.tolist():
            found[row].append(query)
    return make_place_set(
        given.gallery_names,
        given.query_names,
        [np.array(one, np.int64) for one in found],
        given.notes,
    )


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
