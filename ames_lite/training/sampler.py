"""Triplets for training: which images are seen together.

In: the neighbour lists of a training set against itself and its landmark labels. Out: batches of
(anchor, positive, negative) rows. An anchor is valid if among its first `depth` neighbours with
sim > 0 at least `min_each` share its label and at least `min_each` do not; its positive and its
negative are drawn from those neighbours with probability ∝ sim³, and every valid anchor comes once
an epoch. What is drawn depends on (seed, epoch, batch) alone, so that any batch can be drawn again.
Source: AMES (ECCV 2024), training on GLDv2.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput
from ames_lite.records import Neighbors

Rows = npt.NDArray[np.int64]


class Triplets(NamedTuple):
    """Rows of anchors, positives and negatives, each [B]."""

    anchor: Rows
    positive: Rows
    negative: Rows


class TripletSampler:
    """Draws triplets. Raises BadInput where no anchor is valid or labels and lists disagree."""

    def __init__(
        self,
        neighbors: Neighbors,
        labels: npt.NDArray[np.integer],
        *,
        batch_size: int = 200,  # triplets a batch
        depth: int = 300,  # neighbours that count
        min_each: int = 5,  # of its own and of other labels among them
        power: float = 3.0,  # of the similarity, for the odds
        seed: int = 0,
    ) -> None:
        if len(labels) != len(neighbors.ids) or len(labels) != neighbors.num_gallery:
            raise BadInput(
                f"{len(labels)} labels, neighbour lists of {len(neighbors.ids)} images among "
                f"{neighbors.num_gallery}",
                expected="one label and one list an image, of the training set against itself",
            )
        if batch_size < 1:
            raise BadInput(f"batch_size is {batch_size}", expected="at least 1 triplet")
        self.batch_size, self.seed = batch_size, seed
        self._ids = neighbors.ids[:, :depth]
        near = np.maximum(neighbors.sims[:, :depth], 0).astype(np.float64)
        self._weights = near**power
        self._same = labels[self._ids] == labels[:, None]
        counts = ((self._same & (near > 0)).sum(1), (~self._same & (near > 0)).sum(1))
        self.anchors = np.flatnonzero((counts[0] >= min_each) & (counts[1] >= min_each))
        if len(self.anchors) == 0:
            raise BadInput(
                f"no image has {min_each} neighbours of its own label and {min_each} of others "
                f"among the first {self._ids.shape[1]} with sim > 0",
                expected="a labelled training set with several images a landmark",
            )

    def __len__(self) -> int:
        """Batches an epoch; the last may be smaller."""
        return -(-len(self.anchors) // self.batch_size)

    def epoch(self, number: int) -> Iterator[Triplets]:
        """The batches of one epoch."""
        order = np.random.default_rng((self.seed, number)).permutation(self.anchors)
        for batch in range(len(self)):
            rng = np.random.default_rng((self.seed, number, batch))
            anchor = order[batch * self.batch_size : (batch + 1) * self.batch_size]
            same = self._same[anchor]
            yield Triplets(anchor, self._draw(rng, anchor, same), self._draw(rng, anchor, ~same))

    def _draw(self, rng: np.random.Generator, anchor: Rows, allowed: npt.NDArray[np.bool_]) -> Rows:
        """One neighbour a row, with odds by weight among the allowed."""
        reach = np.cumsum(self._weights[anchor] * allowed, axis=1)
        at = (reach > rng.random((len(anchor), 1)) * reach[:, -1:]).argmax(axis=1)
        return self._ids[anchor, at].astype(np.int64)
