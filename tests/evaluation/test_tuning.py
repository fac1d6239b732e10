import itertools
import math

import numpy as np
import pytest

from ames_lite.errors import BadInput
from ames_lite.evaluation.tuning import Row, best, grid
from ames_lite.records import PairScores
from tests.evaluation.toy import evaluate_reranked, judged, make_neighbors, make_scores, make_truth


@pytest.mark.parametrize("protocol", ["revisitop", "gldv2"])
def test_every_cell_is_the_evaluation_alone_in_the_order_given(protocol: str) -> None:
    truth = make_truth(0, graded=protocol == "revisitop")
    world, scores = judged(make_neighbors(0), truth, protocol), make_scores(0)
    values = ([30, 5, 1000], [1.0, 0.0, 0.4], [2.0, 0.5])
    rows = grid(world, scores, num_reranks=values[0], lambs=values[1], temps=values[2])
    cells = list(itertools.product(*values))
    assert [(row.num_rerank, row.lamb, row.temp) for row in rows] == cells
    for row in rows:
        assert row.metrics == evaluate_reranked(world, scores, row).metrics
    assert len({row.metrics["map" if protocol == "revisitop" else "map@100"] for row in rows}) > 3


def test_best_is_the_highest_and_the_first_among_equals() -> None:
    values = [0.1, 0.7, math.nan, 0.7, 0.6]
    rows = [Row(n, 0.5, 1.0, {"map": value}) for n, value in enumerate(values, 1)]
    assert best(rows, "map") is rows[1]
    assert best(rows[::-1], "map") is rows[3]


def test_without_the_global_similarity_the_smallest_temp_stands_for_all() -> None:
    """A larger one changes only which scores round to 1."""
    cells = [(5, 0.0, 1.0, 0.9), (5, 0.0, 0.1, 0.6), (5, 0.5, 1.0, 0.5), (5, 0.5, 0.1, 0.7)]
    rows = [Row(n, lamb, temp, {"map": value}) for n, lamb, temp, value in cells]
    assert best(rows, "map") is rows[3]
    assert best(rows[:3], "map") is rows[1]
    other = Row(9, 0.0, 1.0, {"map": 0.8})
    assert best([*rows, other], "map") is other  # of its own num_rerank the only one


def test_nothing_to_choose_from_is_refused() -> None:
    row = Row(1, 0.5, 1.0, {"map": math.nan})
    for rows, metric, words in (
        ([], "map", "no row"),
        ([row], "mAP", "'mAP'"),
        ([row], "map", "un"),
    ):
        with pytest.raises(BadInput, match=words):
            best(rows, metric)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"lambs": []}, "no cells"),
        ({"lambs": [0.5, 1.5]}, "lamb is 1.5"),
        ({"temps": [1.0, 0.0]}, "temp is 0"),
        ({"num_reranks": [5, -1]}, "num_rerank is -1"),
    ],
)
def test_values_out_of_range_are_refused_before_any_score_is_read(
    change: dict[str, list[float]], words: str
) -> None:
    nothing = PairScores(np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0, np.float32))
    values = {"num_reranks": [5], "lambs": [0.5], "temps": [1.0]} | change
    with pytest.raises(BadInput, match=words):
        grid(judged(make_neighbors(0), make_truth(0)), nothing, **values)  # type: ignore[arg-type]
