"""The descriptors of training batches: only what a batch needs, each image read once.

Input: a training store and `Triplets` of rows. Output: `TripletBatch`, descriptors [B, K, D] as
they are stored (float16) with validity masks, trimmed to the counts asked for before they are read.
`valid` is None where a whole batch has no padding. Those of a packed store stay packed, uint8 [B,
K, D/8].

Heads make float32 of both where they compute, so that half as many bytes (or an eighth of those) go
to a device.
"""

from __future__ import annotations

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

    def to(self, device: torch.device) -> Side:
        """The same on a device; from pinned memory the copy runs beside what is computed."""
        valid = None if self.valid is None else self.valid.to(device, non_blocking=True)
        return Side(self.descriptors.to(device, non_blocking=True), valid)

    def pinned(self) -> Side:
        """The same in memory that a GPU can fetch by itself."""
        valid = None if self.valid is None else self.valid.pin_memory()
        return Side(self.descriptors.pin_memory(), valid)

    def strongest(self, count: int) -> Side:
        """The first `count` descriptors of every image."""
        valid = None if self.valid is None else self.valid[:, :count]
        return Side(self.descriptors[:, :count], valid)


class TripletBatch(NamedTuple):
    """What one step sees: the anchor is the query, the other two are gallery images."""

    query: Side
    positive: Side
    negative: Side

    def to(self, device: torch.device) -> TripletBatch:
        """The same on a device."""
        return TripletBatch(*(side.to(device) for side in self))

    def pinned(self) -> TripletBatch:
        """The same in pinned memory."""
        return TripletBatch(*(side.pinned() for side in self))

    def strongest(self, query_count: int, gallery_count: int) -> TripletBatch:
        """The strongest descriptors of either side."""
        gallery = (side.strongest(gallery_count) for side in (self.positive, self.negative))
        return TripletBatch(self.query.strongest(query_count), *gallery)


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
    positive, negative = (
        Side(gallery.descriptors[half], None if gallery.valid is None else gallery.valid[half])
        for half in (slice(0, size), slice(size, None))
    )
    return TripletBatch(load_side(store, triplets.anchor, query_count), positive, negative)


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
