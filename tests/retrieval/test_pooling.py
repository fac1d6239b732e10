"""The laws of pooling: equal to slow referees, and blind to order, padding and batch."""

from __future__ import annotations

import numpy as np
import pytest

from ames_lite.errors import BadInput
from ames_lite.retrieval.pooling import gem, unit_rows, weighted_mean

N, K, D = 5, 9, 6
COUNT = np.array([9, 1, 0, 4, 7])


def images(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((N, K, D)).astype(np.float32), rng.random((N, K), dtype=np.float32)


def slow_gem(rows: np.ndarray, power: float) -> list[float]:
    """Entry by entry."""
    vector = []
    for column in range(rows.shape[1]):
        total = 0.0
        for value in rows[:, column].tolist():
            total += (1 if value > 0 else -1) * abs(value) ** power
        mean = total / len(rows)
        vector.append((1 if mean > 0 else -1) * abs(mean) ** (1 / power))
    length = sum(value * value for value in vector) ** 0.5
    return [value / length for value in vector]


def slow_mean(rows: np.ndarray, weight: np.ndarray) -> list[float]:
    total = sum(weight.tolist())
    vector = [
        sum(
            w / total * value for w, value in zip(weight.tolist(), rows[:, d].tolist(), strict=True)
        )
        for d in range(rows.shape[1])
    ]
    length = sum(value * value for value in vector) ** 0.5
    return [value / length for value in vector]


@pytest.mark.parametrize("power", [1.0, 2.0, 3.0, 3.7])
def test_gem_equals_the_referee(power: float) -> None:
    descriptors, _ = images()
    found = gem(descriptors, COUNT, power)
    assert found.dtype == np.float32 and found.shape == (N, D)
    for n, count in enumerate(COUNT):
        if count:
            expected = slow_gem(descriptors[n, :count], power)
            np.testing.assert_allclose(found[n], expected, atol=1e-6)


def test_a_large_power_gives_the_entry_of_the_largest_magnitude() -> None:
    rows = np.array([[[0.5, -2.0], [-1.0, 1.0]]], np.float32)
    found = gem(rows, np.array([2]), 400.0)[0]
    np.testing.assert_allclose(found, np.array([-1, -2]) / 5**0.5, rtol=5e-3)
    assert np.isfinite(gem(rows * 1e30, np.array([2]), 400.0)).all()


def test_three_is_the_plain_root_of_the_mean_of_cubes() -> None:
    descriptors, _ = images()
    cubes = (descriptors[0].astype(np.float64) ** 3).mean(axis=0)
    expected = np.cbrt(cubes)
    np.testing.assert_allclose(
        gem(descriptors, COUNT)[0], expected / np.linalg.norm(expected), atol=1e-6
    )


def test_the_weighted_mean_equals_the_referee() -> None:
    descriptors, weight = images()
    found = weighted_mean(descriptors, weight, COUNT)
    for n, count in enumerate(COUNT):
        if count:
            expected = slow_mean(descriptors[n, :count], weight[n, :count])
            np.testing.assert_allclose(found[n], expected, atol=1e-6)
    ones = weighted_mean(descriptors, np.ones((N, K), np.float32), COUNT)
    np.testing.assert_allclose(ones, gem(descriptors, COUNT, 1.0), atol=1e-6)
    np.testing.assert_allclose(weighted_mean(descriptors, 7 * weight, COUNT), found, atol=1e-6)


def test_padding_and_batch_change_nothing_and_order_no_more_than_rounding() -> None:
    descriptors, weight = images()
    padded = descriptors.copy()
    heavy = weight.copy()
    for n, count in enumerate(COUNT):
        padded[n, count:], heavy[n, count:] = np.nan, np.nan
    for pool in (lambda d, w, c: gem(d, c), weighted_mean):
        whole = pool(descriptors, weight, COUNT)
        np.testing.assert_array_equal(pool(padded, heavy, COUNT), whole)
        for n in range(N):
            one = slice(n, n + 1)
            alone = pool(descriptors[one], weight[one], COUNT[one])
            np.testing.assert_array_equal(alone[0], whole[n])
        turned = pool(descriptors[:1, ::-1], weight[:1, ::-1], COUNT[:1])
        np.testing.assert_allclose(turned[0], whole[0], atol=1e-7)


def test_every_image_has_a_unit_vector_also_an_empty_one() -> None:
    descriptors, weight = images()
    for found in (gem(descriptors, COUNT), weighted_mean(descriptors, weight, COUNT)):
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
        np.testing.assert_array_equal(found[2], np.full(D, D**-0.5, np.float32))
    opposite = np.array([[[1.0, 2.0], [-1.0, -2.0]]], np.float32)
    np.testing.assert_allclose(gem(opposite, np.array([2])), [[0.5**0.5] * 2], atol=1e-7)
    assert np.isfinite(unit_rows(np.zeros((1, 3)))).all()


def test_what_does_not_fit_is_refused() -> None:
    descriptors, weight = images()
    broken = descriptors.copy()
    broken[3, 2, 1] = np.inf
    for bad in (
        lambda: gem(broken, COUNT),
        lambda: weighted_mean(descriptors, weight - 1, COUNT),
        lambda: weighted_mean(descriptors, 0 * weight, COUNT),
        lambda: weighted_mean(descriptors, weight * np.nan, COUNT),
    ):
        with pytest.raises(BadInput, match="expected"):
            bad()
    gem(broken[:, :2], np.minimum(COUNT, 2))  # what is beyond is never looked at
