"""Seconds, bytes and memory of scoring all pairs of an evaluation, beside the plain loop.

In: sizes. Out: cells, of three kinds of `work`:
  target    one a precision: scoring once through the scheduler, the plain loop in the same rounds
  growth    one axis (num_rerank, descriptors, queries, gallery) at one of its values, float32
  exponent  the slope of log seconds over log value of an axis; of pairs: over log pairs
The plain loop (benchmarks/referees/plain.py, with the dense form of AMES in float32) reads and
forwards anew for every query and pass. It runs once, a share of the queries after each round of the
scheduler, so that both meet the same machine; the scheduler's figure is a median.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch

from ames_lite.evaluation.passes import (
    Cell,
    evaluate_passes,
    move_to_end,
    pairs_to_score,
    prepare_passes,
    rerank_setting,
)
from ames_lite.evaluation.protocols import Retrieval, get_protocol, setting_junk
from ames_lite.models import AMES
from ames_lite.records import GroundTruth, Neighbors, PairScores, pair_keys, split_pair_keys
from ames_lite.reranking.scorer import Cost, PairScorer, ScoringOptions
from ames_lite.runtime import peak_memory_mib
from benchmarks.made_stores import Made, make_lists, make_stores
from benchmarks.referees.plain import PlainLoop
from benchmarks.subjects import Dense, build_variant
from benchmarks.timing import middle

PROTOCOL, SETTINGS = "revisitop", ("medium", "hard")  # the two passes that the plain loop makes
ENSEMBLE: dict[str, Any] = {"lamb": 0.5, "temp": 1.0}
TIE = 1e-5  # scores nearer than that may stand in either order
AXES = ("num_rerank", "descriptors", "queries", "gallery")


@dataclass(frozen=True)
class RerankSize:
    """One job; descriptors: of a query and of a gallery image."""

    queries: int = 20
    num_rerank: int = 100
    descriptors: int = 200
    gallery: int = 1000
    pool: int = 600  # gallery images that are in lists


@dataclass(frozen=True)
class RerankSpeed:
    """What is measured. growth: values of each axis; dim_in: width of the descriptors."""

    size: RerankSize
    growth: dict[str, list[int]]
    precisions: list[str]
    repeats: int = 3
    dim_in: int = 768
    device: str = "cpu"
    plain: bool = True
    seed: int = 0

    def most(self, axis: str) -> int:
        """The largest value that an axis takes."""
        return max([getattr(self.size, axis), *self.growth.get(axis, [])])


class Job:
    """One size, ready to be scored."""

    def __init__(self, options: RerankSpeed, size: RerankSize, made: Made, head: AMES) -> None:
        self.options, self.size, self.made, self.head = options, size, made, head
        given = (size.queries, size.gallery, size.pool, size.num_rerank, options.seed)
        self.lists = judged(*make_lists(made, *given))
        self.pairs = pairs_to_score(self.lists, size.num_rerank)

    def score(self, precision: str) -> tuple[PairScores, Cost]:
        """All pairs, through the scheduler."""
        count = self.size.descriptors
        options = ScoringOptions(count, count, precision=precision, device=self.options.device)
        return PairScorer(self.head).score(*self.made, *self.pairs, options)


def measure_rerank(options: RerankSpeed, folder: Path) -> list[dict[str, Any]]:
    """The cells; stores are made in `folder` and removed."""
    device = torch.device(options.device)
    sizes = options.most("queries"), options.most("gallery"), options.most("descriptors")
    made = make_stores(folder, *sizes, options.dim_in, options.seed)
    try:
        head = cast(AMES, build_variant("ames", options.dim_in, options.seed, device))
        job = Job(options, options.size, made, head)
        small = replace(options.size, queries=min(2, options.size.queries))
        for precision in options.precisions:  # what is slow the first time only
            Job(options, small, made, head).score(precision)
        cells = _target(job, device)
        for axis, values in options.growth.items():
            grown = [_grown(options, axis, value, made, head) for value in values]
            cells += grown + _exponents(axis, grown)
        return cells
    finally:
        for store in made:
            store.close()
            store.path.unlink()


def _target(job: Job, device: torch.device) -> list[dict[str, Any]]:
    options = job.options
    shares = np.array_split(np.arange(job.size.queries), options.repeats)
    seconds: dict[str, list[float]] = {name: [] for name in options.precisions}
    found: dict[str, tuple[PairScores, Cost]] = {}
    loop = PlainPasses(job, device) if options.plain else None
    for share in shares:
        for name in options.precisions:
            began = time.perf_counter()
            found[name] = job.score(name)  # ends with the logits on the host: nothing is under way
            seconds[name].append(time.perf_counter() - began)
        if loop is not None:
            loop.run(share)
    return [_target_cell(job, name, seconds[name], *found[name], loop) for name in seconds]


class PlainPasses:
    """The plain loop over both passes, as many queries at a time as it is told."""

    def __init__(self, job: Job, device: torch.device) -> None:
        count, dense = job.size.descriptors, Dense(job.head)

        def forward(*sides: torch.Tensor) -> torch.Tensor:
            with torch.device(device):  # where the referee makes its masks
                return dense.model(sides[0], sides[1], sides[2], sides[3])[0]

        self.loop = PlainLoop(
            forward, job.made.queries, job.made.gallery, count, count, device=str(device)
        )
        lists = job.lists
        junk = [setting_junk(lists.ground_truth, setting) for setting in SETTINGS]
        moved = [move_to_end(lists.neighbors, rows) for rows in junk]
        self.ids = [one.ids[:, : job.size.num_rerank] for one in moved]
        self.logits = [np.zeros(ids.shape, np.float32) for ids in self.ids]
        self.seconds = 0.0

    def run(self, queries: npt.NDArray[np.integer]) -> None:
        """These queries, in both passes."""
        began = time.perf_counter()
        for ids, logits in zip(self.ids, self.logits, strict=True):
            for q in queries:
                logits[q] = self.loop.query(int(q), ids[q])
        self.seconds += time.perf_counter() - began

    def scores(self, more: PairScores) -> PairScores:
        """All logits; those of the pass that it does not make are another's."""
        rows = np.arange(len(self.ids[0]))[:, None]
        others = pair_keys(more.query, more.gallery)
        keys = dict(zip(others.tolist(), more.logit, strict=True))
        for ids, logits in zip(self.ids, self.logits, strict=True):
            keys |= dict(zip(pair_keys(rows, ids).ravel().tolist(), logits.ravel(), strict=True))
        both = np.fromiter(keys, np.int64, len(keys))
        logit = np.fromiter(keys.values(), np.float32, len(keys))
        return PairScores(*split_pair_keys(both), logit)


