"""Where global descriptors come from: local descriptors on disk, images, or other global ones.

A source gives the vectors of a list of images in blocks of rows, so that memory is bounded by a
block. Blocks begin at multiples of `step`, counted from the first row, so that a run that continues
another computes with the same blocks, and gives the same bytes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput
from ames_lite.extraction.aggregators import Aggregator, Tokens, Vectors
from ames_lite.extraction.backbones.interface import (
    Backbone,
    Described,
    made_of_globals,
    unit_vector,
)
from ames_lite.extraction.batches import WINDOW, describe_all, jobs_of
from ames_lite.extraction.sampling import refuse_packed
from ames_lite.io.images import Box
from ames_lite.io.provenance import Provenance
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.global_store import GlobalStore
from ames_lite.stores.row_layout import FAILED
from ames_lite.stores.shards import Shard, shard_rows

BLOCK_BYTES = 1 << 26  # of a block's descriptors, and of its vectors
MOST_ROWS = 256


class Block(NamedTuple):
    """Of consecutive images: vectors [n, V], and why some have none, by their place in it."""

    vectors: npt.NDArray[np.floating[Any]]
    failed: dict[int, str]


class Source(ABC):
    """names: N images; step: rows of a block; kind, dim, made: of the vectors that it gives."""

    names: Sequence[str]
    step: int
    kind: str
    dim: int

    @property
    @abstractmethod
    def made(self) -> Provenance:
        """What the vectors are made from and how; of a network it loads the weights."""

    @abstractmethod
    def blocks(self, first: int) -> Iterator[Block]:
        """The blocks from row `first` on, a multiple of step."""


class RowSource(Source):
    """The rows of a file, or of a shard of it."""

    def __init__(self, names: Sequence[str], shard: Shard | None, row_bytes: int) -> None:
        """row_bytes: of what a row reads or gives, the larger."""
        rows = shard_rows(len(names), shard)
        self.names, self._start = names[rows.start : rows.stop], rows.start
        self.step = min(MOST_ROWS, max(1, BLOCK_BYTES // row_bytes))

    def blocks(self, first: int) -> Iterator[Block]:
        for row in range(first, len(self.names), self.step):
            stop = min(row + self.step, len(self.names))
            yield self.block(self._start + row, self._start + stop)

    @abstractmethod
    def block(self, first: int, stop: int) -> Block:
        """Rows of the file."""


class StoreSource(RowSource):
    """The local descriptors of a store (native or published), aggregated.

    Raises BadInput where the aggregator does not fit the store, and for packed stores.
    """

    def __init__(
        self, store: DescriptorStore, aggregator: Aggregator, shard: Shard | None = None
    ) -> None:
        refuse_packed(store)
        aggregator.check(store.provenance, store.dim, store.path)
        self.store, self.aggregator = store, aggregator
        self.kind, self.dim = aggregator.kind, aggregator.dim(store.dim)
        largest = max(store.max_count * store.dim * store.dtype.itemsize, 8 * self.dim)
        super().__init__(store.names, shard, largest)

    @property
    def made(self) -> Provenance:
        of_store = {**self.store.provenance, "store": self.store.fingerprint()}
        return {**of_store, **self.aggregator.provenance, "global": self.kind}

    def block(self, first: int, stop: int) -> Block:
        needs_weight = self.aggregator.needs_weight
        try:
            vectors = self.aggregator(read_tokens(self.store, first, stop, needs_weight))
        except BadInput as error:
            where = f"{self.store.path}, images counted from row {first}"
            raise BadInput(str(error), where=where) from error
        bad = np.flatnonzero(self.store.status[first:stop] == FAILED)
        return Block(vectors, {int(at): self.store.reason(first + int(at)) for at in bad})


def read_tokens(store: DescriptorStore, first: int, stop: int, with_weight: bool) -> Tokens:
    """Rows first to stop of a store, the real descriptors of each in front."""
    descriptors, valid = store.read_descriptors(np.arange(first, stop))
    weight = store.weights(first, stop) if with_weight else None
    count = valid.sum(axis=1)
    if (valid != (np.arange(valid.shape[1]) < count[:, None])).any():  # masks of published stores
        order = np.argsort(~valid, axis=1, kind="stable")
        descriptors = np.take_along_axis(descriptors, order[..., None], axis=1)
        weight = None if weight is None else np.take_along_axis(weight, order, axis=1)
    return Tokens(descriptors, weight, count)


class ImageSource(Source):
    """Images, described by a backbone and aggregated one by one: no local descriptor is stored.

    Without an aggregator the vectors are the backbone's own, brought to unit length. Raises
    BadInput where aggregator or vectors do not fit the backbone; that loads its weights.
    """

    step = WINDOW  # and so batches are those of an unbroken run

    def __init__(
        self,
        backbone: Backbone,
        image_root: str | Path,
        names: Sequence[str],
        aggregator: Aggregator | None,
        *,
        boxes: Sequence[Box | None] | None = None,
        shard: Shard | None = None,
        workers: int = 1,
    ) -> None:
        """names, boxes [N]: of all images, also for a shard; see `extract_descriptors`."""
        self._jobs = jobs_of(image_root, names, boxes, shard)
        self.names: Sequence[str] = [job.name for job in self._jobs]
        self.backbone, self.aggregator, self.workers = backbone, aggregator, workers
        self._of_backbone = {**backbone.provenance, "crop": boxes is not None}
        if aggregator is not None:
            aggregator.check(self._of_backbone, backbone.dim, "this run")
            self.kind, self.dim = aggregator.kind, aggregator.dim(backbone.dim)
        else:
            if backbone.global_kind is None:
                raise BadInput("this backbone has no global descriptor", expected="an aggregator")
            self.kind, self.dim = backbone.global_kind, backbone.global_dim

    @property
    def made(self) -> Provenance:
        if self.aggregator is None:
            kept = made_of_globals(self._of_backbone)
            return {**kept, "normalisation": "L2", "global": self.kind}
        return {**self._of_backbone, **self.aggregator.provenance, "global": self.kind}

    def blocks(self, first: int) -> Iterator[Block]:
        if first >= len(self._jobs):
            return
        found = describe_all(self._jobs[first:], self.backbone, self.workers)
        while window := list(islice(map(self._pool, found), self.step)):
            vectors = np.zeros((len(window), self.dim), np.float32)
            failed = {}
            for at, result in enumerate(window):
                if isinstance(result, str):
                    failed[at] = result
                else:
                    vectors[at] = result
            yield Block(vectors, failed)

    def _pool(self, described: Described | str) -> Vectors | str:
        if isinstance(described, str):
            return described
        if self.aggregator is None:
            assert described.vector is not None
            return unit_vector(described.vector)
        local = described.local
        descriptors = local.descriptors.astype(np.float32, copy=False)
        tokens = Tokens(descriptors[None], local.weight[None], np.array([local.count]))
        return self.aggregator(tokens)[0]


class GlobalSource(RowSource):
    """Global descriptors that are there already, as they are: to be whitened."""

    def __init__(self, store: GlobalStore, shard: Shard | None = None) -> None:
        self.store, self.dim = store, store.dim
        self.kind = str(store.provenance.get("global", "global"))
        super().__init__(store.names, shard, 8 * store.dim)

    @property
    def made(self) -> Provenance:
        return dict(self.store.provenance)

    def block(self, first: int, stop: int) -> Block:
        bad = self.store.failed(first, stop)
        return Block(self.store.read(first, stop), {at - first: why for at, why in bad.items()})
