"""Global descriptors of a list of images: `{desc}_{split}_{kind}.hdf5`, a unit vector an image. A
`Source` gives the vectors in blocks of rows, so that memory is bounded. Blocks begin at multiples
of `step`, so that an interrupted run continues with the same blocks, and writes the same bytes. An
image that failed keeps its row, marked as failed.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ames_lite.errors import explained, require
from ames_lite.extraction import aggregators
from ames_lite.extraction.aggregators import Aggregator, FittedWhitening, Tokens, Vectors
from ames_lite.extraction.backbones import interface
from ames_lite.extraction.backbones.interface import Backbone, Described
from ames_lite.extraction.batches import WINDOW, Jobs, compute_all, crop_of, jobs_of
from ames_lite.extraction.descriptors import check_on_bad_image, report_bad
from ames_lite.extraction.fitting import refuse_packed
from ames_lite.io.images import Box
from ames_lite.io.provenance import Provenance
from ames_lite.io.resizing import Preparation
from ames_lite.retrieval.rows import Floats
from ames_lite.runtime import progress_bar
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.global_store import GlobalStore
from ames_lite.stores.merging import Shard, shard_rows
from ames_lite.stores.row_layout import announce, globals_layout
from ames_lite.stores.row_store import RowStore
from ames_lite.stores.row_writer import GlobalWriter

Whitening = FittedWhitening | None  # None: not whitened
Part = Shard | None  # None: the whole list
Way = Aggregator | None  # None: the backbone's own
BLOCK_BYTES = 1 << 26  # of a block's descriptors, and of its vectors
MOST_ROWS = 256
logger = logging.getLogger(__name__)


class Block(NamedTuple):
    """Of consecutive images: vectors [n, V], and why some have none, by their place in it."""

    vectors: Floats
    failed: dict[int, str]


@dataclass(frozen=True)
class Source:
    """Where the vectors of N images come from."""

    names: Sequence[str]
    step: int  # rows of a block
    kind: str
    dim: int
    made: Provenance  # of the vectors
    blocks: Callable[[int], Iterator[Block]]  # from a row on, which is a multiple of step


def extract_globals(
    source: Source,
    output: str | Path,
    *,
    whitening: Whitening = None,
    dtype: str = "float32",  # or float16
    on_bad_image: str = "error",  # at the end; skip: logged
    say_bad: bool = True,  # False: the caller logs
    overwrite: bool = False,
) -> Path:
    """Write or continue the file `output`; returns its path. Raises BadInput before any work."""
    check_on_bad_image(on_bad_image)
    made, dim, path = source.made, source.dim, Path(output)
    if whitening is not None:
        whitening.check(made, dim, "this run")
        before, dim = made.get("normalisation", "as given"), whitening.whitening.dim
        made = {**made, **whitening.digests, "global": aggregators.whitened_kind(source.kind)}
        made["normalisation"] = f"{before}; whitened, then L2"
    logger.info(announce(path, globals_layout(source.names, dim, dtype), overwrite=overwrite))
    with GlobalWriter(
        path, source.names, dim, made, dtype=dtype, resume=not overwrite, overwrite=overwrite
    ) as writer:
        bad = _fill(source, writer, whitening)
    if say_bad or on_bad_image != "skip":
        report_bad(bad, len(source.names), [path], on_bad_image)
    return path


def _fill(source: Source, writer: GlobalWriter, whitening: Whitening) -> dict[str, str]:
    """Write what is still to do; returns the images that failed, also in earlier runs."""
    bad, names, done = writer.failed, source.names, writer.num_finished
    first = done - done % source.step
    with progress_bar(len(names), source.kind, "image", initial=done) as bar:
        for block in source.blocks(first if done < len(names) else len(names)):
            skip, stop = max(0, done - first), first + len(block.vectors)
            failed = {names[first + at]: why for at, why in block.failed.items() if at >= skip}
            vectors = block.vectors if whitening is None else whitening(block.vectors)
            writer.extend(names[first + skip : stop], vectors[skip:], failed)
            bad |= failed
            bar.update(stop - first - skip)
            first = stop
    return bad


def from_store(store: DescriptorStore, aggregator: Aggregator, shard: Part = None) -> Source:
    """The local descriptors of a store, aggregated. BadInput where they do not fit, for bits."""
    refuse_packed(store)
    aggregator.check(store.provenance, store.dim, store.path)
    dim = aggregator.dim(store.dim)
    made = {**store.provenance, "store": store.fingerprint()}
    made |= {**aggregator.provenance, "global": aggregator.kind}
    largest = max(store.max_count * store.dim * store.dtype.itemsize, 8 * dim)

    def aggregated(first: int, stop: int) -> Vectors:
        with explained(where=f"{store.path}, images counted from row {first}"):
            return aggregator(read_tokens(store, first, stop, aggregator.needs_weight))

    return _of_rows(store, shard, aggregated, largest, aggregator.kind, dim, made)


def from_globals(store: GlobalStore, shard: Part = None) -> Source:
    """Global descriptors as they are, to be whitened."""
    kind, made = str(store.provenance.get("global", "global")), dict(store.provenance)
    return _of_rows(store, shard, store.read, 8 * store.dim, kind, store.dim, made)


def _of_rows(
    store: RowStore,
    shard: Part,
    read: Callable[[int, int], Floats],  # the vectors from a row to before another
    row_bytes: int,  # of what a row reads or gives, the larger
    kind: str,
    dim: int,
    made: Provenance,
) -> Source:
    rows, step = shard_rows(len(store), shard), min(MOST_ROWS, max(1, BLOCK_BYTES // row_bytes))

    def blocks(done: int) -> Iterator[Block]:
        for first in range(rows.start + done, rows.stop, step):
            stop = min(first + step, rows.stop)
            failed = {row - first: why for row, why in store.failed(first, stop).items()}
            yield Block(read(first, stop), failed)

    return Source(store.names[rows.start : rows.stop], step, kind, dim, made, blocks)


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


def from_images(
    backbone: Backbone,
    image_root: str | Path,
    names: Sequence[str],
    aggregator: Way,
    *,
    boxes: Sequence[Box | None] | None = None,
    shard: Part = None,
    workers: int = 1,
    flip: bool = False,  # the mean of the unit vectors of the image and of its mirror image
) -> Source:
    """Images, described by a backbone and aggregated one by one: no local descriptor is stored.

    names, boxes [N]: of all images, also for a shard; see `extract_descriptors`. Without an
    aggregator the vectors are the backbone's own, brought to unit length. Raises BadInput where
    aggregator or vectors do not fit the backbone; that loads its weights.
    """
    jobs = jobs_of(image_root, names, boxes, shard_rows(len(names), shard))
    made = {**backbone.provenance, **crop_of(boxes)}
    if aggregator is None:
        require(backbone.global_kind, "this backbone has no global descriptor", "an aggregator")
        kind, dim = str(backbone.global_kind), backbone.global_dim
        made = {**interface.made_of_globals(made), "normalisation": "L2", "global": kind}
    else:
        aggregator.check(made, backbone.dim, "this run")
        kind, dim = aggregator.kind, aggregator.dim(backbone.dim)
        made = {**made, **aggregator.provenance, "global": kind}
    if flip:
        fits, what = isinstance(backbone.prepare, Preparation), "flip is of networks alone"
        require(fits, what, "another backbone, or no flip")
        made["flip"] = "mean of both unit vectors"
    views = partial(_views, backbone, flip)
    blocks = partial(_described, jobs, backbone, views, aggregator, workers, dim)
    # steps of a window: so batches are those of an unbroken run
    return Source([job.name for job in jobs], WINDOW, kind, dim, made, blocks)


def _views(backbone: Backbone, flip: bool, batch: Sequence[Any]) -> list[tuple[Described, ...]]:
    """Of every prepared image what the backbone says of it and, with flip, of its mirror image."""
    batches = [batch, [one.mirrored() for one in batch]] if flip else [batch]
    return list(zip(*map(backbone.describe, batches), strict=True))


def _described(
    jobs: Jobs,
    backbone: Backbone,
    views: Callable[[Sequence[Any]], list[tuple[Described, ...]]],
    aggregator: Way,
    workers: int,
    dim: int,
    first: int,
) -> Iterator[Block]:
    if first >= len(jobs):
        return
    found = compute_all(views, jobs[first:], backbone, workers)
    while window := list(islice(found, WINDOW)):
        vectors = np.zeros((len(window), dim), np.float32)
        failed = {}
        for at, result in enumerate(window):
            if isinstance(result, str):
                failed[at] = result
            else:
                pooled = [_pooled(view, aggregator) for view in result]
                vectors[at] = pooled[0]
                if len(pooled) > 1:  # the mean of their directions
                    mean = np.mean([*map(interface.unit_vector, pooled)], axis=0)
                    vectors[at] = interface.unit_vector(mean)
        yield Block(vectors, failed)


def _pooled(described: Described, aggregator: Way) -> Vectors:
    if aggregator is None:
        assert described.vector is not None
        return interface.unit_vector(described.vector)
    local = described.local
    descriptors = local.descriptors.astype(np.float32, copy=False)
    return aggregator(Tokens(descriptors[None], local.weight[None], np.array([local.count])))[0]
