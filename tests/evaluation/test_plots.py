"""Numbers behind the plots, beside a slow referee."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ames_lite.evaluation import plots
from ames_lite.evaluation.metrics import find_hits
from tests.laws import law


def slow_precision(ids: list[int], positives: set[int]) -> list[float]:
    """At every level of recall, the best precision of all prefixes that reach it."""
    prefixes = [(len(positives & set(ids[:n])), n) for n in range(1, len(ids) + 1)]
    return [
        max(
            (found / n for found, n in prefixes if found >= level * len(positives) - 1e-9),
            default=0,
        )
        for level in plots.LEVELS
    ]


@law
@given(st.lists(st.tuples(st.permutations(range(9)), st.sets(st.integers(0, 11))), min_size=1))
def test_interpolated_precision_is_the_referees(
    queries: list[tuple[list[int], set[int]]],
) -> None:
    counted = [(order[:7], positives) for order, positives in queries if positives]
    ids = np.array([order[:7] for order, _ in queries])
    hits = find_hits(ids, [np.array(sorted(positives), np.int64) for _, positives in queries])
    if counted:
        wanted = np.mean([slow_precision(*one) for one in counted], axis=0)
        np.testing.assert_allclose(plots.interpolated_precision(hits), wanted, atol=1e-12)


def test_recall_at_k_is_the_share_of_queries_with_a_hit() -> None:
    ids = np.array([[3, 8, 1], [8, 3, 1], [1, 8, 3], [1, 2, 3]])
    hits = find_hits(ids, [np.array([3]), np.array([3]), np.array([3]), np.array([], np.int64)])
    for misses, total in ((False, 3), (True, 4)):
        figure = plots.recall_at_k({"reranked": hits}, misses, "a", "b")
        (line,) = figure.axes[0].lines
        np.testing.assert_allclose(line.get_ydata(), np.array([1, 2, 3]) / total)


def test_the_best_cell_of_a_sweep_is_framed_and_gaps_stay_empty() -> None:
    rows = [
        {"lamb": lamb, "temp": temp, "metrics": {"map": value}}
        for lamb, temp, value in ((0.0, 1.0, 0.3), (0.5, 1.0, 0.7), (0.5, 2.0, None))
    ]
    axes = plots.ensemble_map(rows, "map", "a", "b").axes[0]
    assert sorted(text.get_text() for text in axes.texts) == ["30.0", "70.0"]
    assert (axes.lines[0].get_xdata()[0], axes.lines[0].get_ydata()[0]) == (0, 1)
