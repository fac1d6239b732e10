"""Batches of training, read ahead in a thread, and their augmentation. A batch is divided among the
processes, and each share into `accumulate` parts; parts are weighted by their share of the batch,
so that sums over parts do not depend on the division. What is read depends on the step alone.
Descriptors are as stored, float16 or packed bits uint8 [B, K, D/8]; heads compute in float32.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ames_lite.errors import require
from ames_lite.models.binarization import random_rotation
from ames_lite.processes import ALONE, Processes
from ames_lite.reranking.batches import prefetched
from ames_lite.runtime import Draw, stream
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.training.recipe import Recipe
from ames_lite.training.sampler import Triplets, TripletSampler


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
    return Side(torch.from_numpy(descriptors), None if valid.all() else torch.from_numpy(valid))


def sample_descriptors(store: DescriptorStore, seed: int, images: int = 200) -> Tensor:
    """Float32 descriptors [M, D] of some images of a store. Raises BadInput where it has none."""
    what, remedy = "the store holds packed bits", "rotate=0.0 start=published"
    expected = "float descriptors: start= or rotate= needs a sample of them"
    require(not store.packed, what, expected, where=store.path, remedy=remedy)
    rows = np.flatnonzero(store.has_descriptors)
    what = f"none of its {len(store)} images has a descriptor"
    require(len(rows), what, where=store.path, remedy=store.remedy)
    rows = np.random.default_rng(seed).choice(rows, min(images, len(rows)), replace=False)
    descriptors, valid = store.read_descriptors(rows)
    return torch.from_numpy(descriptors[valid].astype(np.float32))


def rotate(batch: TripletBatch, center: Tensor, generator: torch.Generator) -> TripletBatch:
    """x → center + (x − center) R, one random orthogonal R [D, D] for all, drawn on the CPU."""
    device = batch.query.descriptors.device
    rotation, mean = random_rotation(len(center), generator).to(device), center.to(device)
    return TripletBatch(*(Side((x.float() - mean) @ rotation + mean, valid) for x, valid in batch))


def mirror(batch: TripletBatch) -> TripletBatch:
    """The batch as if all of its images had been mirrored: SIFT (or RootSIFT), D = 128, alone. A
    keypoint's patch, rotated to its orientation, is then upside down: of the 4 × 4 cells of 8
    directions (Lowe 2004) the rows change places, and every direction is negated.
    """
    cells = torch.arange(128).reshape(4, 4, 8)
    order = cells.flip(0)[:, :, -torch.arange(8) % 8].flatten().to(batch.query.descriptors.device)
    return TripletBatch(*(Side(x[..., order], valid) for x, valid in batch))


class Part(NamedTuple):
    """Some triplets of a step, with their descriptors."""

    step: int
    batch: TripletBatch
    counts: tuple[int, int]  # descriptors a side that the head sees; a teacher sees all
    share: float  # of the step's triplets over all processes; 0: stands in for an empty share
    last: bool  # of the step
    waited: float = 0.0  # seconds


_Job = tuple[int, Triplets, float, bool]  # step, triplets, share and last of a part


@dataclass(eq=False)
class BatchLoader:
    """Reads parts of batches."""

    store: DescriptorStore
    sampler: TripletSampler
    recipe: Recipe
    processes: Processes = ALONE
    prefetch: int = 2  # parts that are read ahead
    pin: bool = False  # copy them to pinned memory
    whole: bool = False  # read all descriptors up to max_count, for a teacher

    def steps(self, first: int, stop: int) -> Generator[tuple[int, Iterator[Part]], None, None]:
        """The parts of every step from `first` to before `stop`. Close it to end its thread."""
        with closing(self._parts(first, stop)) as parts:
            yield from groupby(parts, key=lambda part: part.step)

    def counts(self, step: int) -> tuple[int, int]:
        """Descriptors a side of a step, drawn independently for query and gallery."""
        low, high = self.recipe.min_count, min(self.recipe.max_count, self.store.max_count)
        if low == 0 or low >= high:
            return high, high
        rng = stream(self.recipe.seed, Draw.COUNTS, step)
        query, gallery = rng.integers(low, high, 2, endpoint=self.recipe.draw_max_count)
        return int(query), int(gallery)

    def triplets(self, step: int) -> Triplets:
        """The triplets of a step, over all processes."""
        return self.sampler.batch(*divmod(step, len(self.sampler)))

    def num_triplets(self, step: int) -> int:
        """The triplets of a step; the last of an epoch may have fewer."""
        done = step % len(self.sampler) * self.sampler.batch_size
        return min(self.sampler.batch_size, len(self.sampler.anchors) - done)

    def _parts(self, first: int, stop: int) -> Generator[Part, None, None]:
        jobs = (job for step in range(first, stop) for job in self._jobs(step))
        with prefetched(self._load, jobs, self.prefetch) as parts:
            began = time.perf_counter()
            for part in parts:
                yield part._replace(waited=time.perf_counter() - began)
                began = time.perf_counter()

    def _jobs(self, step: int) -> Iterator[_Job]:
        triplets = self.triplets(step)
        num = len(triplets.anchor)
        own = triplets.part(self.processes.share(num))
        size = len(own.anchor)
        if size == 0:
            yield step, triplets.part(slice(0, 1)), 0.0, True
            return
        pieces = min(self.recipe.accumulate, size)
        for piece in range(pieces):
            part = own.part(Processes(piece, pieces).share(size))
            yield step, part, len(part.anchor) / num, piece == pieces - 1

    def _load(self, job: _Job) -> Part:
        step, triplets, share, last = job
        counts = self.counts(step)
        limit = min(self.recipe.max_count, self.store.max_count)
        read = (limit, limit) if self.whole else counts
        batch = load_batch(self.store, triplets, *read)
        if self.pin:  # a GPU can then fetch it by itself
            batch = batch.each(Tensor.pin_memory)
        return Part(step, batch, counts, share, last)