def _target_cell(
    job: Job,
    precision: str,
    seconds: Sequence[float],
    scores: PairScores,
    cost: Cost,
    loop: PlainPasses | None,
) -> dict[str, Any]:
    cell = {"work": "target", "precision": precision, **_cell(job, seconds, cost)}
    if loop is None:
        return cell
    plain = loop.scores(scores)
    found = [scores.lookup(ids) for ids in loop.ids]
    difference = max(np.abs(a - b).max() for a, b in zip(found, loop.logits, strict=True))
    lists, num = job.lists, job.size.num_rerank
    return cell | {
        "plain_seconds": loop.seconds,
        "plain_forwards": loop.loop.forwards,
        "plain_bytes_read": loop.loop.bytes_read,
        "ratio": loop.seconds / middle(seconds),
        "logit_difference": float(difference),
        "same_ranking": all(same_order(lists, scores, plain, s, num) for s in SETTINGS),
        "map": _map(lists, scores, num),
        "plain_map": _map(lists, plain, num),
    }


def judged(neighbors: Neighbors, truth: GroundTruth) -> Retrieval:
    """The lists under the protocol that is measured."""
    return Retrieval(get_protocol(PROTOCOL), truth, neighbors)


def same_order(
    lists: Retrieval, scores: PairScores, plain: PairScores, setting: str, num_rerank: int
) -> bool:
    """Whether both rank alike, but for images whose scores tie in the plain ranking."""
    mine, theirs = (
        rerank_setting(lists, one, setting, Cell(num_rerank, **ENSEMBLE)) for one in (scores, plain)
    )
    for a, b, b_scores in zip(mine.ids, theirs.ids, theirs.sims, strict=True):
        known = dict(zip(b.tolist(), b_scores.tolist(), strict=True))
        in_my_order = np.array([known[i] for i in a[:num_rerank].tolist()])
        if (np.abs(in_my_order - b_scores[:num_rerank]) > TIE).any():
            return False
    return True


def _map(lists: Retrieval, scores: PairScores, num_rerank: int) -> float:
    passes = prepare_passes(lists, scores, num_rerank)
    found = evaluate_passes(passes, lists.protocol, Cell(num_rerank, **ENSEMBLE))
    return float(found.metrics["map"])


def _grown(options: RerankSpeed, axis: str, value: int, made: Made, head: AMES) -> dict[str, Any]:
    job = Job(options, replace(options.size, **{axis: value}), made, head)
    seconds, cost = [], Cost()
    for _ in range(options.repeats):
        began = time.perf_counter()
        _, cost = job.score("fp32")
        seconds.append(time.perf_counter() - began)
    return {"work": "growth", "axis": axis, "value": value, **_cell(job, seconds, cost)}


def _exponents(axis: str, cells: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The slopes that two or more values of an axis give."""
    over = {axis: "value"} | ({"pairs": "pairs"} if axis in ("num_rerank", "queries") else {})
    found = []
    for name, key in over.items():
        x = np.log([cell[key] for cell in cells])
        y = np.log([cell["seconds"] for cell in cells])
        if len(cells) > 1 and np.ptp(x) > 0:
            slope = float(np.polyfit(x, y, 1)[0])
            found.append({"work": "exponent", "axis": axis, "of": name, "exponent": slope})
    return found


def _cell(job: Job, seconds: Sequence[float], cost: Cost) -> dict[str, Any]:
    """What every cell of scoring has; seconds are medians, load is that of the machine, after."""
    size = job.size
    return {
        **{axis: getattr(size, axis) for axis in AXES},
        "pairs": cost.pairs,
        "unique_images": cost.unique_images,
        "encoded": cost.encoded_queries + cost.encoded_gallery,
        "seconds": middle(seconds),
        "pairs_per_second": cost.pairs / middle(seconds),
        "ms_per_query": 1000 * middle(seconds) / size.queries,
        "seconds_reading": cost.seconds_reading,
        "bytes_read": cost.bytes_read,
        "bytes_over_unique": cost.bytes_over_unique,
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "peak_memory_mib": peak_memory_mib(),
    }
