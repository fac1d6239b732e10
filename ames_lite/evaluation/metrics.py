"""Retrieval metrics, as pure functions on the ranks at which a query's positives stand.

Ranks are 0-based and count no junk. Two definitions of average precision are in use: by trapezoids
(ROxford, RParis) and by rectangles (GLDv2 and most others). Each metric gives one float64 a query,
nan where the query has no positive; a positive that the ranking does not list counts as missed.
Axis letters: Q queries, K ranked images, P positives found over all queries.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.integer]
Floats = npt.NDArray[np.float64]

NEITHER, POSITIVE, JUNK = 0, 1, 2
# Of the trapezoidal average precision: the positives (revisitop), or at most the images that the
# ranking lists, junk included (the published evaluation of AMES and ELViS).
DIVISORS = ("official", "published")


class Hits(NamedTuple):
    """Where the positives stand: sorted by query, then by rank."""

    query: npt.NDArray[np.int64]  # [P]
    rank: npt.NDArray[np.int64]  # [P], 0-based, without junk
    num_positives: npt.NDArray[np.int64]  # [Q], found or not
    length: int  # images that the ranking lists for a query, K


def label_ids(
    ids: Ids, positives: Sequence[Ids], junk: Sequence[Ids] | None = None
) -> npt.NDArray[np.uint8]:
    """What each ranked image of ids [Q, K] is to its query; positives, junk: ids of each."""
    labels = np.empty(ids.shape, np.uint8)
    lists = [rows for rows in (*positives, *(junk or ()), ids.ravel()) if len(rows)]
    table = np.zeros(max((int(rows.max()) for rows in lists), default=0) + 1, np.uint8)
    for q in range(len(ids)):
        marked = [(positives[q], POSITIVE)] + ([(junk[q], JUNK)] if junk is not None else [])
        for rows, label in marked:
            table[rows.astype(np.int64)] = label
        labels[q] = table[ids[q]]
        for rows, _ in marked:
            table[rows.astype(np.int64)] = NEITHER
    return labels


def hits_of_labels(labels: npt.NDArray[np.uint8], num_positives: npt.NDArray[np.int64]) -> Hits:
    """The hits of a labelled ranking [Q, K]."""
    width = max(labels.shape[1], 1)
    found = np.flatnonzero(labels == POSITIVE)
    junk = np.flatnonzero(labels == JUNK)
    query, position = np.divmod(found, width)
    junk_before = np.searchsorted(junk, found) - np.searchsorted(junk, query * width)
    return Hits(query, position - junk_before, num_positives, labels.shape[1])


def find_hits(ids: Ids, positives: Sequence[Ids], junk: Sequence[Ids] | None = None) -> Hits:
    """The hits of a ranking by ids [Q, K], each id at most once a row.

    >>> a = np.array
    >>> find_hits(a([[3, 8, 1, 9, 5]]), [a([5, 3, 77])], junk=[a([8])])
    Hits(query=array([0, 0]), rank=array([0, 3]), num_positives=array([3]), length=5)
    """
    num_positives = np.array([len(rows) for rows in positives], np.int64)
    return hits_of_labels(label_ids(ids, positives, junk), num_positives)


def _found_before(hits: Hits) -> npt.NDArray[np.int64]:
    """The number of hits of the same query at better ranks, [P]."""
    first = np.searchsorted(hits.query, np.arange(len(hits.num_positives)))
    return np.arange(len(hits.query)) - first[hits.query]


def _sum_per_query(hits: Hits, values: Floats) -> Floats:
    sums = np.bincount(hits.query, values, minlength=len(hits.num_positives))
    return sums.astype(np.float64)  # without any hit they come as integers


def _divide(values: Floats, by: npt.NDArray[np.integer]) -> Floats:
    """values / by, nan where `by` is 0: a query without positives."""
    return np.divide(values, by, out=np.full(len(values), np.nan), where=by > 0)


def average_precision(hits: Hits, divisor: str = "official") -> Floats:
    """Trapezoidal average precision over the whole ranking, [Q] (ROxford, RParis).

    The area under precision over recall: the j-th positive (from 0) at rank r adds the mean of
    the precision before it, j/r (1 at r = 0), and with it, (j+1)/(r+1), over the number of
    positives; divisor="published": over min(positives, K). Source: Philbin et al., CVPR 2007;
    Radenovic et al., CVPR 2018.

    >>> short = find_hits(np.array([[3, 8]]), [np.array([3, 5, 7])])
    >>> average_precision(short).round(4), average_precision(short, "published")
    (array([0.3333]), array([0.5]))
    """
    before = _found_before(hits)
    left = np.where(hits.rank == 0, 1.0, before / np.maximum(hits.rank, 1))
    right = (before + 1) / (hits.rank + 1)
    positives = hits.num_positives
    by = np.minimum(positives, hits.length) if divisor == "published" else positives
    return _divide(_sum_per_query(hits, (left + right) / 2), by)


def average_precision_at(hits: Hits, k: int) -> Floats:
    """Rectangular average precision over the first k ranks, [Q] (GLDv2, INSTRE, ...). The sum of
    the precisions at the positives among the first k, over min(k, positives).
    """
    precision = np.where(hits.rank < k, (_found_before(hits) + 1) / (hits.rank + 1), 0.0)
    return _divide(_sum_per_query(hits, precision), np.minimum(hits.num_positives, k))


def revisited_precision_at(hits: Hits, k: int) -> Floats:
    """Precision among the first k ranks, [Q], as the revisited Oxford evaluation has it. Where the
    last positive of the ranking stands before rank k, it counts only up to there, so that a query
    with few positives can reach 1. 0 where the ranking lists no positive.
    """
    last = np.zeros(len(hits.num_positives), np.int64)
    np.maximum.at(last, hits.query, hits.rank + 1)
    depth = np.minimum(last, k)
    inside = _sum_per_query(hits, (hits.rank < depth[hits.query]).astype(np.float64))
    return np.where(hits.num_positives > 0, inside / np.maximum(depth, 1), np.nan)


def precision_at(hits: Hits, k: int) -> Floats:
    """The share of the first k ranks that are positives, [Q]; a shorter ranking is divided by k
    too.

    >>> precision_at(find_hits(np.array([[3, 8, 1, 9]]), [np.array([3, 1, 7])]), 3).round(4)
    array([0.6667])
    """
    inside = _sum_per_query(hits, (hits.rank < k).astype(np.float64)) / k
    return np.where(hits.num_positives > 0, inside, np.nan)


def hit_at(hits: Hits, k: int) -> Floats:
    """1 where a positive is among the first k ranks, else 0, [Q] (recall@k)."""
    inside = _sum_per_query(hits, (hits.rank < k).astype(np.float64)) > 0
    return np.where(hits.num_positives > 0, inside.astype(np.float64), np.nan)


def mean(values: Floats) -> float:
    """The mean over the queries that have a positive; nan where none has."""
    counted = values[~np.isnan(values)]
    return float(counted.mean()) if len(counted) else float("nan")


def best_ranks(hits: Hits) -> Floats:
    """The rank from 1 of each query's best correct image [Q]; inf: not listed; nan: it has none."""
    ranks = np.full(len(hits.num_positives), np.inf)
    np.minimum.at(ranks, hits.query, hits.rank + 1.0)
    ranks[hits.num_positives == 0] = np.nan
    return ranks
