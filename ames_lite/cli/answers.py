"""How search reads scores: as probabilities, and against a threshold for an answer."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ames_lite.cli.schema.evaluation import Searching
from ames_lite.errors import check_config
from ames_lite.io.checkpoint import HeadMeta
from ames_lite.io.writing import replacing
from ames_lite.reranking.calibration import Calibration
from ames_lite.search.image_reranker import calibration_of
from ames_lite.search.image_search import Hits


@dataclass(frozen=True)
class Answers:
    """threshold: the score that an answer must exceed, None: every query is answered; certain: the
    score at which no further candidate is looked at; said: where the threshold is from.
    """

    calibration: Calibration | None = None
    threshold: float | None = None
    certain: float = math.inf
    said: str = ""

    def probability(self, scores: npt.NDArray[Any]) -> npt.NDArray[np.float64] | None:
        """[Q, K] of lists of scores [Q, K] that fall; None without a calibration."""
        return None if self.calibration is None else self.calibration.probability(scores)

    def absent(self, hits: Hits) -> npt.NDArray[np.bool_]:
        """[Q] Queries whose best candidate does not exceed the threshold."""
        if self.threshold is None:
            return np.zeros(len(hits.scores), np.bool_)
        return np.less_equal(hits.scores[:, 0], self.threshold)


def read_answers(
    config: Searching, meta: HeadMeta, frozen: bool, certain: float | None = None
) -> Answers:
    """From threshold=, max_false=, certain=. frozen: λ and γ are the head's own, as calibrated."""
    threshold = config.threshold
    finite = threshold is None or math.isfinite(threshold)
    check_config(finite, f"threshold={threshold}", "a finite score")
    calibration = calibration_of(meta, config.weights) if frozen else None
    both = {"max_false": config.max_false, "certain": certain}
    asked = {key: value for key, value in both.items() if value is not None}
    what = f"{' '.join(f'{key}={value}' for key, value in asked.items())}, but the scores are not "
    expected = "a head that scripts/tune.py calibrated, with its own λ and γ"
    remedy = "threshold=<score>; or python scripts/tune.py dataset=<validation set> weights=<head> "
    fine = calibration is not None or not asked
    check_config(fine, f"{what}calibrated", expected, remedy=f"{remedy}first")
    one = threshold is None or "max_false" not in asked
    check_config(one, f"threshold={threshold} max_false={config.max_false}", "one of them")
    said = "" if threshold is None else f"threshold {threshold:g}, as given"
    sure = math.inf
    if calibration is not None and "max_false" in asked:
        threshold = calibration.threshold(asked["max_false"])
        said = (
            f"threshold {threshold:.4f}: at most {asked['max_false']:g} of absent queries were "
            f"answered on {'+'.join(calibration.absent)}"
        )
    if calibration is not None and "certain" in asked:
        sure = calibration.first.score_of(asked["certain"])
    return Answers(calibration, threshold, sure, said)


def write_answers(
    path: Path, queries: tuple[str, ...], gallery: tuple[str, ...], hits: Hits, answers: Answers
) -> None:
    """The best candidate of every query, its score and probability, and whether it is accepted."""
    best, absent = hits.scores[:, 0], answers.absent(hits)
    probability = answers.probability(hits.scores)
    content = {
        query: {
            "image": gallery[int(hits.ids[q, 0])],
            "score": float(best[q]),
            "probability": None if probability is None else float(probability[q, 0]),
            "in_gallery": None if answers.threshold is None else not bool(absent[q]),
        }
        for q, query in enumerate(queries)
    }
    with replacing(path, overwrite=True) as partial:
        partial.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
