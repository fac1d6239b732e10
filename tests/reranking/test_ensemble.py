import math

import numpy as np
import pytest

from ames_lite.errors import BadInput
from ames_lite.records import Neighbors
from ames_lite.reranking.ensemble import (
    check_ensemble,
    ensemble_scores,
    rerank,
    stable_descending,
)
from tests.evaluation.toy import make_neighbors


def make_logits(seed: int, shape: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(seed).integers(-6, 7, shape).astype(np.float32)  # many ties


@pytest.mark.parametrize("seed", range(5))
def test_the_packed_sort_is_the_stable_argsort(seed: int) -> None:
    generator = np.random.default_rng(seed)
    scores = generator.standard_normal((4, 50)).astype(np.float32)
    scores[:, ::3] = generator.integers(-2, 3, scores[:, ::3].shape)
    special = [0.0, -0.0, 1e-45, -1e-45, 3e38, -3e38, np.inf, -np.inf, 0.0, -0.0]
    scores[0, :10] = np.float32(special)
    referee = np.argsort(-scores, axis=1, kind="stable")
    np.testing.assert_array_equal(stable_descending(scores), referee)


@pytest.mark.parametrize("seed", range(5))
def test_rerank_is_python_sorting(seed: int) -> None:
    neighbors = make_neighbors(seed)
    logits, n, lamb, temp = make_logits(seed, (6, 17)), 17, 0.4, 0.7
    came = rerank(neighbors, logits, lamb, temp)
    for q in range(6):
        scores = [
            lamb * float(neighbors.sims[q, k]) + (1 - lamb) / (1 + math.exp(-temp * logits[q, k]))
            for k in range(n)
        ]
        # in double precision; ties of float32 are ties here too, up to rounding
        order = sorted(range(n), key=lambda k: -round(scores[k], 6))
        wanted = [*neighbors.ids[q, order], *neighbors.ids[q, n:]]
        np.testing.assert_array_equal(came.ids[q], wanted)
        np.testing.assert_allclose(came.sims[q, :n], np.array(scores)[order], atol=1e-6)
        np.testing.assert_array_equal(came.sims[q, n:], neighbors.sims[q, n:])


def test_rerank_only_reorders_and_leaves_the_rest() -> None:
    neighbors = make_neighbors(0)
    for n in (0, 1, 10, 40):
        came = rerank(neighbors, make_logits(1, (6, n)), 0.2, 1.0).ids
        np.testing.assert_array_equal(came[:, n:], neighbors.ids[:, n:])
        np.testing.assert_array_equal(np.sort(came), np.sort(neighbors.ids))
        assert n < 10 or (came != neighbors.ids).any()


@pytest.mark.parametrize("lamb", [0.0, 0.3, 1.0])
def test_a_constant_scorer_keeps_the_order(lamb: float) -> None:
    neighbors = make_neighbors(0)
    came = rerank(neighbors, np.full((6, 40), 1.5), lamb, 0.5)
    np.testing.assert_array_equal(came.ids, neighbors.ids)


def test_lamb_0_is_the_order_of_the_logits() -> None:
    neighbors = make_neighbors(0)
    logits = make_logits(1, (6, 40))
    came = rerank(neighbors, logits, 0.0, 0.5)
    order = np.argsort(-logits, axis=1, kind="stable")
    np.testing.assert_array_equal(came.ids, np.take_along_axis(neighbors.ids, order, axis=1))


def test_half_precision_logits_become_single_before_the_sigmoid() -> None:
    logits = np.array([[8.0, 8.5, 9.0, 9.5]], np.float16)
    scores = ensemble_scores(np.zeros((1, 4)), logits, 0.0, 1.0)
    assert scores.dtype == np.float32 and (np.diff(scores) > 0).all()


def test_extreme_logits_stay_finite_and_silent() -> None:
    with np.errstate(all="raise"):
        scores = ensemble_scores(np.zeros((1, 3)), np.array([[-1e30, 0, 1e30]]), 0.0, 1.0)
    assert scores.tolist() == [[0.0, 0.5, 1.0]]


def test_the_inputs_are_not_changed() -> None:
    neighbors = make_neighbors(0)  # its arrays are read-only
    came = rerank(neighbors, make_logits(1, (6, 40)), 0.5, 0.5)
    assert came.ids.dtype == neighbors.ids.dtype and (came.ids != neighbors.ids).any()


@pytest.mark.parametrize("lamb", [-0.01, 1.01, math.nan, math.inf])
def test_lamb_outside_0_to_1_is_refused(lamb: float) -> None:
    with pytest.raises(BadInput, match="lamb is"):
        check_ensemble(lamb, 1.0)


@pytest.mark.parametrize("temp", [0.0, -1.0, math.nan, math.inf])
def test_temp_that_is_not_positive_is_refused(temp: float) -> None:
    with pytest.raises(BadInput, match="temp is"):
        check_ensemble(0.5, temp)


@pytest.mark.parametrize(
    ("sims", "logits", "words"),
    [
        (np.zeros((2, 3)), np.zeros((2, 4)), "do not fit"),
        (np.zeros((2, 2)), np.zeros((2, 2)), "do not fit"),
        (np.zeros((2, 3)), np.zeros((1, 3)), "do not fit"),
        (np.zeros((2, 3)), np.zeros(3), "do not fit"),
        (np.zeros((2, 3)), np.full((2, 3), np.nan), "logits have NaN"),
        (np.full((2, 3), np.inf), np.zeros((2, 3)), "sims have NaN"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    sims: np.ndarray, logits: np.ndarray, words: str
) -> None:
    with pytest.raises(BadInput, match=words):
        rerank(Neighbors(np.arange(6).reshape(2, 3), sims, 6), logits, 0.5, 0.5)
