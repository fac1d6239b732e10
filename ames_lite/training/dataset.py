"""The descriptors of training batches, and their augmentation.

Descriptors are as stored, float16 or packed bits uint8 [B, K, D/8]; heads compute in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ames_lite.errors import require
from ames_lite.models.binarization import random_rotation
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.training.sampler import Triplets


class Side(NamedTuple):
    """Descriptors [B, K, D] and valid [B, K] (True = a real descriptor), None without padding."""

    descriptors: Tensor
    valid: Tensor | None

    def each(self, change: Callable[[Tensor], Tensor]) -> Side:
        return Side(change(self.descriptors), None if self.valid is None else change(self.valid))


class TripletBatch(NamedTuple):
    """The anchor is the query, the other two are gallery images."""

    query: Side
    positive: Side
    negative: Side

    def each(self, change: Callable[[Tensor], Tensor]) -> TripletBatch:
        """The batch with every tensor changed alike."""
        return TripletBatch(*(side.each(change) for side in self))

    def to(self, device: torch.device) -> TripletBatch:
        """Copied to a device; from pinned memory the copy is asynchronous."""
        return self.each(lambda x: x.to(device, non_blocking=True))

    def strongest(self, query_count: int, gallery_count: int) -> TripletBatch:
        """The first, strongest descriptors of either side."""
        query = self.query.each(lambda x: x[:, :query_count])
        positive, negative = (side.each(lambda x: x[:, :gallery_count]) for side in self[1:])
        return TripletBatch(query, positive, negative)


def load_batch(
    store: DescriptorStore, triplets: Triplets, query_count: int, gallery_count: int
) -> TripletBatch:
    """The strongest descriptors: `query_count` of anchors, `gallery_count` of the others."""
    both = np.concatenate([triplets.positive, triplets.negative])
    gallery, size = _load_side(store, both, gallery_count), len(triplets.positive)
    query = _load_side(store, triplets.anchor, query_count)
    positive, negative = gallery.each(lambda x: x[:size]), gallery.each(lambda x: x[size:])
    return TripletBatch(query, positive, negative)


def _load_side(store: DescriptorStore, rows: npt.NDArray[np.integer], count: int) -> Side:
    descriptors, valid = store.read_descriptors(rows, count)
    mask = None if valid.all() else torch.from_numpy(valid)
    return Side(torch.from_numpy(descriptors), mask)


def sample_descriptors(store: DescriptorStore, seed: int, images: int = 200) -> Tensor:
    """Float32 descriptors [M, D] of some images of a store. Raises BadInput where it has none."""
    require(
        not store.packed,
        "the store holds packed bits",
        where=store.path,
        expected="float descriptors: start= or rotate= needs a sample of them",
        remedy="rotate=0.0 start=published",
    )
    rows = np.flatnonzero(store.has_descriptors)
    what = f"none of its {len(store)} images has a descriptor"
    require(len(rows), what, where=store.path, remedy=store.remedy)
    rows = np.random.default_rng(seed).choice(rows, min(images, len(rows)), replace=False)
    descriptors, valid = store.read_descriptors(rows)
    return torch.from_numpy(descriptors[valid].astype(np.float32))


def rotate(batch: TripletBatch, center: Tensor, generator: torch.Generator) -> TripletBatch:
    """The batch with x → center + (x − center) R, one random orthogonal R [D, D] for all of it.

    center [D]: the mean descriptor. The result is float, of nearly unit length. The generator is on
    the CPU, so that all devices draw alike.
    """
    device = batch.query.descriptors.device
    rotation, mean = random_rotation(len(center), generator).to(device), center.to(device)

    def rotated(side: Side) -> Side:
        return Side((side.descriptors.float() - mean) @ rotation + mean, side.valid)

    return TripletBatch(*(rotated(side) for side in batch))


def mirror(batch: TripletBatch) -> TripletBatch:
    """The batch as if all of its images had been mirrored: SIFT (or RootSIFT), D = 128, alone.

    A keypoint's patch, rotated to its orientation, is then upside down: of the 4 × 4 cells of 8
    directions (Lowe 2004) the rows change places, and every direction is negated.
    """
    cells = torch.arange(128).reshape(4, 4, 8)
    order = cells.flip(0)[:, :, -torch.arange(8) % 8].flatten().to(batch.query.descriptors.device)
    return TripletBatch(*(Side(x[..., order], valid) for x, valid in batch))
