"""Which queries a page of failures shows: those that reranking helped most, and the worst that
remain.

Ranks start at 1 and skip junk, in the chosen setting (medium where grades exist); "correct" is a
positive of that setting. A query without positives is not shown. Axis letters: Q queries.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ames_lite.errors import require
from ames_lite.evaluation.metrics import Floats, Hits
from ames_lite.evaluation.protocols import Retrieval, setting_positives

PICKED = ("given", "frozen")  # roles of rows that were not chosen on what they are reported on


def pick_row(rows: Sequence[Mapping[str, Any]], metric: str) -> int:
    """The place in `rows` (of results.json) of the best one by `metric`, the first of equals. Rows
    that are given or frozen go before those of a grid. Raises BadInput where none has it.
    """
    having = [i for i, row in enumerate(rows) if row["metrics"].get(metric) is not None]
    known = ", ".join(rows[0]["metrics"])
    require(having, f"no row has the metric {metric}", expected=f"one of {known}")
    picked = [i for i in having if rows[i].get("role") in PICKED] or having
    return max(picked, key=lambda i: (rows[i]["metrics"][metric], -i))


def best_ranks(hits: Hits) -> Floats:
    """The rank from 1 of each query's best correct image [Q]; inf: not listed; nan: it has none."""
    ranks = np.full(len(hits.num_positives), np.inf)
    np.minimum.at(ranks, hits.query, hits.rank + 1.0)
    ranks[hits.num_positives == 0] = np.nan
    return ranks


def best_and_worst(
    before: Floats, after: Floats, ap_before: Floats, ap_after: Floats, count: int
) -> tuple[list[int], list[int]]:
    """Up to `count` successes and up to `count` of the worst queries, as rows [Q]; before, after:
    `best_ranks`. A success has a correct image first; those whose best correct image rose most come
    first, then those that gained most AP. The worst are the others with the lowest best correct
    image, then the lowest AP; a query with all that is right in front is not among them.
    """
    rows = np.flatnonzero(~np.isnan(after)).tolist()
    won = sorted(
        (q for q in rows if after[q] == 1),
        key=lambda q: (-before[q], ap_before[q] - ap_after[q], q),
    )[:count]
    lost = (q for q in rows if q not in set(won) and not (after[q] == 1 and ap_after[q] > 1 - 1e-9))
    return won, sorted(lost, key=lambda q: (-after[q], ap_after[q], q))[:count]


def nearest_and_furthest(
    found: Retrieval, hits: Hits, setting: str, count: int
) -> tuple[list[int], list[int]]:
    """Of a global ranking up to `count` successes, those with a correct image first, nearest first,
    and up to `count` of the others, as rows [Q]: the worst by the distance to their best correct
    image, one that is not listed first of all.
    """
    ranks = best_ranks(hits)
    right = setting_positives(found.ground_truth, setting)
    listed = zip(found.neighbors.ids, found.neighbors.sims, right, strict=True)
    sims = [float(row[np.isin(ids, ok)].max(initial=-np.inf)) for ids, row, ok in listed]
    rows = np.flatnonzero(~np.isnan(ranks)).tolist()
    won = sorted((q for q in rows if ranks[q] == 1), key=lambda q: (-sims[q], q))
    lost = sorted((q for q in rows if ranks[q] > 1), key=lambda q: (sims[q], q))
    return won[:count], lost[:count]
