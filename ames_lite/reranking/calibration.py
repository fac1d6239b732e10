"""Scores as probabilities, learnt on a validation set and kept with the head (meta.json): is this
candidate right, and is the answer in the gallery at all?

Isotonic regression (Zadrozny and Elkan, KDD 2002); the threshold for a share of false answers by
split conformal prediction (Vovk et al., 2005) from the best score of every query once its right
images are taken out of the gallery. Axes: Q queries, n candidates.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy.optimize import isotonic_regression

from ames_lite.errors import explained, require

Floats = npt.NDArray[np.floating[Any]]
Flags = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int64]
BINS = 10  # of a reliability table, of equal width
NONE = "this is no calibration"
EXPECTED = "curves of scores and probabilities, both rising, and best scores by data set"


@dataclass(frozen=True)
class Bin:
    """Pairs whose probability is in [low, high): mean prediction, and how many were right."""

    low: float
    high: float
    pairs: int
    predicted: float
    observed: float


@dataclass(frozen=True)
class Curve:
    """A probability that never falls with the score: steps of a fit, linear between two of them."""

    scores: tuple[float, ...]  # [n] of the knots, rising
    probabilities: tuple[float, ...]  # [n]
    reliability: tuple[Bin, ...] = ()  # of the fit, on queries left out

    def __post_init__(self) -> None:
        s, p = np.asarray(self.scores, np.float64), np.asarray(self.probabilities, np.float64)
        fits = len(s) == len(p) and _rises(s) and _rises(p) and 0 <= p[0] and p[-1] <= 1
        require(fits, NONE, EXPECTED)

    def __call__(self, scores: Floats) -> npt.NDArray[np.float64]:
        """Of scores of any shape, in [0, 1]."""
        return np.interp(scores, self.scores, self.probabilities)

    def score_of(self, probability: float) -> float:
        """The least score of that probability; infinite where none has it."""
        require(0 < probability < 1, f"a probability is {probability}", "between 0 and 1")
        reached = np.flatnonzero(np.asarray(self.probabilities) >= probability)
        if not len(reached):
            return math.inf
        last = int(reached[0])
        around = slice(max(last - 1, 0), last + 1)
        return float(np.interp(probability, self.probabilities[around], self.scores[around]))

    @property
    def error(self) -> float:
        """ECE (Guo et al., ICML 2017) on queries left out of the fit; 0 without rows."""
        rows, pairs = self.reliability, sum(row.pairs for row in self.reliability)
        return sum(row.pairs * abs(row.predicted - row.observed) for row in rows) / max(pairs, 1)

    @classmethod
    def from_json(cls, content: Any) -> Self:
        scores, probabilities = map(float, content["scores"]), map(float, content["probabilities"])
        bins = tuple(Bin(**row) for row in content["reliability"])
        return cls(tuple(scores), tuple(probabilities), bins)


@dataclass(frozen=True)
class Calibration:
    """What scores of a head say."""

    pairs: Curve  # that a candidate is right
    first: Curve  # that the first of a list is, where half of the queries have a right image
    # by data set, the best score of every query whose right images were taken out, rising
    absent: Mapping[str, tuple[float, ...]]

    def __post_init__(self) -> None:
        best = self.absent.values()
        fits = len(best) > 0 and all(_rises(np.asarray(v, np.float64)) for v in best)
        require(fits, NONE, EXPECTED)

    def probability(self, scores: Floats) -> npt.NDArray[np.float64]:
        """[Q, K] of lists of scores [Q, K] that fall; no candidate has more than the one before."""
        found = self.pairs(scores)
        found[:, :1] = self.first(scores[:, :1])
        return np.minimum.accumulate(found, axis=1)

    def threshold(self, max_false: float) -> float:
        """The score above which an answer is given, so that of queries without a right image at
        most a share of max_false get one; the strictest of the data sets. Raises BadInput for a
        share outside (0, 1), or below what so few queries can promise.
        """
        what = f"max_false is {max_false}"
        require(0 < max_false < 1, what, "a share between 0 and 1")
        thresholds = []
        for name, best in self.absent.items():
            rank = math.ceil((1 - max_false) * (len(best) + 1))
            few = f"{what}, but only {len(best)} queries of {name} tell"
            require(rank <= len(best), few, f"at least {1 / (len(best) + 1):.3f}")
            thresholds.append(best[rank - 1])
        return max(thresholds)

    def as_json(self) -> dict[str, Any]:
        """What `from_json` reads."""
        return {**asdict(self), "ece": self.pairs.error, "ece_first": self.first.error}

    @classmethod
    def from_json(cls, content: Any) -> Self:
        """Raises BadInput for what is no calibration."""
        with explained(NONE, (KeyError, TypeError, ValueError, AttributeError), expected=EXPECTED):
            absent = {str(k): tuple(map(float, v)) for k, v in content["absent"].items()}
            pairs, first = (Curve.from_json(content[key]) for key in ("pairs", "first"))
        return cls(pairs, first, absent)


def _rises(values: npt.NDArray[np.float64]) -> bool:
    """Whether there are values, finite, none below the one before."""
    return bool(len(values) and np.isfinite(values).all() and (np.diff(values) >= 0).all())


@dataclass(frozen=True, eq=False)
class Outcome:
    """Final scores of candidates [Q, n] of a validation set; junk is not counted."""

    scores: Floats
    right: Flags
    counted: Flags

    @property
    def _wrong(self) -> npt.NDArray[np.float64]:
        """[Q] The best wrong score of every query; -inf without a wrong candidate."""
        wrong = np.where(self.counted & ~self.right, self.scores.astype(np.float64), -np.inf)
        return wrong.max(axis=1)

    @property
    def absent(self) -> npt.NDArray[np.float64]:
        """The best wrong score of every query that has a wrong candidate, rising."""
        return np.sort(self._wrong[np.isfinite(self._wrong)])

    def pairs(self) -> tuple[Floats, Flags, Rows]:
        """Of every candidate that counts: score, whether it is right, its query."""
        query = np.nonzero(self.counted)[0]
        return self.scores[self.counted].astype(np.float64), self.right[self.counted], query

    def first(self) -> tuple[Floats, Flags, Rows]:
        """The same of first places: of every query as it is, and with its right images out."""
        counted = np.where(self.counted, self.scores.astype(np.float64), -np.inf)
        best = counted.argmax(axis=1)
        rows = np.arange(len(self.scores))
        scores = np.concatenate([counted[rows, best], self._wrong])
        right = np.concatenate([self.right[rows, best], np.zeros(len(rows), np.bool_)])
        there = np.isfinite(scores)
        return scores[there], right[there], np.tile(rows, 2)[there]


def fit_calibration(outcomes: Mapping[str, Outcome]) -> Calibration:
    """From validation sets by name. Raises BadInput where no candidate, or every one, is right."""
    absent = {name: tuple(outcome.absent.tolist()) for name, outcome in outcomes.items()}
    return Calibration(
        _curve([outcome.pairs() for outcome in outcomes.values()]),
        _curve([outcome.first() for outcome in outcomes.values()]),
        {name: best for name, best in absent.items() if best},
    )


def _curve(samples: Sequence[tuple[Floats, Flags, Rows]], folds: int = 5) -> Curve:
    """The isotonic fit; its reliability is that of fits without the queries that are predicted."""
    scores, right, query = (np.concatenate(parts) for parts in zip(*samples, strict=True))
    what, fine = f"{int(right.sum())} of {len(right)} candidates are right", not right.all()
    require(fine and right.any(), what, "right and wrong ones among the candidates")
    left_out = np.zeros(len(scores))
    for number in range(folds):
        held = query % folds == number
        if held.any() and right[~held].any():
            left_out[held] = np.interp(scores[held], *_knots(scores[~held], right[~held]))
    at, probability = _knots(scores, right)
    return Curve(tuple(at.tolist()), tuple(probability.tolist()), reliability(left_out, right))


def _knots(scores: Floats, right: Flags) -> tuple[Floats, Floats]:
    """The steps of the isotonic fit: the first and the last score of each, and its probability."""
    # equal scores have one probability
    unique, inverse, count = np.unique(scores, return_inverse=True, return_counts=True)
    fitted = isotonic_regression(np.bincount(inverse, right) / count, weights=count).x
    change = np.flatnonzero(np.diff(fitted) > 0)
    ends = np.unique(np.concatenate([[0], change, change + 1, [len(unique) - 1]]))
    return unique[ends], np.clip(fitted[ends], 0, 1)


def reliability(probability: Floats, right: Flags, bins: int = BINS) -> tuple[Bin, ...]:
    """Bins of equal width that have pairs, from the lowest probability on."""
    number = np.minimum((probability * bins).astype(np.int64), bins - 1)
    rows = []
    for b in np.unique(number).tolist():
        inside = number == b
        predicted, observed = float(probability[inside].mean()), float(right[inside].mean())
        rows.append(Bin(b / bins, (b + 1) / bins, int(inside.sum()), predicted, observed))
    return tuple(rows)
