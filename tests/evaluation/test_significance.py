import math

import numpy as np
import pytest

from ames_lite.errors import BadInput
from ames_lite.evaluation import significance
from ames_lite.evaluation.significance import bootstrap_mean, paired_bootstrap


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
    ("values", "options", "words"),
    [
        (np.full(3, np.nan), {}, "no query counts"),
        (np.zeros(0), {}, "no query counts"),
        (np.array([1, np.inf]), {}, "no list of numbers"),
        (np.zeros((2, 2)), {}, "no list of numbers"),
        (np.zeros(3), {"confidence": 1.0}, "confidence is 1.0"),
        (np.zeros(3), {"resamples": 0}, "resamples 0"),
    ],
)
def test_bad_input_is_refused(values: np.ndarray, options: dict[str, float], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        bootstrap_mean(values, seed=0, **options)  # type: ignore[arg-type]


def test_lengths_that_differ_are_refused() -> None:
    with pytest.raises(BadInput, match="against"):
        paired_bootstrap(np.zeros(3), np.zeros(4), seed=0)
