"""Which queries a page of failures shows, against loops over written-out rankings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ames_lite.errors import BadInput
from ames_lite.evaluation.metrics import best_ranks
from ames_lite.evaluation.passes import Cell, prepare_passes
from ames_lite.evaluation.report import best_and_worst, pick_row
from ames_lite.records import GroundTruth, Neighbors, PairScores
from tests.evaluation.toy import judged

GALLERY = 9
CELL = Cell(num_rerank=5, lamb=0.3, temp=2.0)


def toy(seed: int) -> tuple[Neighbors, GroundTruth, PairScores]:
    """Six queries with random lists, positives and junk; every pair has a logit."""
    rng = np.random.default_rng(seed)
    ids = np.array([rng.permutation(GALLERY) for _ in range(6)], np.int32)
    sims = -np.sort(-rng.random(ids.shape).astype(np.float32), axis=1)
    parts = [np.split(rng.permutation(GALLERY), [1, 2, 4]) for _ in range(6)]
    easy, hard, junk = (tuple(p[i].astype(np.int64) for p in parts) for i in range(3))
    queries = tuple(f"q{i}" for i in range(6))
    gallery = tuple(f"g{i}" for i in range(GALLERY))
    truth = GroundTruth(queries, gallery, easy, hard, junk, (None,) * 6)
    every = np.divmod(np.arange(6 * GALLERY), GALLERY)
    logits = rng.normal(0, 2, 6 * GALLERY).astype(np.float32)
    return (
        Neighbors(ids, sims, GALLERY),
        truth,
        PairScores(*(e.astype(np.int32) for e in every), logits),
    )


def slow_order(lists: Neighbors, truth: GroundTruth, scores: PairScores, q: int) -> tuple[Any, Any]:
    """The medium ranking of one query without junk: by similarity, and after reranking."""
    junk = set(truth.junk[q].tolist())
    kept = [(row, sim) for row, sim in zip(lists.ids[q].tolist(), lists.sims[q], strict=True)]
    kept = [(row, sim) for row, sim in kept if row not in junk]
    n = min(CELL.num_rerank, lists.ids.shape[1])
    logit = {
        g: v for p, g, v in zip(scores.query, scores.gallery, scores.logit, strict=True) if p == q
    }

    def score(row: int, sim: float) -> float:
        local = 1 / (1 + np.exp(-CELL.temp * float(logit[row])))
        return CELL.lamb * float(sim) + (1 - CELL.lamb) * float(local)

    head = sorted(kept[:n], key=lambda pair: -score(*pair))
    return [row for row, _ in kept], [row for row, _ in head + kept[n:]]


def place(order: list[int], wanted: list[int]) -> int | None:
    return next((i for i, row in enumerate(order, 1) if row in wanted), None)


@pytest.mark.parametrize("seed", range(5))
def test_best_ranks_are_where_the_loop_finds_the_first_correct_image(seed: int) -> None:
    lists, truth, scores = toy(seed)
    one = prepare_passes(judged(lists, truth), scores, CELL.num_rerank)["medium"]
    ranks = [best_ranks(one.before), best_ranks(one.hits(CELL))]
    for q in range(6):
        right = [*truth.easy[q].tolist(), *truth.hard[q].tolist()]
        for found, order in zip(ranks, slow_order(lists, truth, scores, q), strict=True):
            assert found[q] == place(order, right)


def test_the_most_helped_come_first_and_so_do_the_worst() -> None:
    before = np.array([1, np.inf, 7, 7, 1, 2, 1, np.nan, 1])
    after = np.array([1, 1, 1, 1, 3, 9, np.inf, np.nan, 1])
    gain = np.array([0, 0.5, 0.1, 0.2, -0.5, -0.4, -0.9, np.nan, 0])
    ap_after = np.array([1.0, 0.9, 0.9, 0.9, 0.3, 0.2, 0.0, np.nan, 0.4])
    won, lost = best_and_worst(before, after, ap_after - gain, ap_after, 3)
    assert won == [1, 3, 2] and lost == [6, 5, 4]
    won, lost = best_and_worst(before, after, ap_after - gain, ap_after, 9)
    assert won == [1, 3, 2, 0, 8] and lost == [6, 5, 4]  # each query once
    won, lost = best_and_worst(before, after, ap_after - gain, ap_after, 4)
    assert won == [1, 3, 2, 0] and lost == [6, 5, 4, 8]  # 8: correct first, but AP 0.4


def test_the_best_row_is_one_that_was_not_chosen_on_the_test_set() -> None:
    def row(role: str | None, value: float | None) -> dict[str, Any]:
        return {"metrics": {"map": value}} | ({"role": role} if role else {})

    assert pick_row([row("oracle", 0.9), row("frozen", 0.3), row("given", 0.4)], "map") == 2
    assert pick_row([row("oracle", 0.2), row("oracle", 0.9)], "map") == 1
    assert pick_row([row(None, 0.2), row(None, 0.9), row(None, None)], "map") == 1
    with pytest.raises(BadInput, match="no row has the metric map(.|\n)*recall@1"):
        pick_row([{"metrics": {"recall@1": 0.5}}], "map")
