"""Is a difference more than chance? Intervals and tests over queries, spread over seeds.

The bootstrap over queries (Efron and Tibshirani, 1993, percentiles) gives the interval of a mean or
of a paired difference, the sign-flip test (Smucker, Allan and Carterette, CIKM 2007) its p-value.
Values are one number a query, average precision as a rule, nan where a query has no positives:
those are left out and counted. Both speak of other queries of the same kind; of another training
seed they say nothing: that is what `mean_std` over runs is for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput

Floats = npt.NDArray[np.floating]
BLOCK = 1 << 22  # drawn numbers held at a time
EXACT = 18  # differences up to which all 2^n signs are tried
ROUNDING = 1e-12  # of the sum of magnitudes: sums that differ by less are equal


class Interval(NamedTuple):
    """A mean with its confidence interval; queries that counted, and that were left out."""

    mean: float
    low: float
    high: float
    counted: int
    excluded: int


class SignFlip(NamedTuple):
    """The two-sided p-value of a paired difference, and how it was found."""

    p: float
    counted: int  # pairs without nan
    exact: bool  # all signs were tried; else a sample of them


class Spread(NamedTuple):
    """A mean over runs with its sample standard deviation (nan for a single run)."""

    mean: float
    std: float
    runs: int


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
    difference = _differences(first, second)
    return bootstrap_mean(difference, seed=seed, resamples=resamples, confidence=confidence)


def sign_flip_test(
    first: Floats, second: Floats, *, seed: int, resamples: int = 100_000
) -> SignFlip:
    """The chance of a mean difference at least as large, either way, were the two exchangeable.

    first, second: values [Q] of the same queries in the same order. Under the null hypothesis the
    sign of each query's difference is a coin's. Up to EXACT differences that are not zero all signs
    are tried; beyond, `resamples` random ones, and p = (1 + as large) / (1 + resamples), so that it
    is never 0 (Phipson and Smyth, 2010). Equal values throughout give 1.

    >>> sign_flip_test(np.zeros(3), np.array([0.1, 0.2, 0.3]), seed=0)
    SignFlip(p=0.25, counted=3, exact=True)

    Raises BadInput where the lengths differ, no pair counts, one is infinite, or resamples < 1.
    """
    difference = _differences(first, second)
    counted = difference[~np.isnan(difference)]
    if len(counted) == 0 or np.isinf(counted).any() or resamples < 1:
        raise BadInput(
            f"{len(counted)} pairs of numbers, {np.isinf(counted).sum()} infinite, "
            f"{resamples} resamples",
            expected="at least one pair, finite, and one resample",
        )
    moved = np.abs(counted[counted != 0])
    seen = abs(counted.sum()) - ROUNDING * moved.sum()
    if len(moved) <= EXACT:
        return SignFlip(float((np.abs(_all_sums(moved)) >= seen).mean()), len(counted), True)
    larger = _count_larger(moved, float(seen), resamples, np.random.default_rng(seed))
    return SignFlip((1 + larger) / (1 + resamples), len(counted), False)


def mean_std(values: Sequence[float]) -> Spread:
    """The mean of a metric over runs that differ in their seed, with the sample deviation (n - 1).

    >>> mean_std([0.5, 1.5])
    Spread(mean=1.0, std=0.7071067811865476, runs=2)
    """
    if not values:
        raise BadInput("no runs to average", expected="at least one")
    array = np.asarray(values, np.float64)
    std = float(array.std(ddof=1)) if len(array) > 1 else float("nan")
    return Spread(float(array.mean()), std, len(array))


def _differences(first: Floats, second: Floats) -> npt.NDArray[np.float64]:
    """second - first, [Q], in double precision."""
    if first.shape != second.shape or first.ndim != 1:
        what = f"{first.shape} values against {second.shape}"
        raise BadInput(what, expected="one value of each for every query")
    return second.astype(np.float64) - first.astype(np.float64)


def _all_sums(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The sums of the values under all signs, [2^n]."""
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums + value, sums - value])
    return sums


def _count_larger(
    values: npt.NDArray[np.float64], seen: float, resamples: int, generator: np.random.Generator
) -> int:
    """How many of `resamples` random signings have a sum of at least `seen`, either way."""
    rows, larger = max(1, BLOCK // len(values)), 0
    for start in range(0, resamples, rows):
        count = min(rows, resamples - start)
        plus = generator.integers(2, size=(count, len(values)), dtype=np.int8)
        sums = 2 * (plus @ values) - values.sum()
        larger += int((np.abs(sums) >= seen).sum())
    return larger


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
