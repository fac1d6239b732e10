"""Small random worlds: neighbours with tied sims, ground truth with junk and empty lists."""

from __future__ import annotations

import numpy as np

from ames_lite.evaluation.passes import Cell, evaluate_passes, prepare_passes
from ames_lite.evaluation.protocols import Evaluation, Protocol, Retrieval, get_protocol
from ames_lite.records import GroundTruth, Neighbors, PairScores


def judged(
    neighbors: Neighbors, truth: GroundTruth, protocol: str | Protocol = "revisitop"
) -> Retrieval:
    return Retrieval(get_protocol(protocol), truth, neighbors)


def evaluate_reranked(lists: Retrieval, scores: PairScores, cell: Cell) -> Evaluation:
    """Metrics after reranking."""
    passes = prepare_passes(lists, scores, cell.num_rerank)
    return evaluate_passes(passes, lists.protocol, cell)


def make_neighbors(
    seed: int, queries: int = 6, gallery: int = 40, length: int = 40, falling: bool = True
) -> Neighbors:
    """falling=False: the sims are in no order, as of lists that were reordered."""
    generator = np.random.default_rng(seed)
    ids = np.stack([generator.permutation(gallery)[:length] for _ in range(queries)])
    sims = np.sort(generator.integers(0, 12, ids.shape) / 8, axis=1)[:, ::-1]  # many ties
    sims = sims if falling else generator.permuted(sims, axis=1)
    return Neighbors(ids.astype(np.int32), sims.astype(np.float32), gallery)


def make_truth(seed: int, queries: int = 6, gallery: int = 40, graded: bool = True) -> GroundTruth:
    """Query 0 has no easy positive, query 1 none at all, query 2 no junk."""
    generator = np.random.default_rng(seed + 1000)
    easy, hard, junk = [], [], []
    for q in range(queries):
        drawn = generator.permutation(gallery)
        a, b, c = generator.integers(1, 8, 3)
        easy.append(drawn[: 0 if q in (0, 1) else a])
        hard.append(drawn[10 : 10 + (0 if q == 1 or not graded else b)])
        junk.append(drawn[20 : 20 + (0 if q == 2 or not graded else c)])
    return GroundTruth(
        query_names=tuple(f"q{q}.jpg" for q in range(queries)),
        gallery_names=tuple(f"g{n}.jpg" for n in range(gallery)),
        easy=tuple(easy),
        hard=tuple(hard),
        junk=tuple(junk),
        bbox=(None,) * queries,
        graded=graded,
    )


def make_scores(seed: int, queries: int = 6, gallery: int = 40) -> PairScores:
    """A logit for every pair, with many ties."""
    generator = np.random.default_rng(seed + 2000)
    query, row = np.divmod(np.arange(queries * gallery), gallery)
    logit = generator.integers(-6, 7, queries * gallery).astype(np.float32)
    return PairScores(query.astype(np.int32), row.astype(np.int32), logit)
