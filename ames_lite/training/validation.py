"""Validation between epochs, by the evaluator: how well a head reranks a set kept for choosing.

Input: an opened `EvaluationData` of a validation set. Out, for a head: the main metric of the set's
protocol under the best λ and γ of a small grid, and which these were. What is chosen here (the best
epoch, λ, γ) makes the figure an optimistic one; what is reported is another set.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ames_lite.errors import BadInput
from ames_lite.evaluation.data import EvaluationData
from ames_lite.evaluation.passes import pairs_to_score
from ames_lite.evaluation.tuning import best, grid
from ames_lite.models import SimilarityHead
from ames_lite.reranking.scorer import PairScorer, ScoringOptions

LAMBS = (0.0, 0.25, 0.5, 0.75)
TEMPS = (0.02, 0.1, 0.5, 2.0)


@dataclass(frozen=True, eq=False)
class Validation:
    """A validation set and how it is scored. option: its name, for what is written."""

    data: EvaluationData
    option: str
    num_rerank: int
    options: ScoringOptions

    @property
    def metric(self) -> str:
        """The main metric of the protocol."""
        return self.data.protocol.main

    def __call__(self, head: SimilarityHead) -> dict[str, Any]:
        """The metric as `val`, λ and γ that it is of, and the global ranking's as `val_global`."""
        data = self.data
        num = min(self.num_rerank, data.neighbors.ids.shape[1])
        pairs = pairs_to_score(data, num)
        scores, cost = PairScorer(head).score(*data.stores, *pairs, self.options)
        rows = grid(data, scores, num_reranks=[num], lambs=LAMBS, temps=TEMPS)
        row = best(rows, self.metric)
        return {
            "val": row.metrics[self.metric],
            "val_global": data.evaluate().metrics[self.metric],
            "lamb": row.lamb,
            "temp": row.temp,
            "val_seconds": cost.seconds_scoring,
        }


def best_epoch(curve: list[dict[str, Any]]) -> dict[str, Any]:
    """The line of a curve with the highest `val`, the first of equals. Raises BadInput for none."""
    counted = [line for line in curve if not math.isnan(line.get("val", math.nan))]
    if not counted:
        raise BadInput("no epoch was validated", expected="a curve with a figure `val`")
    return max(counted, key=lambda line: float(line["val"]))
