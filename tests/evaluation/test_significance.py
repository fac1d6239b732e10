import itertools
import math
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

from ames_lite.errors import BadInput
from ames_lite.evaluation import significance
from ames_lite.evaluation.significance import Interval, mean_std


def bootstrap_mean(
    values: np.ndarray, *, seed: int, resamples: int = 10_000, confidence: float = 0.95
) -> Interval:
    with patch.multiple(significance, RESAMPLES=resamples, CONFIDENCE=confidence):
        return significance.bootstrap_mean(values, seed=seed)


def paired_bootstrap(first: np.ndarray, second: np.ndarray, **options: Any) -> Interval:
    return bootstrap_mean(second - first, **options)


def sign_flip_test(
    first: np.ndarray, second: np.ndarray, *, seed: int, resamples: int = 100_000
) -> float:
    with patch.object(significance, "SIGNINGS", resamples):
        return significance.sign_flip_test(second - first, seed=seed)


def draw(seed: int, size: int = 70) -> np.ndarray:
    return np.random.default_rng(seed).random(size)


def test_the_bootstrap_is_its_slow_referee() -> None:
    values = draw(0, 9)
    generator = np.random.default_rng(3)
    means = sorted(sum(values[i] for i in generator.integers(9, size=9)) / 9 for _ in range(401))
    came = bootstrap_mean(values, seed=3, resamples=401, confidence=0.9)
    assert came.mean == pytest.approx(values.mean())
    assert (came.low, came.high) == pytest.approx((means[20], means[380]))  # 5 % and 95 % of 400


def test_blocks_do_not_change_the_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = bootstrap_mean(draw(0), seed=1, resamples=500)
    monkeypatch.setattr(significance, "BLOCK", 70 * 64)
    assert bootstrap_mean(draw(0), seed=1, resamples=500) == whole
    monkeypatch.setattr(significance, "BLOCK", 1)
    assert bootstrap_mean(draw(0), seed=1, resamples=500) == whole


def test_a_seed_is_an_argument_and_0_is_one() -> None:
    zero, again, one = (bootstrap_mean(draw(0), seed=seed) for seed in (0, 0, 1))
    assert zero == again and zero != one


def test_the_global_generator_is_left_alone() -> None:
    np.random.seed(5)
    before = np.random.get_state()[1].copy()  # type: ignore[union-attr]
    bootstrap_mean(draw(0), seed=0)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # type: ignore[index]


def test_the_interval_has_the_width_of_the_normal_one() -> None:
    values = draw(1, 400)
    came = bootstrap_mean(values, seed=0)
    half = 1.96 * values.std() / math.sqrt(400)
    assert came.low == pytest.approx(values.mean() - half, abs=0.05 * half)
    assert came.high == pytest.approx(values.mean() + half, abs=0.05 * half)


def test_a_constant_gain_has_no_width_however_the_queries_vary() -> None:
    first = draw(0)
    came = paired_bootstrap(first, first + 0.01, seed=0)
    assert (came.mean, came.low, came.high) == pytest.approx((0.01, 0.01, 0.01))
    backwards = paired_bootstrap(first + 0.01, first, seed=0)
    assert backwards.mean == pytest.approx(-0.01)


def test_pairs_with_a_nan_on_either_side_are_left_out_and_counted() -> None:
    first, second = draw(0), draw(1)
    kept = paired_bootstrap(first[2:], second[2:], seed=0)
    first[0], second[1] = math.nan, math.nan
    came = paired_bootstrap(first, second, seed=0)
    assert (came.counted, came.excluded) == (68, 2)
    assert came[:3] == kept[:3]


