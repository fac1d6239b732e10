"""Which queries a failure sheet shows: those that reranking helped most, and the worst that remain.

Ranks start at 1 and skip junk, in the chosen setting (medium where grades exist); "correct" is a
positive of that setting. A query without positives is no case. Axis letters: Q queries.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ames_lite.errors import require
from ames_lite.evaluation.figures import PIXELS, Tile
from ames_lite.evaluation.metrics import Floats, Hits
from ames_lite.evaluation.pictures import Album, Picture
from ames_lite.evaluation.protocols import setting_junk, setting_positives
from ames_lite.records import GroundTruth, Neighbors

Ids = npt.NDArray[np.integer]

COLUMNS = ("query", "first by global similarity", "first after reranking", "best correct image")
OF_SUCCESS = (*COLUMNS[:2], "first after reranking, correct")  # the best correct image itself
PICKED = ("given", "frozen")  # roles of rows that were not chosen on what they are reported on


class Case(NamedTuple):
    """What happened to one query: its lists of gallery rows without junk, best first."""

    query: int
    before: Ids  # by the global similarity
    after: Ids  # reranked
    right: Ids  # the correct rows, listed or not
    aps: tuple[float, float]  # average precision before and after


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


def make_cases(
    rows: Sequence[int],
    neighbors: Neighbors,
    ground_truth: GroundTruth,
    reranked: Neighbors,
    setting: str,
    aps: tuple[Floats, Floats],
) -> list[Case]:
    """The cases of the queries `rows`, each of which has a positive; aps: before, after [Q]."""
    right, junk = (one(ground_truth, setting) for one in (setting_positives, setting_junk))
    cases = []
    for q in rows:
        before, after = (
            found.ids[q][~np.isin(found.ids[q], junk[q])] for found in (neighbors, reranked)
        )
        cases.append(Case(q, before, after, right[q], (float(aps[0][q]), float(aps[1][q]))))
    return cases


def rank_of(ids: Ids, wanted: Ids) -> int | None:
    """The rank from 1 of the first of a list that is among `wanted`; None: not in the list.

    >>> rank_of(np.array([4, 2, 7]), np.array([7, 2])), rank_of(np.array([4]), np.array([7]))
    (2, None)
    """
    places = np.flatnonzero(np.isin(ids, wanted))
    return int(places[0]) + 1 if len(places) else None


@dataclass(frozen=True)
class Tiles:
    """What a sheet shows of its cases; ap: what an average precision is called."""

    album: Album
    truth: GroundTruth
    ap: str

    def line(self, case: Case, columns: Sequence[str]) -> list[Tile]:
        """Query, first before, first after and, of four columns, the best correct image."""
        ranks = [rank_of(ids, case.right) for ids in (case.before, case.after)]
        said = f"{self.ap} {case.aps[0]:.2f} → {case.aps[1]:.2f}"
        if ranks[1] != 1:
            said = f"correct {ranks[0] or '–'} → {ranks[1] or '–'}; {said}"
        was = f", was {_rank(case.before, case.after[:1])}"
        line = [self._query(case.query, said), self._first(case.before, case.right)]
        line.append(self._first(case.after, case.right, was))
        if len(columns) > len(line):
            best = case.right[:1] if ranks[1] is None else case.after[ranks[1] - 1 :][:1]
            said = f"{_rank(case.after, best)}, was {_rank(case.before, best)}"
            line.append(self._image(int(best[0]), True, said))
        return line

    def _query(self, query: int, said: str) -> Tile:
        name = self.truth.query_names[query]
        return Tile(name, self.album.picture(name, PIXELS, self.truth.bbox[query]), None, said)

    def _image(self, row: int, correct: bool, said: str) -> Tile:
        name = self.truth.gallery_names[row]
        return Tile(name, self.album.picture(name, PIXELS), correct, said)

    def _first(self, ids: Ids, right: Ids, more: str = "") -> Tile:
        """The image at rank 1."""
        if not len(ids):
            return Tile("", Picture(None, "all that is listed is junk"), False)
        correct = bool(np.isin(ids[0], right))
        return self._image(int(ids[0]), correct, ("correct" if correct else "wrong") + more)


def _rank(ids: Ids, wanted: Ids) -> str:
    rank = rank_of(ids, wanted)
    return "not listed" if rank is None else f"rank {rank}"
