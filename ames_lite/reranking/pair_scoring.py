"""A head's logits of pairs, in the order in which they cost least. What is encoded lies on the
device, and so do the logits of a block of gallery rows until it is finished: the device does not
wait for the host in between. Axis letter: P pairs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ames_lite.errors import BadInput
from ames_lite.models import SimilarityHead
from ames_lite.records import NO_EVIDENCE
from ames_lite.reranking.batches import FEWER, Batches, is_out_of_memory, prefetched, share_out
from ames_lite.reranking.encoding import Encoded, Encoder
from ames_lite.reranking.tasks import PairTask, ReadMeter, Rows, gallery_blocks
from ames_lite.runtime import autocast
from ames_lite.stores.descriptor_store import DescriptorStore

BUCKET = 32  # lengths that far apart may be padded to one
MOST_IMAGES = 4096  # of a block
QUERY_BYTES = 1 << 24  # of queries read at a time
Logits = npt.NDArray[np.float32]
Stores = tuple[DescriptorStore, DescriptorStore]  # of queries and gallery
Chunk = tuple[Rows, Encoded]  # gallery rows, and the images
Score = Callable[[Any, Any], Any]  # of two encodings
Put = Callable[[Rows, Logits], None]  # takes numbers of pairs and their logits


@dataclass(frozen=True)
class ScoringOptions:
    """How much at a time, and where."""

    query_count: int = 600  # strongest descriptors of a query
    gallery_count: int = 600  # strongest descriptors of a gallery image
    block_images: int | None = None  # gallery images read at a time; None: 64 MiB of them
    precision: str = "fp32"
    device: str = "cpu"
    batch_tokens: int | None = None  # tokens of pairs scored at a time; None: as the device likes
    max_memory: float = 8.0  # GiB of the host's memory that the process may have
    compile: bool = False  # torch.compile the head's scoring
    threads: int | None = None  # of the CPU; None: as they are


class PairScoring:
    """One job of scoring with a head; `run` does it."""

    def __init__(
        self, head: SimilarityHead, stores: Stores, options: ScoringOptions, task: PairTask
    ) -> None:
        self.device = torch.device(options.device)
        self.options, self.stores, self.task = options, stores, task
        self.batches = Batches(self.device, options.batch_tokens)
        meter = ReadMeter(task.cost, stores)
        self.encoder = Encoder(head.to(self.device).eval(), self.batches, meter)
        self.score: Score = _compiled(head.score) if options.compile else head.score
        self.cached: dict[int, list[Chunk]] = {}

    def run(self, put: Put) -> None:
        """Score the pairs of the task that are to do; put takes them."""
        if len(self.task.todo) == 0:
            return
        try:
            with torch.inference_mode(), autocast(self.options.precision, self.device):
                self._run(put)
        except RuntimeError as error:  # batches make themselves smaller; what else has no room
            if not is_out_of_memory(error):
                raise
            what = f"{self.device} is out of memory beside the batches"
            expected = "room for encoded queries and a block of gallery images"
            remedy = f"a smaller max_memory=, {FEWER}, or a device that nothing else is using"
            raise BadInput(what, expected=expected, remedy=remedy) from error

    def _run(self, put: Put) -> None:
        """Groups of queries for which there is room, each against all blocks of gallery rows; what
        is encoded of the first `keep` blocks stays for the next group.
        """
        options, budget = self.options, share_out(self.options.max_memory, self.device)
        task, store, count = self.task, self.stores[1], options.gallery_count
        most = max(1, min(MOST_IMAGES, budget.block // _row_bytes(store, count)))
        images = options.block_images or most
        blocks = gallery_blocks(task.gallery, task.todo, images)
        queries = np.unique(task.query[task.todo])
        each = self.encoder.image_bytes(self.stores[0], options.query_count, gallery=False)
        groups, keep = -(-len(queries) // max(1, budget.queries // each)), 0
        if groups > 1:
            keep = budget.gallery // (images * self.encoder.image_bytes(store, count, gallery=True))
        for rows in np.array_split(queries, groups):
            self._score_group(rows, blocks, keep, put)

    def _score_group(self, rows: Rows, blocks: list[Rows], keep: int, put: Put) -> None:
        query, gallery = self.task.query, self.task.gallery
        own = {n: pairs[np.isin(query[pairs], rows)] for n, pairs in enumerate(blocks)}
        own = {n: pairs for n, pairs in own.items() if len(pairs)}
        to_read = [blocks[n] if n < keep else own[n] for n in own if n not in self.cached]
        store, count = self.stores[0], self.options.query_count
        step = max(1, QUERY_BYTES // _row_bytes(store, count))
        parts = [rows[i : i + step] for i in range(0, len(rows), step)]
        with prefetched(partial(self.encoder.read, store, count=count), parts) as stored:
            queries = self.encoder.queries(stored, len(rows))
        read = partial(self.encoder.read, self.stores[1], count=self.options.gallery_count)
        with prefetched(read, (np.unique(gallery[pairs]) for pairs in to_read)) as read_ahead:
            for n, pairs in own.items():
                chunks = self.cached.get(n) or self.encoder.gallery(next(read_ahead))
                if n < keep:
                    self.cached[n] = chunks
                at = np.searchsorted(rows, query[pairs])
                put(pairs, self._score_block(queries, at, chunks, gallery[pairs]))

    def _score_block(self, queries: Encoded, at: Rows, chunks: list[Chunk], rows: Rows) -> Logits:
        """at: places in `queries` of the pairs' queries; rows: of their gallery images."""
        found = torch.empty(len(at), device=self.device)
        order, blank, start = list[Rows](), list[Rows](), 0
        for own, images in chunks:
            chosen, g = _members(rows, own)
            q = at[chosen]
            alike = (queries.extent.length[q] // BUCKET, images.extent.length[g] // BUCKET)
            sort = np.lexsort((g, q, alike[1], alike[0]))
            self._score_pairs(queries, q[sort], images, g[sort], found[start : start + len(q)])
            order.append(chosen[sort])
            blank.append(chosen[queries.extent.blank[q] | images.extent.blank[g]])
            start += len(q)
        logits = np.empty(len(at), np.float32)
        logits[np.concatenate(order)] = found.cpu().numpy()
        logits[np.concatenate(blank)] = NO_EVIDENCE
        return logits

    def _score_pairs(
        self, queries: Encoded, query: Rows, images: Encoded, gallery: Rows, out: Tensor
    ) -> None:
        numbers = np.stack([query, gallery])
        q_index, g_index = torch.from_numpy(numbers).to(self.device, non_blocking=True)

        def score(batch: slice) -> None:
            sides = (queries, query, q_index), (images, gallery, g_index)
            pair = [side.pick(at[batch], index[batch]) for side, at, index in sides]
            out[batch] = self.score(*pair)

        # a match token is a token too
        tokens = queries.extent.length[query] + 1, images.extent.length[gallery]
        self.batches.run(score, *tokens)


def _members(values: Rows, among: Rows) -> tuple[Rows, Rows]:
    """Which of values are among the rows (unique), and where each stands there."""
    order = np.argsort(among)
    places = order[np.minimum(np.searchsorted(among, values, sorter=order), len(among) - 1)]
    chosen = np.flatnonzero(among[places] == values)
    return chosen, places[chosen]


def _row_bytes(store: DescriptorStore, count: int) -> int:
    width = store.dim // 8 if store.packed else store.dim
    return min(count, store.max_count) * width * store.dtype.itemsize


def _compiled(score: Score) -> Score:
    """The same, compiled for all sizes on first use. Raises BadInput where that fails."""
    from torch._dynamo.exc import TorchDynamoException

    fast = torch.compile(score, dynamic=True)

    def run(query: Any, gallery: Any) -> Any:
        try:
            return fast(query, gallery)
        except TorchDynamoException as error:
            what = f"torch.compile failed: {str(error).splitlines()[0]}"
            expected = "a compiler that torch.compile can use (g++, on a GPU triton)"
            raise BadInput(what, expected=expected, remedy="compile=false") from error

    return run
