"""Candidate lists of any lengths, reranked pair by pair."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ames_lite.records import Neighbors, PairScores
from ames_lite.reranking.ensemble import rerank
from ames_lite.stores.candidates import Candidates

Ids = npt.NDArray[np.int64]


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
    """The lists in the order of the scores, as `ensemble.rerank` has it; without sims the logits
    alone decide. rows, found: of `candidates.rows`; num: only the first so many are reordered.
    """
    orders, sims = [], []
    for q, ids in enumerate(found):
        given = np.zeros(len(ids), np.float32) if candidates.sims is None else candidates.sims[q]
        near = Neighbors(np.arange(len(ids), dtype=np.int32)[None], given[None], len(ids))
        logits = scores.lookup(ids[None, :num], rows[q : q + 1])
        ranked = rerank(near, logits, 0.0 if candidates.sims is None else lamb, temp)
        orders.append(ranked.ids[0])
        sims.append(ranked.sims[0])
    return candidates.reordered(orders, sims)
