"""Batches of training, read ahead in a thread.

A batch is divided among the processes, and each share into `accumulate` parts; parts are weighted
by their share of the batch, so that sums over parts do not depend on the division. What is read
depends on the step alone.
"""

import time
from collections.abc import Generator, Iterator
from contextlib import closing
from itertools import groupby
from typing import NamedTuple

from torch import Tensor

from ames_lite.processes import ALONE, Processes
from ames_lite.reranking.batches import prefetched
from ames_lite.runtime import Draw, stream
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.training.dataset import TripletBatch, load_batch
from ames_lite.training.recipe import Recipe
from ames_lite.training.sampler import Triplets, TripletSampler


class Part(NamedTuple):
    """Some triplets of a step, with their descriptors."""

    step: int
    batch: TripletBatch
    counts: tuple[int, int]  # descriptors a side that the head sees; a teacher sees all
    share: float  # of the step's triplets over all processes; 0: stands in for an empty share
    last: bool  # of the step
    waited: float = 0.0  # seconds


_Job = tuple[int, Triplets, float, bool]  # step, triplets, share and last of a part


class BatchLoader:
    """Reads parts of batches. whole: read all descriptors up to max_count, for a teacher."""

    def __init__(
        self,
        store: DescriptorStore,
        sampler: TripletSampler,
        recipe: Recipe,
        processes: Processes = ALONE,
        *,
        prefetch: int = 2,
        pin: bool = False,
        whole: bool = False,
    ) -> None:
        self.store, self.sampler, self.recipe = store, sampler, recipe
        self.processes = processes
        self.prefetch, self.pin, self.whole = prefetch, pin, whole

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
