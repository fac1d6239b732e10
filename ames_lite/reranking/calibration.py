"""Scores as probabilities: is this candidate right, and is the answer in the gallery at all?

Both are learned from the scores of validation queries and kept with the head (meta.json):
the probability that a candidate is right by isotonic regression (Zadrozny and Elkan, KDD 2002),
and the threshold for a share of false answers by split conformal prediction (Vovk et al., 2005)
from the best score of every query once its right images are taken out of the gallery.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import isotonic_regression

from ames_lite.errors import BadInput

Floats = npt.NDArray[np.floating[Any]]
Flags = npt.NDArray[np.bool_]
BINS = 10  # of a reliability table, of equal width
EXPECTED = "scores and probabilities of one length, both rising, and best scores by data set"


@dataclass(frozen=True)
class Bin:
    """Pairs whose probability is in [low, high): mean prediction, and how many were right."""

    low: float
    high: float
    pairs: int
    predicted: float
    observed: float


@dataclass(frozen=True)
class Calibration:
    """What validation says of a score.

    scores, probabilities [n]: knots, rising, linear between and constant beyond them; absent: by
    data set, the best score of every query whose right images were taken out, rising; reliability:
    of the fit, measured on queries that it had not seen.
    """

    scores: tuple[float, ...]
    probabilities: tuple[float, ...]
    absent: Mapping[str, tuple[float, ...]]
    reliability: tuple[Bin, ...] = ()

    def __post_init__(self) -> None:
        p = np.asarray(self.probabilities, np.float64)
        rising = [np.asarray(v, np.float64) for v in (self.scores, *self.absent.values())]
        fits = len(self.scores) == len(p) > 0 and len(self.absent) > 0
        fits = fits and all(len(v) > 0 and np.isfinite(v).all() for v in rising)
        fits = fits and all((np.diff(v) >= 0).all() for v in (*rising, p))
        if not fits or not (0 <= p[0] and p[-1] <= 1):
            raise BadInput("this is no calibration", expected=EXPECTED)

    def probability(self, scores: Floats) -> npt.NDArray[np.float64]:
        """Of scores of any shape, in [0, 1]; it never falls with the score."""
        return np.interp(scores, self.scores, self.probabilities)

    def score_of(self, probability: float) -> float:
        """The least score of that probability; infinite where none has it."""
        if not 0 < probability < 1:
            raise BadInput(f"a probability is {probability}", expected="between 0 and 1")
        reached = np.flatnonzero(np.asarray(self.probabilities) >= probability)
        if not len(reached):
            return math.inf
        last = int(reached[0])
        around = slice(max(last - 1, 0), last + 1)
        return float(np.interp(probability, self.probabilities[around], self.scores[around]))

    def threshold(self, max_false: float) -> float:
        """The score above which an answer is given, so that of queries without a right image at
        most a share of max_false get one; the strictest of the data sets.

        Raises BadInput for a share outside (0, 1), or below what so few queries can promise.
        """
        if not 0 < max_false < 1:
            raise BadInput(f"max_false is {max_false}", expected="a share between 0 and 1")
        thresholds = []
        for name, best in self.absent.items():
            rank = math.ceil((1 - max_false) * (len(best) + 1))
            if rank > len(best):
                raise BadInput(
                    f"max_false is {max_false}, but only {len(best)} queries of {name} tell",
                    expected=f"at least {1 / (len(best) + 1):.3f}",
                )
            thresholds.append(best[rank - 1])
        return max(thresholds)

    def as_json(self) -> dict[str, Any]:
        """What `from_json` reads."""
        return {**asdict(self), "ece": calibration_error(self.reliability)}

    @classmethod
    def from_json(cls, content: Any) -> Calibration:
        """Raises BadInput for what is no calibration."""
        try:
            absent = {str(k): tuple(map(float, v)) for k, v in content["absent"].items()}
            knots = [tuple(map(float, content[k])) for k in ("scores", "probabilities")]
            bins = tuple(Bin(**row) for row in content["reliability"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BadInput("this is no calibration", expected=EXPECTED) from error
        return cls(knots[0], knots[1], absent, bins)


@dataclass(frozen=True, eq=False)
class Outcome:
    """Final scores of candidates [Q, n] of a validation set, and what they were.

    right: the right ones; counted: those that are neither right nor wrong (junk) are not.
    """

    scores: Floats
    right: Flags
    counted: Flags

    @property
    def absent(self) -> npt.NDArray[np.float64]:
        """The best wrong score of every query that has a wrong candidate, rising."""
        wrong = np.where(self.counted & ~self.right, self.scores.astype(np.float64), -np.inf)
        best = wrong.max(axis=1)
        return np.sort(best[np.isfinite(best)])


def fit_calibration(outcomes: Mapping[str, Outcome], folds: int = 5) -> Calibration:
    """From validation sets by name. The reliability is that of folds of queries left out.

    Raises BadInput where no candidate, or every one, is right.
    """
    scores, right, fold = (
        np.concatenate(parts) for parts in zip(*map(_flat, outcomes.values()), strict=True)
    )
    fold = fold % folds
    if right.all() or not right.any():
        what = f"{int(right.sum())} of {len(right)} candidates are right"
        raise BadInput(what, expected="right and wrong ones among the candidates")
    left_out = np.zeros(len(scores))
    for number in range(folds):
        held = fold == number
        if held.any() and right[~held].any():
            left_out[held] = np.interp(scores[held], *_knots(scores[~held], right[~held]))
    absent = {name: tuple(outcome.absent.tolist()) for name, outcome in outcomes.items()}
    absent = {name: best for name, best in absent.items() if best}
    knots = _knots(scores, right)
    return Calibration(
        tuple(knots[0].tolist()), tuple(knots[1].tolist()), absent, reliability(left_out, right)
    )


def _flat(outcome: Outcome) -> tuple[Floats, Flags, npt.NDArray[np.int64]]:
    query = np.arange(len(outcome.scores))[:, None] + np.zeros(outcome.scores.shape, np.int64)
    counted = outcome.counted
    return outcome.scores[counted].astype(np.float64), outcome.right[counted], query[counted]


def _knots(scores: Floats, right: Flags) -> tuple[Floats, Floats]:
    """The steps of the isotonic fit, each at the mean of its scores."""
    order = np.argsort(scores, kind="stable")
    ordered, labels = scores[order], right[order].astype(np.float64)
    # equal scores have one probability
    unique, inverse, count = np.unique(ordered, return_inverse=True, return_counts=True)
    fitted = isotonic_regression(np.bincount(inverse, labels) / count, weights=count).x
    step = np.concatenate([[0], np.cumsum(np.diff(fitted) > 0)])
    weight = np.bincount(step, count)
    at = np.bincount(step, count * unique) / weight
    return at, np.clip(np.bincount(step, count * fitted) / weight, 0, 1)


def reliability(probability: Floats, right: Flags, bins: int = BINS) -> tuple[Bin, ...]:
    """Bins of equal width that have pairs, from the lowest probability on."""
    number = np.minimum((probability * bins).astype(np.int64), bins - 1)
    rows = []
    for b in np.unique(number).tolist():
        inside = number == b
        predicted, observed = float(probability[inside].mean()), float(right[inside].mean())
        rows.append(Bin(b / bins, (b + 1) / bins, int(inside.sum()), predicted, observed))
    return tuple(rows)


def calibration_error(rows: tuple[Bin, ...]) -> float:
    """ECE: |predicted - observed|, weighted by pairs (Guo et al., ICML 2017); 0 without rows."""
    pairs = sum(row.pairs for row in rows)
    return sum(row.pairs * abs(row.predicted - row.observed) for row in rows) / max(pairs, 1)
