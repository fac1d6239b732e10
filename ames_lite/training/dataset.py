"""The descriptors of training batches: only what a batch needs, each image read once.

Input: a training store and `Triplets` of rows. Output: `TripletBatch`, as stored (float16, or
packed bits uint8 [B, K, D/8]); heads make float32 of them where they compute.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ames_lite.errors import BadInput
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.training.sampler import Triplets


class Side(NamedTuple):
    """Descriptors [B, K, D] and valid [B, K] (True = a real descriptor), None without padding."""

    descriptors: Tensor
    valid: Tensor | None

    def each(self, change: Callable[[Tensor], Tensor]) -> Side:
        """Both changed alike."""
        return Side(change(self.descriptors), None if self.valid is None else change(self.valid))


class TripletBatch(NamedTuple):
    """What one step sees: the anchor is the query, the other two are gallery images."""

    query: Side
    positive: Side
    negative: Side

    def each(self, change: Callable[[Tensor], Tensor]) -> TripletBatch:
        """Every tensor changed alike."""
        return TripletBatch(*(side.each(change) for side in self))

    def to(self, device: torch.device) -> TripletBatch:
        """The same on a device; from pinned memory the copy runs beside what is computed."""
        return self.each(lambda x: x.to(device, non_blocking=True))

    def strongest(self, query_count: int, gallery_count: int) -> TripletBatch:
        """The strongest descriptors of either side."""
        query = self.query.each(lambda x: x[:, :query_count])
        positive, negative = (side.each(lambda x: x[:, :gallery_count]) for side in self[1:])
        return TripletBatch(query, positive, negative)


def load_side(store: DescriptorStore, rows: npt.NDArray[np.integer], count: int) -> Side:
    """The `count` strongest descriptors of the rows; where an image has fewer, valid is False."""
    descriptors, valid = store.read_descriptors(rows, count)
    mask = None if valid.all() else torch.from_numpy(valid)
    return Side(torch.from_numpy(descriptors), mask)


def load_batch(
    store: DescriptorStore, triplets: Triplets, query_count: int, gallery_count: int
) -> TripletBatch:
    """Read the batch of these triplets: `query_count` for anchors, `gallery_count` for the rest."""
    both = np.concatenate([triplets.positive, triplets.negative])
    gallery, size = load_side(store, both, gallery_count), len(triplets.positive)
    query = load_side(store, triplets.anchor, query_count)
    positive, negative = gallery.each(lambda x: x[:size]), gallery.each(lambda x: x[size:])
    return TripletBatch(query, positive, negative)


def sample_descriptors(store: DescriptorStore, seed: int, images: int = 200) -> Tensor:
    """Float32 descriptors [M, D] of some images of a store, of those that have any.

    Raises BadInput for a packed store and where no image has a descriptor.
    """
    if store.packed:
        raise BadInput(
            "the store holds packed bits",
            where=store.path,
            expected="float descriptors: start= or rotate= needs a sample of them",
            remedy="rotate=0.0 start=published",
        )
    rows = np.flatnonzero(store.has_descriptors)
    if len(rows) == 0:
        what = f"none of its {len(store)} images has a descriptor"
        raise BadInput(what, where=store.path, remedy=store.remedy)
    rows = np.random.default_rng(seed).choice(rows, min(images, len(rows)), replace=False)
    descriptors, valid = store.read_descriptors(rows)
    return torch.from_numpy(descriptors[valid].astype(np.float32))
