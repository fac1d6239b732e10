"""Laws of metrics, for rankings of all kinds: of what changes a metric, and of what does not."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from ames_lite.evaluation import metrics
from tests.laws import law


class Ranking(NamedTuple):
    """ids [Q, K], and what is right for each query."""

    ids: np.ndarray[Any, Any]
    right: list[np.ndarray[Any, Any]]

    def metrics(self) -> np.ndarray[Any, Any]:
        """[metric, Q]: every metric, at several depths."""
        hits = metrics.find_hits(self.ids, self.right)
        at = (metrics.average_precision_at, metrics.revisited_precision_at, metrics.hit_at)
        found = [metrics.average_precision(hits, divisor) for divisor in metrics.DIVISORS]
        return np.array([*found, *(metric(hits, k) for metric in at for k in (1, 3, 10))])


@st.composite
def rankings(draw: Any) -> Ranking:
    queries, num = draw(st.integers(1, 5)), draw(st.integers(1, 12))
    length = draw(st.integers(1, num))
    ids = [draw(st.permutations(range(num)))[:length] for _ in range(queries)]
    right = [draw(st.sets(st.integers(0, num - 1))) for _ in range(queries)]
    return Ranking(np.array(ids), [np.array(sorted(rows), np.int64) for rows in right])


@law
@given(rankings(), st.randoms(use_true_random=False))
def test_a_query_is_judged_by_itself(given_ranking: Ranking, random: Any) -> None:
    order = list(range(len(given_ranking.ids)))
    random.shuffle(order)
    other = Ranking(given_ranking.ids[order], [given_ranking.right[q] for q in order])
    np.testing.assert_array_equal(other.metrics(), given_ranking.metrics()[:, order])


@law
@given(rankings(), st.data())
def test_a_positive_that_comes_earlier_makes_no_metric_worse(ranking: Ranking, data: Any) -> None:
    ids, right = ranking.ids[0], set(ranking.right[0].tolist())
    places = [k for k in range(1, len(ids)) if ids[k] in right and ids[k - 1] not in right]
    assume(places)
    place = data.draw(st.sampled_from(places))
    better = ranking.ids.copy()
    better[0, [place - 1, place]] = better[0, [place, place - 1]]
    before, after = ranking.metrics(), ranking._replace(ids=better).metrics()
    assert (after[:, 0] >= before[:, 0] - 1e-12).all() and after[0, 0] > before[0, 0]
    np.testing.assert_array_equal(after[:, 1:], before[:, 1:])


@law
@given(rankings())
def test_metrics_lie_between_0_and_1_and_are_nan_without_positives(ranking: Ranking) -> None:
    found = ranking.metrics()
    without = np.array([len(rows) == 0 for rows in ranking.right])
    assert np.isnan(found[:, without]).all()
    assert ((found[:, ~without] >= 0) & (found[:, ~without] <= 1 + 1e-12)).all()


@law
@given(rankings(), st.randoms(use_true_random=False))
def test_names_of_images_mean_nothing(ranking: Ranking, random: Any) -> None:
    names = list(range(20))
    random.shuffle(names)
    other = Ranking(np.array(names)[ranking.ids], [np.array(names)[r] for r in ranking.right])
    np.testing.assert_array_equal(other.metrics(), ranking.metrics())