def test_more_confidence_is_a_wider_interval() -> None:
    narrow, wide = (bootstrap_mean(draw(0), seed=0, confidence=c) for c in (0.5, 0.99))
    assert wide.low < narrow.low < narrow.mean < narrow.high < wide.high


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    intervals = [
        bootstrap_mean(generator.random(60), seed=s, resamples=500, confidence=0.9)
        for s in range(300)
    ]
    covered = sum(one.low <= 0.5 <= one.high for one in intervals)
    assert 0.84 < covered / 300 < 0.95


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.full(3, np.nan), "0 queries count"),
        (np.zeros(0), "0 queries count"),
        (np.array([1, np.inf]), "1 infinite"),
        (np.zeros((2, 2)), r"values are \(2, 2\)"),
    ],
)
def test_bad_input_is_refused(values: np.ndarray, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        bootstrap_mean(values, seed=0)


def every_sign(difference: list[float]) -> float:
    """The referee: the share of all signings whose sum is as far from 0 as the one seen."""
    seen = abs(math.fsum(difference))
    sums = [
        abs(math.fsum(s * d for s, d in zip(signs, difference, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(difference))
    ]
    return sum(one >= seen - 1e-12 for one in sums) / len(sums)


@pytest.mark.parametrize("seed", range(6))
def test_the_sign_flip_test_tries_every_sign_of_few_queries(seed: int) -> None:
    first, second = draw(seed, 8), draw(seed + 100, 8) + 0.2
    second[3] = first[3]  # flipping nothing changes nothing
    came = sign_flip_test(first, second, seed=0)
    assert came == pytest.approx(every_sign(list(second - first)), abs=1e-12)
    assert sign_flip_test(second, first, seed=0) == came


def test_a_sample_of_signs_comes_near_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = draw(0, 15), draw(1, 15) + 0.1
    exact = sign_flip_test(first, second, seed=0)
    sampled = sign_flip_test(first, second, seed=0, resamples=20_000)
    error = math.sqrt(exact * (1 - exact) / 20_000)
    assert abs(sampled - exact) < 4 * error and sampled != exact
    monkeypatch.setattr(significance, "BLOCK", 15 * 8)
    assert sign_flip_test(first, second, seed=0, resamples=20_000) == sampled


def test_published_figures_stay() -> None:
    """Computed by loops of our own before scipy was asked."""
    came = bootstrap_mean(draw(0), seed=1)
    assert came[:3] == pytest.approx((0.488230023, 0.418391124, 0.554934307), abs=1e-9)
    first, second = draw(0, 500), draw(1, 500) + 0.02
    came = paired_bootstrap(first, second, seed=0, confidence=0.9)
    assert came[:3] == pytest.approx((-0.019092345, -0.04969832, 0.011264396), abs=1e-9)
    assert sign_flip_test(first, second, seed=0) == pytest.approx(0.3037769622, abs=1e-9)
    p = sign_flip_test(draw(0, 40), draw(1, 40) + 0.1, seed=0)
    assert p == pytest.approx(0.3746162538, abs=1e-9)
    p = sign_flip_test(draw(0, 17), draw(1, 17) + 0.2, seed=0)
    exact = 0.2250213624
    assert abs(p - exact) < 4 * math.sqrt(exact * (1 - exact) / 100_000)


def test_a_sampled_p_is_never_0_and_no_difference_gives_1() -> None:
    first = draw(0)
    assert sign_flip_test(first, first + 0.5, seed=0, resamples=99) == 1 / 100
    assert sign_flip_test(first, first, seed=0) == 1.0


def test_p_values_are_uniform_where_there_is_no_difference() -> None:
    generator = np.random.default_rng(0)
    p = [
        sign_flip_test(generator.random(30), generator.random(30), seed=s, resamples=400)
        for s in range(400)
    ]
    for level in (0.05, 0.2, 0.5):
        assert np.mean(np.array(p) <= level) == pytest.approx(level, abs=0.07)


def test_pairs_with_a_nan_do_not_enter_the_sign_flip_test() -> None:
    first, second = draw(0, 9), draw(1, 9)
    kept = sign_flip_test(first[2:], second[2:], seed=0)
    first[0], second[1] = math.nan, math.nan
    assert sign_flip_test(first, second, seed=0) == kept


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        (np.full(3, np.nan), np.zeros(3), "0 queries count"),
        (np.zeros(3), np.array([0, 1, np.inf]), "1 infinite"),
    ],
)
def test_bad_pairs_are_refused(first: np.ndarray, second: np.ndarray, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        sign_flip_test(first, second, seed=0)


def test_seeds_have_a_mean_and_a_sample_deviation() -> None:
    values = [0.5, 0.52, 0.57]
    assert mean_std(values) == pytest.approx((np.mean(values), np.std(values, ddof=1), 3))
    assert math.isnan(mean_std([0.5]).std)
