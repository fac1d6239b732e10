"""Validation between epochs: the main metric of a set's protocol at the best λ and γ of a grid.

The epoch, λ and γ are chosen by it, so it is optimistic; results are reported on another set.
"""

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
    """A validation set and how it is scored. option: its name."""

    data: EvaluationData
    option: str
    num_rerank: int
    options: ScoringOptions

    @property
    def metric(self) -> str:
        return self.data.protocol.main

    def __call__(self, head: SimilarityHead) -> dict[str, Any]:
        """The metric as `val`, its λ and γ, and that of the global ranking as `val_global`."""
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
    """The first line with the highest `val`. Raises BadInput for none."""
    counted = [line for line in curve if not math.isnan(line.get("val", math.nan))]
    if not counted:
        raise BadInput("no epoch was validated", expected="a curve with a figure `val`")
    return max(counted, key=lambda line: float(line["val"]))
