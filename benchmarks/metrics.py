"""Seconds and memory of evaluating: metrics of a long ranking, and a grid of λ and γ.

Input: sizes. Output: one cell a piece of work, on a made-up world (random rankings, random logits;
only sizes matter here). Peak memory is that of the process so far, libraries and the rankings
themselves included, so a bound on it is a bound on all that came before.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ames_lite.evaluation.passes import pairs_to_score
from ames_lite.evaluation.protocols import Retrieval, get_protocol
from ames_lite.evaluation.tuning import grid
from ames_lite.records import GroundTruth, Neighbors, PairScores
from ames_lite.runtime import peak_memory_mib
from benchmarks.timing import interleaved, middle

CPU = torch.device("cpu")


@dataclass(frozen=True)
class MetricSpeed:
    """What is measured. grid_gallery: images of the set that the grid is swept on."""

    queries: int = 70
    gallery: int = 1_000_000
    grid_gallery: int = 4993
    num_rerank: int = 1600
    lambs: int = 10
    temps: int = 10
    repeats: int = 5
    seed: int = 0


def measure_metrics(options: MetricSpeed) -> list[dict[str, Any]]:
    """Cells: work, queries, gallery, num_rerank, settings (pairs of λ and γ), seconds (the median),
    load (of the machine, before), peak_memory_mib.
    """
    sizes = {"ranking": options.gallery, "reranked": options.gallery, "grid": options.grid_gallery}
    cells = []
    for work, gallery in sizes.items():
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        call, settings = _work(work, gallery, options)
        seconds = interleaved({work: call}, options.repeats, CPU)[work]
        del call  # and with it its world
        cells.append(
            {
                "work": work,
                "queries": options.queries,
                "gallery": gallery,
                "num_rerank": None if work == "ranking" else min(options.num_rerank, gallery),
                "settings": settings,
                "seconds": middle(seconds),
                "load": load,
                "peak_memory_mib": peak_memory_mib(),
            }
        )
    return cells


def _work(work: str, gallery: int, options: MetricSpeed) -> tuple[Callable[[], object], int]:
    """What is timed, and how many pairs of λ and γ it has."""
    world = made_up_world(options.queries, gallery, options.seed)
    if work == "ranking":
        return world.evaluate, 0
    num = options.num_rerank
    query, rows = pairs_to_score(world, num)
    logit = np.random.default_rng(options.seed).standard_normal(len(query)).astype(np.float32)
    scores = PairScores(query, rows, logit)
    if work == "reranked":
        one: dict[str, Any] = {"num_reranks": [num], "lambs": [0.5], "temps": [1.0]}
        return lambda: grid(world, scores, **one), 1
    lambs = np.linspace(0, 1, options.lambs).tolist()
    temps = np.geomspace(0.1, 10, options.temps).tolist()
    axes: dict[str, Any] = {"num_reranks": [num], "lambs": lambs, "temps": temps}
    return lambda: grid(world, scores, **axes), len(lambs) * len(temps)


def made_up_world(queries: int, gallery: int, seed: int) -> Retrieval:
    """Random rankings of a whole gallery; a hundredth of it graded, at most 900 images a query."""
    generator = np.random.default_rng(seed)
    ids = np.empty((queries, gallery), np.int32)
    for row in ids:
        row[:] = generator.permutation(gallery)
    sims = np.repeat(np.linspace(1, 0, gallery, dtype=np.float32)[None], queries, axis=0)
    third = max(1, min(900, gallery // 100) // 3)
    drawn = [generator.choice(gallery, 3 * third, replace=False) for _ in range(queries)]
    easy, hard, junk = (tuple(d[i * third : (i + 1) * third] for d in drawn) for i in range(3))
    truth = GroundTruth(
        query_names=tuple(f"q{i}" for i in range(queries)),
        gallery_names=tuple(f"g{i}" for i in range(gallery)),
        easy=easy,
        hard=hard,
        junk=junk,
        bbox=(None,) * queries,
    )
    return Retrieval(get_protocol("revisitop"), truth, Neighbors(ids, sims, gallery))
