"""Logits for pairs of stored images: each image read and encoded once, no metrics.

Input: a head (or verifier), the query and gallery stores and the pairs to score. Output:
`PairScores` and a `Cost`. Queries are encoded first and stay; gallery rows are read in storage
order, in blocks that a thread reads ahead, encoded once, and scored against every query that wants
them, in batches of pairs that are alike in length. Only where the encoded queries do not fit into
`max_memory` they come in groups, and gallery images are encoded once a group, as far as those of
the group before could not be kept.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from ames_lite.errors import BadInput
from ames_lite.models import SimilarityHead
from ames_lite.processes import ALONE, Processes
from ames_lite.records import LocalDescriptors, PairScores
from ames_lite.reranking.cost import Cost, ReadMeter, Stopwatch
from ames_lite.reranking.pair_scoring import PairScoring, ScoringOptions
from ames_lite.reranking.prefetch import prefetched
from ames_lite.reranking.tasks import PairTask, gallery_blocks
from ames_lite.reranking.verification import Verifier, build_verifier, check_backbone
from ames_lite.runtime import cpu_threads
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.partial_scores import PartialScores
from ames_lite.stores.watch import Watch

__all__ = ["Cost", "PairScorer", "ScoringOptions", "head_scorer", "verifier_scorer"]
Rows = npt.NDArray[np.integer]
Check = Callable[[Mapping[str, Any], object], None]
VERIFIED_IMAGES = 16  # gallery images read at a time for a verifier


def score_with_head(
    head: SimilarityHead,
    query_store: DescriptorStore,
    gallery_store: DescriptorStore,
    query: Rows,
    gallery: Rows,
    options: ScoringOptions | None = None,
    *,
    kept: PartialScores | None = None,
    processes: Processes = ALONE,
    check: Check | None = None,
) -> tuple[PairScores, Cost]:
    """Logits of the pairs (query[p], gallery[p]), rows [P] of the two stores, unique.

    kept: where finished logits are kept while it lasts, and taken from where an interrupted run
    left some. processes: who shares the pairs; each returns all of them. check: see `PairScorer`.
    Raises BadInput before any work where stores and head do not fit, and where a store changes
    while it is read.
    """
    options = options or ScoringOptions()
    _check_widths(head, query_store, gallery_store)
    _check_provenance(check, query_store, gallery_store)

    def work(task: PairTask, cost: Cost, done: Callable[[int], object]) -> None:
        def put(pairs: Rows, logits: npt.NDArray[np.float32]) -> None:
            _check_finite(logits, pairs, task, query_store, gallery_store)
            task.put(pairs, logits)
            done(len(pairs))

        scoring = PairScoring(head, query_store, gallery_store, options, cost)
        scoring.run(task.query, task.gallery, task.todo, put)

    with cpu_threads(options.threads):
        return _scored(work, PairTask(query, gallery, kept, processes), processes)


def score_with_verifier(
    verifier: Verifier,
    query_store: DescriptorStore,
    gallery_store: DescriptorStore,
    query: Rows,
    gallery: Rows,
    options: ScoringOptions | None = None,
    *,
    kept: PartialScores | None = None,
    processes: Processes = ALONE,
    check: Check | None = None,
) -> tuple[PairScores, Cost]:
    """As `score_with_head`, one pair after the other."""
    options = options or ScoringOptions()
    _check_provenance(check, query_store, gallery_store)
    if verifier.needs_positions:
        query_store.check_positions(query)
        gallery_store.check_positions(gallery)
    watch = Watch([query_store, gallery_store])

    def work(task: PairTask, cost: Cost, done: Callable[[int], object]) -> None:
        meter = ReadMeter(cost)

        def read(store: DescriptorStore, rows: Rows, count: int) -> list[LocalDescriptors]:
            with Stopwatch(cost):
                images = [store.read(int(row), count) for row in rows]
                watch.check()
            for row, image in zip(rows, images, strict=True):
                size = image.descriptors.nbytes + image.xy.nbytes
                meter.note(store.path, count, len(store), np.array([row]), size)
            return images

        rows = np.unique(task.query[task.todo])
        queries = dict(zip(rows, read(query_store, rows, options.query_count), strict=True))
        blocks = list(gallery_blocks(task.gallery, task.todo, VERIFIED_IMAGES))

        def read_block(rows: Rows) -> list[LocalDescriptors]:
            return read(gallery_store, rows, options.gallery_count)

        with prefetched(read_block, [block.rows for block in blocks]) as read_ahead:
            for block, images in zip(blocks, read_ahead, strict=True):
                one = dict(zip(block.rows, images, strict=True))
                for p in block.pairs:
                    pair = queries[task.query[p]], one[task.gallery[p]]
                    logits = np.array([verifier.score(*pair)], np.float32)
                    _check_finite(logits, np.array([p]), task, query_store, gallery_store)
                    task.put(np.array([p]), logits)
                    done(1)

    with cpu_threads(options.threads):
        return _scored(work, PairTask(query, gallery, kept, processes), processes)


Work = Callable[[PairTask, Cost, Callable[[int], object]], None]


def _scored(work: Work, task: PairTask, processes: Processes) -> tuple[PairScores, Cost]:
    """Do the work of this process, with its progress shown, and join that of all."""
    cost = Cost(pairs=len(task.todo), pairs_kept=int(task.before.sum()))
    cost.unique_images = len(np.unique(task.query)) + len(np.unique(task.gallery))
    began = time.perf_counter()
    kept = len(task.query) - len(task.todo) if processes.size == 1 else 0
    shown = {"desc": "score", "unit": "pair", "unit_scale": True, "disable": not processes.first}
    with task, tqdm(total=kept + len(task.todo), initial=kept, **shown) as bar:
        work(task, cost, bar.update)
    cost.seconds_scoring = time.perf_counter() - began
    return task.join(), cost.joined(processes)


def _check_provenance(check: Check | None, *stores: DescriptorStore) -> None:
    """Raises BadInput as `check` does."""
    for store in stores:
        if check is not None:
            check(store.provenance, store.path)


def _check_widths(head: SimilarityHead, query: DescriptorStore, gallery: DescriptorStore) -> None:
    """Raises BadInput for a store that the head does not take; packed ones are counted in bits."""
    for store in (query, gallery):
        wanted = head.packed_bits if store.packed else head.dim_in
        if wanted is None:  # the head takes any width
            wanted = query.dim
        if store.dim != wanted:
            kind = "packed descriptors of {} bits" if store.packed else "descriptors of width {}"
            raise BadInput(
                f"the store has {kind.format(store.dim)}",
                where=store.path,
                expected=f"{kind.format(wanted)}, as the head takes them",
                remedy="use the desc_name that the head was trained on",
            )


def _check_finite(
    logits: npt.NDArray[np.float32],
    pairs: Rows,
    task: PairTask,
    query_store: DescriptorStore,
    gallery_store: DescriptorStore,
) -> None:
    """Raises BadInput at the first of these pairs whose logit is NaN or infinite."""
    bad = ~np.isfinite(logits)
    if bad.any():
        at = int(bad.argmax())
        p = pairs[at]
        names = query_store.names[task.query[p]], gallery_store.names[task.gallery[p]]
        raise BadInput(
            f"the logit of query '{names[0]}' and gallery image '{names[1]}' is {logits[at]}",
            where=f"{query_store.path} and {gallery_store.path}",
            expected="finite logits",
            remedy="look after the weights, or give precision=fp32",
        )


@dataclass(frozen=True, eq=False)
class PairScorer:
    """Whatever gives pairs of stored images a logit: a head or a verifier, under its name.

    digest: of the weights (a head) or the settings (a verifier): it tells scores apart. check:
    raises BadInput for descriptors of a provenance that it is not for, from a place; None: for any.
    """

    name: str
    digest: str
    arguments: dict[str, Any]
    score: Callable[..., tuple[PairScores, Cost]]  # query_store, gallery_store, query, gallery, …
    check: Check | None = None


def head_scorer(
    head: SimilarityHead, name: str, digest: str, check: Check | None = None
) -> PairScorer:
    """A head as a pair scorer."""
    score = partial(score_with_head, head, check=check)
    return PairScorer(name, digest, head.arguments, score, check)


def verifier_scorer(name: str, **arguments: Any) -> PairScorer:
    """The verifier of that name as a pair scorer. Raises ConfigError for an unknown one."""
    verifier = build_verifier(name, **arguments)
    settings = f"{name} {json.dumps(verifier.arguments, sort_keys=True)} {verifier.rule}".rstrip()
    check = partial(check_backbone, name, verifier)
    score = partial(score_with_verifier, verifier, check=check)
    return PairScorer(name, settings, verifier.arguments, score, check)
