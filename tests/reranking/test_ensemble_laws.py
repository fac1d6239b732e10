"""Laws of the ensemble, for lists and logits of all kinds."""

from __future__ import annotations

from typing import Any

import hypothesis.extra.numpy as arrays
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ames_lite.records import Neighbors
from ames_lite.reranking.ensemble import rerank
from tests.laws import floats, law

Scored = tuple[Neighbors, np.ndarray[Any, Any]]
LAMBDAS = st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0])


@st.composite
def scored(draw: Any) -> Scored:
    """Lists, and logits of their first entries; many are equal."""
    queries, num = draw(st.integers(1, 4)), draw(st.integers(1, 9))
    ids = np.array([draw(st.permutations(range(num))) for _ in range(queries)], np.int32)
    coarse = st.integers(-8, 8).map(lambda n: n / 8)
    sims = draw(arrays.arrays("f4", ids.shape, elements=st.one_of(coarse, floats("f4", -1, 1))))
    shape = (queries, draw(st.integers(0, num)))
    logits = draw(arrays.arrays("f4", shape, elements=st.one_of(coarse, floats("f4", -20, 20))))
    return Neighbors(ids, -np.sort(-sims, axis=1), num), logits


@law
@given(scored(), floats("f4", 0.125, 8))
def test_lamb_1_is_the_global_ranking_bit_for_bit(given_scores: Scored, temp: float) -> None:
    lists, logits = given_scores
    came = rerank(lists, logits, 1.0, temp)
    np.testing.assert_array_equal(came.ids, lists.ids)
    np.testing.assert_array_equal(came.sims, lists.sims)
    assert came.sims.dtype == np.float32


@law
@given(scored(), LAMBDAS, st.integers(-3, 3))
def test_the_temperature_is_a_scale_of_the_logits(
    given_scores: Scored, lamb: float, power: int
) -> None:
    lists, logits = given_scores
    one = rerank(lists, logits, lamb, 1.0)
    other = rerank(lists, logits * np.float32(2.0**power), lamb, 2.0**-power)
    np.testing.assert_array_equal(one.ids, other.ids)
    np.testing.assert_array_equal(one.sims, other.sims)


@law
@given(scored(), LAMBDAS, st.data())
def test_an_image_that_scores_higher_is_not_ranked_lower(
    given_scores: Scored, lamb: float, data: Any
) -> None:
    lists, logits = given_scores
    if logits.size:
        place = data.draw(st.integers(0, logits.shape[1] - 1))
        higher = logits.copy()
        higher[0, place] += data.draw(floats("f4", 0, 10))
        image = lists.ids[0, place]
        before, after = (rerank(lists, values, lamb, 0.5).ids[0] for values in (logits, higher))
        assert np.argmax(after == image) <= np.argmax(before == image)


@law
@given(scored(), LAMBDAS)
def test_lists_are_reranked_one_by_one(given_scores: Scored, lamb: float) -> None:
    lists, logits = given_scores
    together = rerank(lists, logits, lamb, 2.0)
    for q in range(len(lists.ids)):
        one = Neighbors(lists.ids[q : q + 1], lists.sims[q : q + 1], lists.num_gallery)
        alone = rerank(one, logits[q : q + 1], lamb, 2.0)
        np.testing.assert_array_equal(alone.ids[0], together.ids[q])
        np.testing.assert_array_equal(alone.sims[0], together.sims[q])
