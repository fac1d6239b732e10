"""Slow and obvious versions of what evaluation does fast: loops over queries and images."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

from ames_lite.records import GroundTruth, Neighbors


def ranks_without_junk(ids: Sequence[int], positives: set[int], junk: set[int]) -> list[int]:
    cleaned = [i for i in ids if i not in junk]
    return [rank for rank, i in enumerate(cleaned) if i in positives]


def average_precision(ids: Sequence[int], positives: set[int], junk: set[int]) -> float:
    if not positives:
        return math.nan
    area, found, seen, precision = 0.0, 0, 0, 1.0
    for i in ids:
        if i in junk:
            continue
        seen += 1
        found += i in positives
        if i in positives:
            area += (precision + found / seen) / 2 / len(positives)
        precision = found / seen
    return area


def average_precision_at(ids: Sequence[int], positives: set[int], k: int) -> float:
    if not positives:
        return math.nan
    found, total = 0, 0.0
    for place, i in enumerate(ids[:k], start=1):
        if i in positives:
            found += 1
            total += found / place
    return total / min(len(positives), k)


def revisited_precision_at(
    ids: Sequence[int], positives: set[int], junk: set[int], k: int
) -> float:
    if not positives:
        return math.nan
    places = [rank + 1 for rank in ranks_without_junk(ids, positives, junk)]
    if not places:
        return 0.0
    depth = min(max(places), k)
    return sum(place <= depth for place in places) / depth


def hit_at(ids: Sequence[int], positives: set[int], k: int) -> float:
    if not positives:
        return math.nan
    return float(any(i in positives for i in ids[:k]))


def precision_at(ids: Sequence[int], positives: set[int], k: int) -> float:
    if not positives:
        return math.nan
    return sum(i in positives for i in ids[:k]) / k


def mean(values: Sequence[float]) -> float:
    counted = [value for value in values if not math.isnan(value)]
    return sum(counted) / len(counted) if counted else math.nan


def lists_of(truth: GroundTruth, setting: str, q: int) -> tuple[set[int], set[int]]:
    easy, hard, junk = (set(map(int, rows[q])) for rows in (truth.easy, truth.hard, truth.junk))
    return {
        "easy": (easy, junk | hard),
        "medium": (easy | hard, junk),
        "hard": (hard, junk | easy),
        "all": (easy, set()),
    }[setting]


def score(sim: np.float32, logit: float, lamb: float, temp: float) -> np.float32:
    """In float32 throughout, as the library has it."""
    return np.float32(lamb) * sim + np.float32(1 - lamb) * _local(logit, temp)


@lru_cache(maxsize=4096)  # planted logits are few
def _local(logit: float, temp: float) -> np.float32:
    return np.float32(1) / (np.float32(1) + np.exp(-np.float32(temp) * np.float32(logit)))


def reranked_ids(
    neighbors: Neighbors,
    truth: GroundTruth,
    logit_of: Callable[[int, int], float],
    setting: str,
    num_rerank: int,
    lamb: float,
    temp: float,
) -> list[list[int]]:
    ranking = []
    for q in range(len(neighbors.ids)):
        junk = lists_of(truth, setting, q)[1]
        ids, sims = neighbors.ids[q].tolist(), neighbors.sims[q]
        entries = list(zip(ids, sims, strict=True))
        entries = [e for e in entries if e[0] not in junk] + [e for e in entries if e[0] in junk]
        head, tail = entries[:num_rerank], entries[num_rerank:]
        head.sort(key=lambda entry: -score(entry[1], logit_of(q, entry[0]), lamb, temp))
        ranking.append([i for i, _ in head + tail])
    return ranking
