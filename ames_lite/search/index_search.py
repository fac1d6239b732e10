"""Searching an index: candidates by their vectors, reranked by a head or a baseline.

Images that tie are in the order of their names, so that how the index grew does not show. Only the
rows of candidates are read, segment by segment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput
from ames_lite.records import NO_EVIDENCE, Neighbors
from ames_lite.reranking.ensemble import ensemble_scores, rerank
from ames_lite.reranking.scorer import PairScorer, ScoringOptions
from ames_lite.retrieval.knn import most_similar
from ames_lite.search.open_index import OpenIndex
from ames_lite.stores.descriptor_store import DescriptorStore

STEP = 20  # candidates that are scored between two looks at the best score
Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Hits:
    """For Q queries their K candidates, best first.

    ids [Q, K]: numbers in the index' names; scores [Q, K]: what they were sorted by, descending;
    global_rank [Q, K]: where they stood before, from 1; sims [Q, K]: global similarities; scored:
    pairs that the head saw, Q · K unless a search was certain before.
    """

    ids: Ids
    scores: Floats
    global_rank: npt.NDArray[np.int64]
    sims: Floats
    scored: int


def search_index(
    index: OpenIndex,
    vectors: Floats,
    queries: DescriptorStore,
    scorer: PairScorer,
    *,
    lamb: float,
    temp: float,
    num_rerank: int = 100,
    own_names: Sequence[str | None] | None = None,
    options: ScoringOptions | None = None,
    certain: float = np.inf,
) -> Hits:
    """Search for the queries, rows of a store, all of them done, with their vectors [Q, V].

    num_rerank: candidates of each, clamped to what the index has. own_names [Q]: names in the index
    that are left out, the query's own; None: none. certain: once a candidate of a query reaches
    this score, its other candidates are scored no more and count as without local evidence,
    λ · sim: they stay behind, in their order. Raises BadInput where index, vectors and scorer do
    not fit, and where nothing is left to be found.
    """
    near = find_candidates(index, vectors, num_rerank, own_names)
    logits, scored = np.full(near.ids.shape, NO_EVIDENCE, np.float32), 0
    active = np.arange(len(near.ids))
    step = near.ids.shape[1] if certain == np.inf else STEP
    for start in range(0, near.ids.shape[1], step):
        part = slice(start, start + step)
        ids, sims = near.ids[active, part], near.sims[active, part]
        found = _logits(index, queries, scorer, active, ids, options or ScoringOptions())
        logits[active, part], scored = found, scored + ids.size
        best = ensemble_scores(sims, found, lamb, temp).max(axis=1, initial=-np.inf)
        active = active[best < certain]
        if not len(active):
            break
    ranked = rerank(near.ids, near.sims, logits, lamb, temp)
    before = np.argsort(near.ids, axis=1)
    rank = np.empty(near.ids.shape, np.int64)
    for q, order in enumerate(before):
        rank[q] = order[np.searchsorted(near.ids[q], ranked.ids[q], sorter=order)]
    sims = np.take_along_axis(near.sims, rank, axis=1)
    return Hits(ranked.ids.astype(np.int32), ranked.scores, rank + 1, sims, scored)


def find_candidates(
    index: OpenIndex,
    vectors: Floats,
    count: int,
    own_names: Sequence[str | None] | None = None,
) -> Neighbors:
    """The `count` images with the highest similarity for vectors [Q, V], ties by name.

    Ids are those of the index. See `search_index`.
    """
    row_of = {name: n for n, name in enumerate(index.names)}
    left_out = [None if name is None else row_of.get(name) for name in own_names or []] or None
    if len(index) == 1 and left_out and left_out[0] == 0:
        raise BadInput(
            "nothing can be found: the query is the only image of the index",
            where=index.folder.absolute(),
            expected="an index of at least one other image",
        )
    return most_similar(vectors, index.vectors(), count, len(index), left_out)


def _logits(
    index: OpenIndex,
    queries: DescriptorStore,
    scorer: PairScorer,
    rows: npt.NDArray[np.int64],
    ids: Ids,
    options: ScoringOptions,
) -> Floats:
    """Logits [n, K] of candidates ids [n, K] of the queries rows [n], from their segments."""
    logits = np.empty(ids.shape, np.float32)
    segment = index.segment[ids]
    for number in np.unique(segment):
        q, k = np.nonzero(segment == number)
        gallery = index.row[ids[q, k]]
        store = index.store(int(number))
        found, _ = scorer.score(queries, store, rows[q], gallery, options)
        place = np.lexsort((gallery, q))  # the order of PairScores
        logits[q[place], k[place]] = found.logit
    return logits
