"""Reranking under a protocol: one pass a setting. Before each pass the setting's junk moves to the
end of the neighbour list, so that it takes no place among the reranked; each setting's numbers come
from its own pass. Axis letters: Q queries, K neighbours, P pairs, n = num_rerank, clamped to K
wherever it is given.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ames_lite.errors import require
from ames_lite.evaluation import metrics, protocols
from ames_lite.evaluation.metrics import Hits, Ids
from ames_lite.evaluation.protocols import Evaluation, Protocol, Retrieval, setting_junk
from ames_lite.records import Neighbors, PairScores, pair_keys, split_pair_keys
from ames_lite.reranking.ensemble import check_ensemble, ensemble_scores, rerank, stable_descending

Pairs = tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]  # rows of queries and gallery [P]


@dataclass(frozen=True)
class Cell:
    """A cell of a grid: num_rerank as asked for (0: the global ranking), lamb and temp."""

    num_rerank: int
    lamb: float
    temp: float

    def __post_init__(self) -> None:
        what = f"num_rerank is {self.num_rerank}"
        require(self.num_rerank >= 0, what, "at least 1, or 0: nothing is reranked")
        check_ensemble(self.lamb, self.temp)

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """The cell of a row of results.json."""
        return cls(row["num_rerank"], row["lamb"], row["temp"])


def move_to_end(neighbors: Neighbors, junk: Sequence[Ids]) -> Neighbors:
    """Move each query's junk to the end of its list, ids and sims together, stably."""
    ids, sims = neighbors.ids.copy(), neighbors.sims.copy()
    is_junk = metrics.label_ids(ids, junk) == metrics.POSITIVE
    for q in np.flatnonzero(is_junk.any(axis=1)):
        order = np.argsort(is_junk[q], kind="stable")
        ids[q], sims[q] = ids[q, order], sims[q, order]
    return Neighbors(ids, sims, neighbors.num_gallery)


def _head(lists: Retrieval, setting: str, num_rerank: int) -> Neighbors:
    """The first num_rerank after the setting's junk moved, without moving the whole list."""
    junk = setting_junk(lists.ground_truth, setting)
    reach = num_rerank + max((len(rows) for rows in junk), default=0)
    return move_to_end(lists.neighbors.first(reach), junk).first(num_rerank)


def pairs_to_score(lists: Retrieval, num_rerank: int) -> Pairs:
    """The pairs that the passes need, each once, sorted."""
    require(num_rerank >= 1, f"num_rerank is {num_rerank}", "at least 1")
    heads = [_head(lists, setting, num_rerank).ids for setting in lists.protocol.settings]
    rows = np.arange(len(lists.neighbors.ids))[:, None]
    return split_pair_keys(np.unique(np.concatenate([pair_keys(rows, ids) for ids in heads], None)))


@dataclass(frozen=True, eq=False)
class RerankPass:
    """One setting, ready to be reranked by any cell with num_rerank up to n."""

    sims: npt.NDArray[np.float32]  # [Q, n] of the neighbours after junk moved
    logits: npt.NDArray[np.float32]  # [Q, n]
    labels: npt.NDArray[np.uint8]  # [Q, n]
    before: Hits  # where the positives stand when nothing is reranked

    def hits(self, cell: Cell) -> Hits:
        """Where the positives stand after the first num_rerank were reordered."""
        n = min(cell.num_rerank, self.sims.shape[1])
        scores = ensemble_scores(self.sims[:, :n], self.logits[:, :n], cell.lamb, cell.temp)
        labels = np.take_along_axis(self.labels[:, :n], stable_descending(scores), axis=1)
        moved = metrics.hits_of_labels(labels, self.before.num_positives)
        # junk stands last, so behind the reranked a positive's rank is its place in the list
        stays = self.before.rank >= n
        query = np.concatenate([moved.query, self.before.query[stays]])
        rank = np.concatenate([moved.rank, self.before.rank[stays]])
        by_query = np.argsort(query, kind="stable")
        return self.before._replace(query=query[by_query], rank=rank[by_query])


def prepare_passes(lists: Retrieval, scores: PairScores, num_rerank: int) -> dict[str, RerankPass]:
    """All that the passes need up to num_rerank, by setting. BadInput where a score is missing."""
    truth, passes = lists.ground_truth, {}
    for setting in lists.protocol.settings:
        head = _head(lists, setting, num_rerank)
        right, junk = protocols.setting_positives(truth, setting), setting_junk(truth, setting)
        labels = metrics.label_ids(head.ids, right, junk)
        before = protocols.setting_hits(lists.neighbors.ids, truth, setting)
        passes[setting] = RerankPass(head.sims, scores.lookup(head.ids), labels, before)
    return passes


def evaluate_passes(passes: Mapping[str, RerankPass], protocol: Protocol, cell: Cell) -> Evaluation:
    """Metrics of prepared passes: medium numbers from the medium pass, hard from the hard pass."""
    hits = {setting: one.hits(cell) for setting, one in passes.items()}
    return protocols.summarize(hits, protocol)


def rerank_setting(lists: Retrieval, scores: PairScores, setting: str, cell: Cell) -> Neighbors:
    """The whole ranking [Q, K] that the pass of one setting ends with, its junk moved before."""
    moved = move_to_end(lists.neighbors, setting_junk(lists.ground_truth, setting))
    return rerank(moved, scores.lookup(moved.first(cell.num_rerank).ids), cell.lamb, cell.temp)
