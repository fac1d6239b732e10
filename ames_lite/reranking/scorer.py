"""Logits for pairs of stored images, by a head (`pair_scoring`) or a verifier, pair by pair; and
candidate lists of any lengths, reranked by them. Queries are encoded first and stay; gallery rows
are read in storage order, in blocks that a thread reads ahead, encoded once, and scored against
every query that wants them.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput, chosen, require
from ames_lite.models import SimilarityHead
from ames_lite.processes import ALONE, Processes
from ames_lite.records import LocalDescriptors, Neighbors, PairScores
from ames_lite.reranking.batches import prefetched
from ames_lite.reranking.ensemble import rerank
from ames_lite.reranking.pair_scoring import PairScoring, Put, ScoringOptions, Stores
from ames_lite.reranking.tasks import Cost, PairTask, ReadMeter, Rows, gallery_blocks
from ames_lite.reranking.verification import VERIFIERS, Verifier
from ames_lite.runtime import cpu_threads
from ames_lite.stores.candidates import Candidates
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.pair_scores import PartialScores

__all__ = ["Cost", "PairScorer", "ScoringOptions", "verifier_scorer"]
Ids = npt.NDArray[np.int64]
Check = Callable[[Mapping[str, Any], object], None]
VERIFIED_IMAGES = 16  # gallery images read at a time for a verifier


@dataclass(frozen=True, eq=False)
class PairScorer:
    """A head or a verifier under its name."""

    model: SimilarityHead | Verifier
    name: str = ""
    digest: str = ""  # of its weights or settings, to tell scores apart
    check: Check | None = None  # of descriptors' provenance, at a place: raises BadInput

    def score(
        self,
        query_store: DescriptorStore,
        gallery_store: DescriptorStore,
        query: Rows,
        gallery: Rows,
        options: ScoringOptions | None = None,
        *,
        kept: PartialScores | None = None,
        processes: Processes = ALONE,
    ) -> tuple[PairScores, Cost]:
        """Logits of the pairs (query[p], gallery[p]), rows [P] of the two stores, unique.

        kept: finished logits of an interrupted run, and of this one. Processes share the pairs, and
        each returns all. Raises BadInput before any work where stores and model do not fit, and
        where a store changes while it is read.
        """
        options, stores = options or ScoringOptions(), (query_store, gallery_store)
        for store, rows in zip(stores, (query, gallery), strict=True):
            self._check_store(store, rows, query_store.dim)
        with cpu_threads(options.threads):
            task = PairTask(query, gallery, kept, processes)
            put = partial(_put, task, stores)
            with task:
                if isinstance(self.model, SimilarityHead):
                    PairScoring(self.model, stores, options, task).run(put)
                else:
                    _verify(self.model, stores, options, task, put)
            return task.join()

    def _check_store(self, store: DescriptorStore, rows: Rows, dim: int) -> None:
        """Packed widths are bits; dim: of the queries, for galleries of a head that takes any."""
        head = self.model
        if isinstance(head, SimilarityHead):
            wanted = (head.packed_bits if store.packed else head.dim_in) or dim
            kind = "packed descriptors of {} bits" if store.packed else "descriptors of width {}"
            what = f"the store has {kind.format(store.dim)}"
            expected = f"{kind.format(wanted)}, as the head takes them"
            remedy = "use the desc_name that the head was trained on"
            require(store.dim == wanted, what, expected, where=store.path, remedy=remedy)
        if self.check is not None:
            self.check(store.provenance, store.path)
        if not isinstance(head, SimilarityHead) and head.needs_positions:
            store.check_positions(rows)


def verifier_scorer(name: str, **arguments: Any) -> PairScorer:
    """The verifier of that name as a pair scorer. Raises ConfigError for an unknown one."""
    verifier = chosen(name, VERIFIERS, "pair scorer")(**arguments)
    settings = f"{name} {json.dumps(verifier.arguments, sort_keys=True)} {verifier.rule}".rstrip()
    return PairScorer(verifier, name, settings, verifier.check)


def _verify(model: Verifier, stores: Stores, how: ScoringOptions, task: PairTask, put: Put) -> None:
    meter = ReadMeter(task.cost, stores)

    def read(store: DescriptorStore, count: int, rows: Rows) -> dict[int, LocalDescriptors]:
        with meter.reading():
            images = {int(row): store.read(int(row), count) for row in rows}
        for row, image in images.items():
            meter.note(store, count, np.array([row]), image.descriptors.nbytes + image.xy.nbytes)
        return images

    queries = read(stores[0], how.query_count, np.unique(task.query[task.todo]))
    blocks = gallery_blocks(task.gallery, task.todo, VERIFIED_IMAGES)
    read_block = partial(read, stores[1], how.gallery_count)
    with prefetched(read_block, [np.unique(task.gallery[pairs]) for pairs in blocks]) as ahead:
        for pairs, images in zip(blocks, ahead, strict=True):
            for p in pairs:
                pair = queries[int(task.query[p])], images[int(task.gallery[p])]
                put(np.array([p]), np.array([model.score(*pair)], np.float32))


def _put(task: PairTask, stores: Stores, pairs: Rows, logits: npt.NDArray[np.float32]) -> None:
    """Raises BadInput at the first of these pairs whose logit is NaN or infinite."""
    bad = ~np.isfinite(logits)
    if bad.any():
        at = int(bad.argmax())
        rows = task.query[pairs[at]], task.gallery[pairs[at]]
        names = [store.names[row] for store, row in zip(stores, rows, strict=True)]
        what = f"the logit of query '{names[0]}' and gallery image '{names[1]}' is {logits[at]}"
        where = " and ".join(str(store.path) for store in stores)
        remedy = "check the weights, or give precision=fp32"
        raise BadInput(what, where=where, expected="finite logits", remedy=remedy)
    task.put(pairs, logits)


def listed_pairs(rows: Ids, found: Sequence[Ids], num: int | None = None) -> tuple[Ids, Ids]:
    """Rows [P] of the query and the image of each pair; num: of the first so many of every list."""
    near = [ids[:num] for ids in found]
    return np.repeat(rows, [len(ids) for ids in near]), np.concatenate([rows[:0], *near])


def rerank_lists(
    candidates: Candidates,
    rows: Ids,
    found: Sequence[Ids],
    scores: PairScores,
    lamb: float,
    temp: float,
    num: int | None = None,
) -> Candidates:
    """The lists, their first `num` in the order of the scores; without sims of the logits."""
    orders, sims = [], []
    for q, ids in enumerate(found):
        given = np.zeros(len(ids), np.float32) if candidates.sims is None else candidates.sims[q]
        near = Neighbors(np.arange(len(ids), dtype=np.int32)[None], given[None], len(ids))
        logits = scores.lookup(ids[None, :num], rows[q : q + 1])
        ranked = rerank(near, logits, 0.0 if candidates.sims is None else lamb, temp)
        orders.append(ranked.ids[0])
        sims.append(ranked.sims[0])
    return candidates.reordered(orders, sims)
