"""Is a difference more than chance? Intervals and tests over queries, spread over seeds. Bootstrap
percentiles over queries (Efron and Tibshirani, 1993) and the sign-flip test (Smucker, Allan and
Carterette, CIKM 2007). Values are one number a query, nan where it has no positives: those are left
out and counted. Both speak of other queries, `mean_std` of other training seeds.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy  # its parts are imported where they are used first: stats takes half a second

from ames_lite.errors import require

Floats = npt.NDArray[np.floating]
RESAMPLES, CONFIDENCE = 10_000, 0.95  # of the bootstrap
SIGNINGS = 100_000  # of the sign-flip test: all there are, where they are not more
ONE_SIDED = {"vectorized": True, "alternative": "greater"}  # of sizes, which have no sign
BLOCK = 1 << 22  # drawn numbers held at a time
DIGITS = 12  # of the sum of magnitudes: sums that agree in them are equal


class Interval(NamedTuple):
    """A mean with its confidence interval; queries that counted, and that were left out."""

    mean: float
    low: float
    high: float
    counted: int
    excluded: int


class Spread(NamedTuple):
    """A mean over runs with its sample standard deviation (nan for a single run)."""

    mean: float
    std: float
    runs: int


def bootstrap_mean(values: Floats, *, seed: int) -> Interval:
    """Of the mean of values [Q], such as differences of pairs. BadInput where none counts."""
    counted = _counted(values)
    low = high = mean = float(counted.mean())
    if len(counted) > 1:
        how = {"n_resamples": RESAMPLES, "confidence_level": CONFIDENCE, "method": "percentile"}
        how |= {"batch": max(1, BLOCK // len(counted)), "rng": np.random.default_rng(seed)}
        found = scipy.stats.bootstrap((counted,), np.mean, **how)
        low, high = (float(end) for end in found.confidence_interval)
    return Interval(mean, low, high, len(counted), len(values) - len(counted))


def sign_flip_test(differences: Floats, *, seed: int) -> float:
    """The chance (two-sided p) of a mean difference at least as large, were the two exchangeable.

    All signs of differences [Q] that are not zero are tried where there are at most SIGNINGS; else
    as many random ones, and p = (1 + as large) / (1 + SIGNINGS), never 0 (Phipson and Smyth, 2010).
    Raises BadInput where no value counts.
    """
    counted = _counted(differences)
    moved = counted[counted != 0]
    if len(moved) < 2:
        return 1.0
    moved = moved / np.abs(moved).sum()
    if 2.0 ** len(moved) > SIGNINGS:
        return _random_signs(moved, seed)
    how = {"permutation_type": "samples", "n_resamples": np.inf, "batch": BLOCK // len(moved)}
    return float(scipy.stats.permutation_test((moved,), _size, **how, **ONE_SIDED).pvalue)


def _size(values: npt.NDArray[np.float64], axis: int = -1) -> npt.NDArray[np.float64]:
    """|Σ values|, rounded: sums that differ in their last digits are equal."""
    return np.abs(values.sum(axis=axis)).round(DIGITS)


def _random_signs(values: npt.NDArray[np.float64], seed: int) -> float:
    """permutation_test shuffles in Python what one draw of all signs does ten times as fast."""
    rng, sizes = np.random.default_rng(seed), np.abs(values)

    def signed(size: tuple[int, ...]) -> npt.NDArray[np.float64]:
        return sizes * (2.0 * rng.integers(2, size=size, dtype=np.int8) - 1)

    how = {"n_resamples": SIGNINGS, "batch": max(1, BLOCK // len(values))}
    return float(scipy.stats.monte_carlo_test(values, signed, _size, **how, **ONE_SIDED).pvalue)


def mean_std(values: Sequence[float]) -> Spread:
    """Of a metric over runs that differ in their seed; the deviation is that of a sample (n - 1).

    >>> mean_std([0.5, 1.5])
    Spread(mean=1.0, std=0.7071067811865476, runs=2)
    """
    array = np.asarray(values, np.float64)
    std = float(array.std(ddof=1)) if len(array) > 1 else float("nan")
    return Spread(float(array.mean()), std, len(array))


def _counted(values: Floats) -> npt.NDArray[np.float64]:
    counted = values[~np.isnan(values)].astype(np.float64)
    infinite = np.isinf(counted).sum()
    what = f"{len(counted)} queries count, values are {values.shape} with {infinite} infinite"
    fits = values.ndim == 1 and len(counted) and not infinite
    require(fits, what, "[Q] values, at least one that counts, nan or finite")
    return counted
