"""Reranking under a protocol: one pass a setting.

Before each pass the setting's junk moves to the end of the neighbour list, so that it takes no
place among the reranked; each setting's numbers come from its own pass. Axis letters: Q queries,
K neighbours, P pairs, n = num_rerank, clamped to K wherever it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput
from ames_lite.evaluation import metrics
from ames_lite.evaluation.metrics import Hits, Ids
from ames_lite.evaluation.protocols import (
    Evaluation,
    Protocol,
    check_fit,
    get_protocol,
    setting_hits,
    setting_junk,
    setting_positives,
    summarize,
)
from ames_lite.records import (
    GroundTruth,
    Neighbors,
    PairScores,
    Ranking,
    pair_keys,
    split_pair_keys,
)
from ames_lite.reranking.ensemble import (
    check_ensemble,
    ensemble_scores,
    rerank,
    stable_descending,
)

Scores = PairScores | Callable[[Ids], npt.NDArray[np.generic]]  # ids [Q, n] to logits [Q, n]


def move_to_end(neighbors: Neighbors, junk: Sequence[Ids]) -> Neighbors:
    """Move each query's junk to the end of its list, ids and sims together, stably."""
    ids, sims = neighbors.ids.copy(), neighbors.sims.copy()
    nothing: list[npt.NDArray[np.int64]] = [np.zeros(0, np.int64)] * len(ids)
    is_junk = metrics.label_ids(ids, nothing, junk) == metrics.JUNK
    for q in np.flatnonzero(is_junk.any(axis=1)):
        order = np.argsort(is_junk[q], kind="stable")
        ids[q], sims[q] = ids[q, order], sims[q, order]
    return Neighbors(ids, sims, neighbors.num_gallery)


def _first(neighbors: Neighbors, count: int) -> Neighbors:
    head = np.s_[:, :count]
    return Neighbors(neighbors.ids[head], neighbors.sims[head], neighbors.num_gallery)


def _head(
    neighbors: Neighbors, ground_truth: GroundTruth, setting: str, num_rerank: int
) -> Neighbors:
    """The first num_rerank after the setting's junk moved, without moving the whole list."""
    junk = setting_junk(ground_truth, setting)
    reach = num_rerank + max((len(rows) for rows in junk), default=0)
    return _first(move_to_end(_first(neighbors, reach), junk), num_rerank)


def pairs_to_score(
    neighbors: Neighbors,
    ground_truth: GroundTruth,
    num_rerank: int,
    protocol: str | Protocol,
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """The pairs that the passes need a logit for, each once: query rows and gallery rows [P].

    Sorted by query, then gallery.
    """
    protocol = get_protocol(protocol)
    check_fit(neighbors, ground_truth, protocol)
    num_rerank = _clamped(num_rerank, neighbors)
    heads = [_head(neighbors, ground_truth, s, num_rerank).ids for s in protocol.settings]
    rows = np.arange(len(neighbors.ids))[:, None]
    return split_pair_keys(np.unique(np.concatenate([pair_keys(rows, ids) for ids in heads], None)))


def _clamped(num_rerank: int, neighbors: Neighbors) -> int:
    if num_rerank < 1:
        raise BadInput(f"num_rerank is {num_rerank}", expected="at least 1")
    return min(num_rerank, neighbors.ids.shape[1])


def _logits(scores: Scores, ids: Ids) -> npt.NDArray[np.float32]:
    logits = np.asarray(scores.lookup(ids) if isinstance(scores, PairScores) else scores(ids))
    if logits.shape != ids.shape or not np.isfinite(logits).all():
        raise BadInput(
            f"a scorer gave logits {logits.shape} for ids {ids.shape}, or NaN among them",
            expected="one finite logit a pair",
        )
    return logits.astype(np.float32)


@dataclass(frozen=True, eq=False)
class RerankPass:
    """One setting, ready to be reranked with any lamb, temp and num_rerank up to n.

    sims, logits and labels [Q, n] are those of the neighbours after junk moved; before is where the
    positives stand when nothing is reranked. `prepare_passes` makes it.
    """

    sims: npt.NDArray[np.float32]
    logits: npt.NDArray[np.float32]
    labels: npt.NDArray[np.uint8]
    before: Hits

    def hits(self, num_rerank: int, lamb: float, temp: float) -> Hits:
        """Where the positives stand after the first num_rerank were reordered."""
        n = min(num_rerank, self.sims.shape[1])
        order = stable_descending(ensemble_scores(self.sims[:, :n], self.logits[:, :n], lamb, temp))
        labels = np.take_along_axis(self.labels[:, :n], order, axis=1)
        moved = metrics.hits_of_labels(labels, self.before.num_positives)
        # junk stands last, so behind the reranked a positive's rank is its place in the list
        stays = self.before.rank >= n
        query = np.concatenate([moved.query, self.before.query[stays]])
        rank = np.concatenate([moved.rank, self.before.rank[stays]])
        by_query = np.argsort(query, kind="stable")
        return self.before._replace(query=query[by_query], rank=rank[by_query])


def prepare_passes(
    neighbors: Neighbors,
    ground_truth: GroundTruth,
    scores: Scores,
    num_rerank: int,
    protocol: str | Protocol,
) -> dict[str, RerankPass]:
    """All that the passes of a protocol need up to num_rerank, by setting.

    Raises BadInput where lists disagree, a pair has no score, or a logit is NaN.
    """
    protocol = get_protocol(protocol)
    check_fit(neighbors, ground_truth, protocol)
    num_rerank = _clamped(num_rerank, neighbors)
    passes = {}
    for setting in protocol.settings:
        head = _head(neighbors, ground_truth, setting, num_rerank)
        right, junk = setting_positives(ground_truth, setting), setting_junk(ground_truth, setting)
        labels = metrics.label_ids(head.ids, right, junk)
        before = setting_hits(neighbors.ids, ground_truth, setting)
        passes[setting] = RerankPass(head.sims, _logits(scores, head.ids), labels, before)
    return passes


def evaluate_passes(
    passes: Mapping[str, RerankPass],
    protocol: str | Protocol,
    *,
    num_rerank: int,
    lamb: float,
    temp: float,
) -> Evaluation:
    """Metrics of prepared passes at one lamb, temp and num_rerank (as prepared, or less)."""
    check_ensemble(lamb, temp)
    hits = {setting: one.hits(num_rerank, lamb, temp) for setting, one in passes.items()}
    return summarize(hits, get_protocol(protocol))


def evaluate_reranked(
    neighbors: Neighbors,
    ground_truth: GroundTruth,
    scores: Scores,
    protocol: str | Protocol,
    *,
    num_rerank: int,
    lamb: float,
    temp: float,
) -> Evaluation:
    """Metrics after reranking: medium numbers from the medium pass, hard from the hard pass, ..."""
    passes = prepare_passes(neighbors, ground_truth, scores, num_rerank, protocol)
    return evaluate_passes(passes, protocol, num_rerank=num_rerank, lamb=lamb, temp=temp)


def rerank_setting(
    neighbors: Neighbors,
    ground_truth: GroundTruth,
    scores: Scores,
    setting: str,
    *,
    num_rerank: int,
    lamb: float,
    temp: float,
) -> Ranking:
    """The whole ranking [Q, K] that the pass of one setting ends with.

    Its junk moved to the end beforehand; where num_rerank reaches it, it is reranked with the rest.
    """
    check_fit(neighbors, ground_truth)
    num_rerank = _clamped(num_rerank, neighbors)
    moved = move_to_end(neighbors, setting_junk(ground_truth, setting))
    return rerank(moved, _logits(scores, moved.ids[:, :num_rerank]), lamb, temp)
