"""What both pages say in the same words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ames_lite.evaluation.page import say_score
from ames_lite.evaluation.pair_view import PairViews
from ames_lite.reranking.verification import MutualNearest
from tests.evaluation.test_pair_view import described
from tests.evaluation.test_report import evaluate
from tests.evaluation.toy import make_neighbors, make_scores, make_truth

pytestmark = pytest.mark.usefixtures("no_plots")


@pytest.mark.parametrize(
    ("value", "said"), [(-0.0004, "0.000"), (-0.0, "0.000"), (-0.0006, "-0.001"), (2.5, "2.500")]
)
def test_a_zero_has_no_sign(value: float, said: str) -> None:
    assert say_score(value) == say_score(float(np.float32(value))) == said


def test_matches_are_promised_only_where_there_are_some(tmp_path: Path) -> None:
    toy = evaluate(make_neighbors(3), make_truth(3), make_scores(3), (15,))
    for name in [*toy.truth.query_names, *toy.truth.gallery_names]:
        (tmp_path / name).touch()
    for count, promised in ((30, True), (0, False)):
        views = PairViews(MutualNearest(), lambda row, n=count: described(row, n), described)
        page = toy.write(tmp_path / "report.html", tmp_path, views=views)
        assert ("⇄ marks those with their matches" in page.text) == promised
        assert any(view["pairs"] for view in page.views)


def test_a_page_says_which_ap_its_queries_have(tmp_path: Path) -> None:
    for graded, said in ((True, "mean of its medium and hard AP"), (False, "first 100 images")):
        truth = make_truth(3, graded=graded)
        toy = evaluate(make_neighbors(3), truth, make_scores(3), (15,))
        text = toy.write(tmp_path / "report.html", tmp_path).text
        assert said in text and ("lack positives in one of the settings" in text) == graded
