"""Grids over num_rerank, lamb and temp, from logits that were computed once.

Every row of a grid is given back, in the order asked for; `best` picks one by a stated rule. A
grid on the set that is reported is an oracle: choose on another set and carry the choice over.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np

from ames_lite.errors import BadInput
from ames_lite.evaluation.metrics import JUNK, POSITIVE, Floats
from ames_lite.evaluation.passes import Scores, evaluate_passes, prepare_passes
from ames_lite.evaluation.protocols import Protocol, get_protocol
from ames_lite.records import GroundTruth, Neighbors
from ames_lite.reranking.calibration import Outcome
from ames_lite.reranking.ensemble import check_ensemble, ensemble_scores

NO_AP = np.zeros(0)


@dataclass(frozen=True)
class Row:
    """One cell of a grid. metrics: fractions in [0, 1]; num_rerank: as asked, before clamping;
    main_ap [Q]: as of `Evaluation`.
    """

    num_rerank: int
    lamb: float
    temp: float
    metrics: dict[str, float]
    main_ap: Floats = field(default_factory=lambda: NO_AP, compare=False, repr=False)


def grid(
    neighbors: Neighbors,
    ground_truth: GroundTruth,
    scores: Scores,
    *,
    num_reranks: Sequence[int],
    lambs: Sequence[float],
    temps: Sequence[float],
    protocol: str | Protocol,
) -> list[Row]:
    """The metrics of every combination; num_rerank changes slowest, temp fastest.

    scores: logits of all pairs up to the largest num_rerank (`pairs_to_score` names them).
    Raises BadInput before any work where a value is out of range or a list is empty.
    """
    cells = list(product(num_reranks, lambs, temps))
    if not cells:
        raise BadInput("a grid has no cells", expected="values for num_rerank, lamb and temp")
    if min(num_reranks) < 1:
        raise BadInput(f"num_rerank is {min(num_reranks)}", expected="at least 1")
    for _, lamb, temp in cells:
        check_ensemble(lamb, temp)
    passes = prepare_passes(neighbors, ground_truth, scores, max(num_reranks), protocol)
    rows = []
    for n, lamb, temp in cells:
        found = evaluate_passes(passes, protocol, num_rerank=n, lamb=lamb, temp=temp)
        rows.append(Row(n, lamb, temp, found.metrics, found.main_ap))
    return rows


def _orders(row: Row, rows: Sequence[Row]) -> bool:
    """Whether the γ of a row of a grid has a part in the order.

    With λ = 0 it has none but for the scores that the sigmoid rounds to 1, ties that the global
    order then breaks: the smallest γ stands for all.
    """
    of_logits = (r.temp for r in rows if r.lamb == 0 and r.num_rerank == row.num_rerank)
    return row.lamb > 0 or row.temp == min(of_logits)


def best(rows: Sequence[Row], metric: str) -> Row:
    """The row with the highest metric; among equals the one that comes first.

    Of rows with λ = 0 only the one with the smallest γ counts. Raises BadInput where there is no
    row, no such metric, or no number among its values.
    """
    if not rows:
        raise BadInput("there is no row to choose from", expected="a grid with cells")
    if any(metric not in row.metrics for row in rows):
        raise BadInput(f"no metric '{metric}'", expected=", ".join(rows[0].metrics))
    counted = [r for r in rows if _orders(r, rows) and not math.isnan(r.metrics[metric])]
    if not counted:
        raise BadInput(f"'{metric}' is undefined in every row", expected="queries with positives")
    return max(counted, key=lambda row: row.metrics[metric])


def outcome(
    neighbors: Neighbors,
    ground_truth: GroundTruth,
    scores: Scores,
    row: Row,
    protocol: str | Protocol,
) -> Outcome:
    """Final scores of the candidates with the λ and γ of a row, and which of them are right.

    Of a graded protocol in its medium setting. Candidates are the first num_rerank.
    """
    setting = get_protocol(protocol).main_settings[0]
    passes = prepare_passes(neighbors, ground_truth, scores, row.num_rerank, protocol)[setting]
    final = ensemble_scores(passes.sims, passes.logits, row.lamb, row.temp)
    return Outcome(final, passes.labels == POSITIVE, passes.labels != JUNK)
