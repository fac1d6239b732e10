"""Confidence intervals by the bootstrap over queries (Efron and Tibshirani, 1993, percentiles).

Values are one number a query, average precision as a rule, nan where a query has no positives:
those are left out and counted. The interval speaks of other queries of the same kind; of another
training seed it says nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput

Floats = npt.NDArray[np.floating]
BLOCK = 1 << 22  # drawn numbers held at a time


class Interval(NamedTuple):
    """A mean with its confidence interval; queries that counted, and that were left out."""

    mean: float
    low: float
    high: float
    counted: int
    excluded: int


def bootstrap_mean(
    values: Floats, *, seed: int, resamples: int = 10_000, confidence: float = 0.95
) -> Interval:
    """The interval of the mean of values [Q].

    The same seed gives the same interval; 0 is a seed. Raises BadInput where no value counts,
    one is infinite, resamples < 1, or confidence is not inside (0, 1).
    """
    if values.ndim != 1 or np.isinf(values).any():
        raise BadInput(
            f"values {values.shape} are no list of numbers", expected="[Q], nan or finite"
        )
    if not 0 < confidence < 1 or resamples < 1:
        raise BadInput(
            f"confidence is {confidence}, resamples {resamples}",
            expected="confidence inside (0, 1), at least one resample",
        )
    counted = values[~np.isnan(values)].astype(np.float64)
    if len(counted) == 0:
        raise BadInput("no query counts", expected="at least one query with positives")
    means = _resampled_means(counted, resamples, np.random.default_rng(seed))
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    excluded = len(values) - len(counted)
    return Interval(float(counted.mean()), float(low), float(high), len(counted), excluded)


def paired_bootstrap(
    first: Floats, second: Floats, *, seed: int, resamples: int = 10_000, confidence: float = 0.95
) -> Interval:
    """The interval of mean(second - first), values [Q] of the same queries in the same order.

    Pairs with a nan on either side are left out. An interval that excludes 0 is a difference.
    Errors as `bootstrap_mean`, and BadInput where the lengths differ.
    """
    if first.shape != second.shape:
        what = f"{first.shape} values against {second.shape}"
        raise BadInput(what, expected="one value of each for every query")
    difference = second.astype(np.float64) - first.astype(np.float64)
    return bootstrap_mean(difference, seed=seed, resamples=resamples, confidence=confidence)


def _resampled_means(
    values: npt.NDArray[np.float64], resamples: int, generator: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Means of `resamples` draws with replacement, [resamples]."""
    rows = max(1, BLOCK // len(values))
    means = np.empty(resamples)
    for start in range(0, resamples, rows):
        count = min(rows, resamples - start)
        drawn = generator.integers(len(values), size=(count, len(values)))
        means[start : start + count] = values[drawn].mean(axis=1)
    return means
