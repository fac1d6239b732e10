"""Triplets for training (source: AMES, ECCV 2024, on GLDv2).

An anchor is valid if among its first `depth` neighbours with sim > 0 (in the order of the list) at
least `min_each` share its label and at least `min_each` do not; positive and negative are drawn
from those with probability ∝ sim³, and every valid anchor comes once an epoch. Where labels have
families (they look alike or belong together), an image of another label of the anchor's family is
neither a positive nor a negative. What is drawn depends on (seed, epoch, batch) alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ames_lite.errors import require
from ames_lite.io.digest import array_digest
from ames_lite.records import Neighbors
from ames_lite.runtime import Draw, stream
from ames_lite.stores.neighbor_lists import say_rising
from ames_lite.stores.neighbor_rows import NeighborRows

Rows = npt.NDArray[np.int64]
Codes = npt.NDArray[np.integer]
Mask = npt.NDArray[np.bool_]
REASONS = (
    "are the only image of their label",
    "have too few neighbours of their label",
    "too few of other labels",
    "have no descriptors",
)


class Triplets(NamedTuple):
    """Rows of anchors, positives and negatives, each [B]."""

    anchor: Rows
    positive: Rows
    negative: Rows

    def part(self, rows: slice) -> Triplets:
        """The triplets of a slice."""
        return Triplets(*(part[rows] for part in self))


class Excluded(NamedTuple):
    """How many images are no anchors, each counted under the first reason that holds."""

    alone: int
    few_positives: int
    few_negatives: int
    unusable: int = 0

    def __str__(self) -> str:
        said = [f"{num} {reason}" for num, reason in zip(self, REASONS, strict=True)]
        return ", ".join(said if self.unusable else said[:-1])


class TripletSampler:
    """Raises BadInput where no anchor is valid, or labels, lists and families do not fit."""

    def __init__(
        self,
        neighbors: Neighbors | NeighborRows,
        labels: Codes,
        *,
        batch_size: int = 200,  # triplets a batch
        depth: int = 300,  # neighbours that count
        min_each: int = 5,  # of its own and of other labels among them
        power: float = 3.0,  # of the similarity, for the odds
        seed: int = 0,
        usable: Mask | None = None,  # [N] images to draw from; None: all
        families: Codes | None = None,  # [N]; None: each label its own
    ) -> None:
        lists = NeighborRows.of(neighbors) if isinstance(neighbors, Neighbors) else neighbors
        what = f"{len(labels)} labels, neighbour lists of {len(lists)} images among "
        fits = len(labels) == len(lists) == lists.num_gallery
        expected = "one label and one list an image, of the training set against itself"
        require(fits, what + str(lists.num_gallery), expected)
        require(batch_size >= 1, f"batch_size is {batch_size}", "at least 1 triplet")
        self.batch_size, self.seed, self.depth, self.power = batch_size, seed, depth, power
        self._lists = lists
        self._labels = np.unique(labels, return_inverse=True)[1].astype(np.int32)
        self._usable = np.ones(len(labels), np.bool_) if usable is None else usable
        self._families = None if families is None else _family_codes(families, self._labels)
        own, other = count_neighbors(lists, self._labels, depth, self._usable, self._families)
        enough = (own >= min_each) & (other >= min_each)
        self.anchors: Rows = np.flatnonzero(enough & self._usable)
        self.excluded = _excluded(self._labels, own, other, min_each, self._usable)
        what = f"no image has {min_each} neighbours of its own label and {min_each} of others "
        what += f"among the first {min(depth, lists.width)} with sim > 0: {self.excluded}"
        expected = "a labelled training set with several images a landmark"
        remedy = "more images, a smaller min_each=, or other lists, such as neighbors=gem"
        require(len(self.anchors), what, expected, remedy=remedy)
        self._order: tuple[int, Rows] = -1, self.anchors
        arrays = (self.anchors, self._labels, self._usable, self._families)
        named = zip(("anchors", "labels", "usable", "families"), arrays, strict=True)
        digests = {key: array_digest(x) for key, x in named if x is not None}
        self._identity = {"seed": seed, "batch_size": batch_size, "power": power, **digests}

    def __len__(self) -> int:
        """Batches an epoch; the last may be smaller."""
        return -(-len(self.anchors) // self.batch_size)

    def batch(self, epoch: int, number: int) -> Triplets:
        """One batch of one epoch."""
        if self._order[0] != epoch:
            self._order = epoch, stream(self.seed, Draw.ANCHORS, epoch).permutation(self.anchors)
        anchor = self._order[1][number * self.batch_size : (number + 1) * self.batch_size]
        ids, sims = self._lists.take(anchor, self.depth)
        self._lists.release()
        weights = np.maximum(sims, 0).astype(np.float64) ** self.power * self._usable[ids]
        same, kin = _same_and_kin(self._labels, self._families, ids, anchor)
        rng = stream(self.seed, Draw.TRIPLETS, epoch, number)
        positive, negative = (_draw(rng, ids, weights * allowed) for allowed in (same, ~kin))
        return Triplets(anchor, positive, negative)

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint: set and settings, from which every batch follows."""
        return self._identity

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raises BadInput where a state is of another set or other settings."""
        expected = "the state of a sampler of the same set and settings"
        for key in (*self._identity, "families"):  # a state without them has no such key
            was, here = state.get(key), self._identity.get(key)
            what = f"{key} of the sampler is {was!r} in the state, {here!r} here"
            require(was == here, what, expected)


def count_neighbors(
    lists: NeighborRows, labels: Codes, depth: int, usable: Mask, families: Codes | None = None
) -> tuple[Rows, Rows]:
    """Neighbours with sim > 0 of the own and of other labels, [N], among `depth`. BadInput."""
    own, other = np.zeros(len(lists), np.int64), np.zeros(len(lists), np.int64)
    rising = 0
    for rows in lists.blocks():
        rising += lists.check(rows, depth)
        ids, sims = lists.take(rows, depth)
        near = (sims > 0) & usable[ids]
        same, kin = _same_and_kin(labels, families, ids, rows)
        own[rows] = np.count_nonzero(near & same, axis=1)
        other[rows] = np.count_nonzero(near & ~kin, axis=1)
    lists.expect_single_rows()
    say_rising(rising, len(lists), lists.where)
    return own, other


def _same_and_kin(
    labels: Codes, families: Codes | None, ids: Codes, rows: Rows | slice
) -> tuple[Mask, Mask]:
    """Whether neighbours ids [B, K] have the label, and the family, of their rows [B]."""
    same = labels[ids] == labels[rows][:, None]
    return same, same if families is None else families[ids] == families[rows][:, None]


def _family_codes(families: Codes, labels: Codes) -> Codes:
    """Families as 0, 1, … [N]; labels are such codes already. Raises BadInput."""
    what = f"{len(families)} families, {len(labels)} labels"
    require(len(families) == len(labels), what, "a family for each image")
    codes = np.unique(families, return_inverse=True)[1].astype(np.int32)
    of_label = np.zeros(len(labels), np.int32)
    of_label[labels] = codes
    other = of_label[labels] != codes
    what = f"image {other.argmax()} is of another family than other images of its label"
    require(not other.any(), what, "one family for all images of a label")
    return codes


def _excluded(labels: Codes, own: Rows, other: Rows, least: int, usable: Mask) -> Excluded:
    alone = usable & (np.bincount(labels[usable], minlength=len(labels))[labels] == 1)
    few_positives = usable & ~alone & (own < least)
    few_negatives = usable & ~alone & ~few_positives & (other < least)
    return Excluded(*(int(group.sum()) for group in (alone, few_positives, few_negatives, ~usable)))


def _draw(rng: np.random.Generator, ids: Codes, weights: npt.NDArray[np.float64]) -> Rows:
    """One neighbour a row of ids [B, K], with odds by weight [B, K]."""
    reach = np.cumsum(weights, axis=1)
    at = (reach > rng.random((len(ids), 1)) * reach[:, -1:]).argmax(axis=1)
    return ids[np.arange(len(ids)), at].astype(np.int64)
