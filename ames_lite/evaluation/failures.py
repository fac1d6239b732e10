"""Which queries a failure sheet shows: those that reranking helped most, and the worst that remain.

Input: rankings, ground truth, scores of pairs. Output: `Case`s, rows of queries and gallery with
ranks. A rank counts from 1 and no junk, in the setting that is asked for (medium where grades
exist); "correct" is a positive of that setting. A query without positives is no case.

Axis letters: Q queries, K ranked images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput
from ames_lite.evaluation.metrics import Floats, Hits
from ames_lite.evaluation.passes import rerank_setting
from ames_lite.evaluation.protocols import setting_junk, setting_positives
from ames_lite.records import GroundTruth, Neighbors, PairScores

PICKED = ("given", "frozen")  # roles of rows that were not chosen on what they are reported on


class Case(NamedTuple):
    """What happened to one query; images are gallery rows.

    first_before, first_after: at rank 1 by the global similarity and after reranking, None where
    all that is listed is junk; first_after_before: the rank that the latter had. right: the correct
    image that stands best after reranking; right_before, right_after its ranks. rank_before: the
    rank of the best correct image (perhaps another one) before. None for a rank: not in the list.
    """

    query: int
    first_before: int | None
    first_after: int | None
    first_after_before: int | None
    right: int
    right_before: int | None
    right_after: int | None
    rank_before: int | None
    ap_before: float
    ap_after: float


def pick_row(rows: Sequence[Mapping[str, Any]], metric: str) -> int:
    """The place in `rows` (of results.json) of the best one by `metric`, the first of equals.

    Rows that are given or frozen go before those of a grid. Raises BadInput where none has it.

    >>> rows = [{"metrics": {"map": value}, "role": "given"} for value in (0.4, 0.6, 0.6)]
    >>> pick_row(rows, "map")
    1
    """
    having = [i for i, row in enumerate(rows) if row["metrics"].get(metric) is not None]
    if not having:
        known = ", ".join(rows[0]["metrics"])
        raise BadInput(f"no row has the metric {metric}", expected=f"one of {known}")
    picked = [i for i in having if rows[i].get("role") in PICKED] or having
    return max(picked, key=lambda i: (rows[i]["metrics"][metric], -i))


def best_ranks(hits: Hits) -> Floats:
    """The rank from 1 of each query's best correct image [Q]; inf: not listed; nan: it has none.

    >>> rank, a = np.array([3, 5]), np.array
    >>> best_ranks(Hits(query=a([1, 1]), rank=rank, num_positives=a([0, 2, 4]), length=9))
    array([nan,  4., inf])
    """
    ranks = np.full(len(hits.num_positives), np.inf)
    np.minimum.at(ranks, hits.query, hits.rank + 1.0)
    ranks[hits.num_positives == 0] = np.nan
    return ranks


def best_and_worst(
    before: Floats, after: Floats, ap_before: Floats, ap_after: Floats, count: int
) -> tuple[list[int], list[int]]:
    """Up to `count` successes and up to `count` of the worst queries, as rows [Q].

    before, after: `best_ranks`; ap_*: average precisions. A success has a correct image first;
    those whose best correct image rose most come first, then those that gained most AP. The worst
    are the others with the lowest best correct image, then the lowest AP; a query with all that
    is right in front is not among them.

    >>> a = np.array
    >>> best_and_worst(a([9.0, 1, 4, 2]), a([1.0, 1, 3, 8]), a([0.1, 1, 0.2, 0.3]),
    ...              a([1.0, 1, 0.3, 0.1]), count=2)
    ([0, 1], [3, 2])
    """
    rows = np.flatnonzero(~np.isnan(after)).tolist()
    won = sorted(
        (q for q in rows if after[q] == 1),
        key=lambda q: (-before[q], ap_before[q] - ap_after[q], q),
    )[:count]
    lost = (q for q in rows if q not in set(won) and not (after[q] == 1 and ap_after[q] > 1 - 1e-9))
    return won, sorted(lost, key=lambda q: (-after[q], ap_after[q], q))[:count]


def make_cases(
    rows: Sequence[int],
    neighbors: Neighbors,
    ground_truth: GroundTruth,
    scores: PairScores,
    setting: str,
    row: Mapping[str, Any],
    ap_before: Floats,
    ap_after: Floats,
) -> list[Case]:
    """The cases of the queries `rows`, each of which has a positive, in their order.

    row: of results.json; its num_rerank, lamb and temp count. ap_*: of all queries [Q].
    """
    some = np.unique(np.array(rows, np.int64))  # only these are reranked
    near = Neighbors(neighbors.ids[some], neighbors.sims[some], neighbors.num_gallery)
    truth = _truth_of(ground_truth, some)
    ranking = rerank_setting(
        *(near, truth, _scores_of(scores, some), setting),
        num_rerank=row["num_rerank"],
        lamb=row["lamb"],
        temp=row["temp"],
    )
    found = {}
    for i, q in enumerate(some.tolist()):
        right, junk = (lists(truth, setting)[i] for lists in (setting_positives, setting_junk))
        before, after = (ids[~np.isin(ids, junk)] for ids in (near.ids[i], ranking.ids[i]))
        places, first = np.flatnonzero(np.isin(after, right)), _first(after)
        best = int(after[places[0]]) if len(places) else int(right[0])
        found[q] = Case(
            query=q,
            first_before=_first(before),
            first_after=first,
            first_after_before=None if first is None else _rank(before, np.array([first])),
            right=best,
            right_before=_rank(before, np.array([best])),
            right_after=_rank(after, np.array([best])),
            rank_before=_rank(before, right),
            ap_before=float(ap_before[q]),
            ap_after=float(ap_after[q]),
        )
    return [found[q] for q in rows]


def _first(ids: npt.NDArray[np.integer]) -> int | None:
    return int(ids[0]) if len(ids) else None


def _rank(ids: npt.NDArray[np.integer], wanted: npt.NDArray[np.int64]) -> int | None:
    places = np.flatnonzero(np.isin(ids, wanted))
    return int(places[0]) + 1 if len(places) else None


def _truth_of(truth: GroundTruth, rows: npt.NDArray[np.int64]) -> GroundTruth:
    lists = {name: tuple(getattr(truth, name)[q] for q in rows) for name in ("easy", "hard")}
    return GroundTruth(
        query_names=tuple(truth.query_names[q] for q in rows),
        gallery_names=truth.gallery_names,
        junk=tuple(truth.junk[q] for q in rows),
        bbox=tuple(truth.bbox[q] for q in rows),
        graded=truth.graded,
        **lists,
    )


def _scores_of(scores: PairScores, rows: npt.NDArray[np.int64]) -> PairScores:
    kept = np.isin(scores.query, rows)
    query = np.searchsorted(rows, scores.query[kept]).astype(np.int32)
    return PairScores(query, scores.gallery[kept], scores.logit[kept])
