"""One example a protocol, small enough to check by eye; the arithmetic stands beside it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from ames_lite.evaluation.passes import Cell, pairs_to_score
from ames_lite.evaluation.protocols import Evaluation, evaluate_ranking, get_protocol
from ames_lite.records import GroundTruth, Neighbors, PairScores
from tests.evaluation.toy import evaluate_reranked, judged

Lists = list[list[int]]


def excluded(found: Evaluation) -> dict[str, int]:
    """Queries without a positive, by setting."""
    return {setting: int(np.isnan(ap).sum()) for setting, ap in found.ap.items()}


def ground_truth(
    gallery: int, easy: Lists, hard: Lists | None = None, junk: Lists | None = None
) -> GroundTruth:
    """Queries named q0, q1, ...; without hard and junk the lists are positives alone."""
    none: Lists = [[] for _ in easy]
    grades = [[np.array(rows, np.int64) for rows in lists or none] for lists in (easy, hard, junk)]
    return GroundTruth(
        tuple(f"q{i}" for i in range(len(easy))),
        tuple(f"g{i}" for i in range(gallery)),
        *(tuple(rows) for rows in grades),
        bbox=(None,) * len(easy),
        graded=hard is not None,
    )


def ranked(*rows: list[int]) -> np.ndarray:
    return np.array(rows, np.int32)


def test_revisitop_easy_medium_and_hard() -> None:
    # Two queries over eight images; E easy, H hard, J junk, . neither.
    #   q0:  place  1 2 3 4 5 6 7 8        q1:  place  1 2 3 4 5 6 7 8
    #        id     6 2 0 5 1 3 4 7             id     7 6 5 4 3 2 1 0
    #        is     J E . H E . H J             is     H . J H . . . .     no easy positive
    truth = ground_truth(8, easy=[[2, 1], []], hard=[[5, 4], [7, 4]], junk=[[6, 7], [5]])
    ids = ranked([6, 2, 0, 5, 1, 3, 4, 7], [7, 6, 5, 4, 3, 2, 1, 0])
    found = evaluate_ranking(ids, truth, "revisitop")

    # A trapezoid of the j-th positive (from 0) at rank r (from 0, junk left out) is the mean of
    # j/r before it (1 at r = 0) and (j+1)/(r+1) with it.
    #
    # Easy: right E; left out J and H. q0: 2 0 1 3, positives at ranks 0 and 2:
    #   j=0, r=0: (1 + 1/1)/2 = 1;  j=1, r=2: (1/2 + 2/3)/2 = 7/12;  AP = (1 + 7/12)/2 = 19/24
    #   mP@1 = 1/1; mP@5 and mP@10 stop at the last positive, place 3: 2/3
    # q1 has no easy positive: its AP is nan, and it counts in no mean.
    assert found.metrics["map_easy"] == pytest.approx(19 / 24, abs=1e-15)
    assert found.metrics["mp@1_easy"] == 1
    assert found.metrics["mp@5_easy"] == pytest.approx(2 / 3, abs=1e-15)
    assert found.metrics["mp@10_easy"] == pytest.approx(2 / 3, abs=1e-15)
    assert excluded(found) == {"easy": 1, "medium": 0, "hard": 0}
    assert math.isnan(found.ap["easy"][1])

    # Medium: right E and H; left out J. q0: 2 0 5 1 3 4, positives at ranks 0, 2, 3, 5:
    #   1;  (1/2 + 2/3)/2 = 7/12;  (2/3 + 3/4)/2 = 17/24;  (3/5 + 4/6)/2 = 19/30
    #   AP = (120 + 70 + 85 + 76)/120 / 4 = 351/480
    #   mP@1 = 1; mP@5 = 3/5; mP@10: up to place 6, 4/6
    # q1: 7 6 4 3 2 1 0, positives at ranks 0 and 2: AP = 19/24 as above; mP 1, 2/3, 2/3
    assert found.ap["medium"] == pytest.approx([351 / 480, 19 / 24], abs=1e-15)
    assert found.metrics["map_medium"] == pytest.approx((351 / 480 + 19 / 24) / 2, abs=1e-15)
    assert found.metrics["mp@1_medium"] == 1
    assert found.metrics["mp@5_medium"] == pytest.approx((3 / 5 + 2 / 3) / 2, abs=1e-15)
    assert found.metrics["mp@10_medium"] == pytest.approx((4 / 6 + 2 / 3) / 2, abs=1e-15)

    # Hard: right H; left out J and E. q0: 0 5 3 4, positives at ranks 1 and 3:
    #   (0/1 + 1/2)/2 = 1/4;  (1/3 + 2/4)/2 = 5/12;  AP = (1/4 + 5/12)/2 = 1/3
    #   mP@1 = 0/1; mP@5 and mP@10: up to place 4, 2/4
    # q1 has no easy image that could be left out: as in medium
    assert found.ap["hard"] == pytest.approx([1 / 3, 19 / 24], abs=1e-15)
    assert found.metrics["map_hard"] == pytest.approx((1 / 3 + 19 / 24) / 2, abs=1e-15)
    assert found.metrics["mp@1_hard"] == (0 + 1) / 2
    assert found.metrics["mp@5_hard"] == pytest.approx((2 / 4 + 2 / 3) / 2, abs=1e-15)

    both = found.metrics["map_medium"], found.metrics["map_hard"]
    assert found.metrics["map"] == pytest.approx(sum(both) / 2, abs=1e-15)
    wanted = [(351 / 480 + 1 / 3) / 2, (19 / 24 + 19 / 24) / 2]
    assert found.main_ap == pytest.approx(wanted, abs=1e-15)


def test_revisitop_reranked_with_its_scores() -> None:
    # One query, five images, num_rerank 2, lamb 1/2, temp 2. Logits are such that the sigmoid is
    # easy: sigmoid(2 * ln(3)/2) = 3/4, of minus that 1/4, of 0 1/2.
    #   place  1    2    3    4    5
    #   id     3    0    4    1    2
    #   is     E    .    J    .    H
    #   sim   .90  .80  .70  .60  .50
    truth = ground_truth(5, easy=[[3]], hard=[[2]], junk=[[4]])
    sims = np.array([[0.9, 0.8, 0.7, 0.6, 0.5]], np.float32)
    neighbors = Neighbors(ranked([3, 0, 4, 1, 2]), sims, 5)
    third = math.log(3) / 2
    logits = {3: -third, 0: third, 1: 0.0, 2: third}

    # Medium moves 4 to the end and reranks 3 and 0:
    #   3: .45 + (1/4)/2 = .575;  0: .40 + (3/4)/2 = .775;  so 0 3 1 2, positives at ranks 1 and 3:
    #   AP = ((0 + 1/2)/2 + (1/3 + 2/4)/2) / 2 = 1/3     (unranked: 3 0 1 2, (1 + 5/12)/2 = 17/24)
    # Hard moves 4 and 3 to the end and reranks 0 and 1, whose order stays:
    #   0: .775;  1: .30 + (1/2)/2 = .55;  so 0 1 2, the positive at rank 2: (0/2 + 1/3)/2 = 1/6
    # Easy moves 4 and 2 to the end and reranks 3 and 0: 0 3 1, the positive at rank 1: 1/4
    query, gallery = pairs_to_score(judged(neighbors, truth), 2)
    assert gallery.tolist() == [0, 1, 3]  # neither the junk nor what no pass reaches
    values = np.array([logits[row] for row in gallery.tolist()], np.float32)
    scores = PairScores(query, gallery, values)
    cell = Cell(num_rerank=2, lamb=0.5, temp=2.0)
    found = evaluate_reranked(judged(neighbors, truth), scores, cell).metrics
    assert found["map_medium"] == pytest.approx(1 / 3, abs=1e-15)
    assert found["map_hard"] == pytest.approx(1 / 6, abs=1e-15)
    assert found["map_easy"] == pytest.approx(1 / 4, abs=1e-15)
    assert found["map"] == pytest.approx((1 / 3 + 1 / 6) / 2, abs=1e-15)
    before = evaluate_ranking(neighbors, truth, "revisitop").metrics
    assert before["map_medium"] == pytest.approx(17 / 24, abs=1e-15)


def test_gldv2_counts_at_most_a_hundred_positives_and_a_hundred_places() -> None:
    # Four queries over 130 images, all ranked 0, 1, 2, ...; the last two queries are private.
    #   q0: 0 to 109 are right: the first 100 places are all right, 100 / min(100, 110) = 1
    #   q1: 1 and 3 are right, at places 2 and 4: (1/2 + 2/4) / min(100, 2) = 1/2
    #   q2: 2 and 100 are right, at places 3 and 101, and 101 is too late: (1/3) / 2 = 1/6
    #   q3: nothing is right: it counts nowhere
    truth = ground_truth(130, [list(range(110)), [1, 3], [2, 100], []])
    protocol = replace(get_protocol("gldv2"), private=2)
    found = evaluate_ranking(ranked(*[list(range(130))] * 4), truth, protocol)
    assert found.metrics == pytest.approx(
        {
            "map@100": (1 + 1 / 2 + 1 / 6) / 3,
            "map@100_public": (1 + 1 / 2) / 2,
            "map@100_private": 1 / 6,
        },
        abs=1e-15,
    )
    assert excluded(found) == {"all": 1}


def test_instance_has_average_precision_and_recall() -> None:
    # Three queries over 101 images, ranked 0, 1, 2, ...
    #   q0: 0 and 2: (1/1 + 2/3) / 2 = 5/6; found at 1
    #   q1: 9 and 10: (1/10 + 2/11) / 2 = 31/220; not found at 1, found at 10 (the tenth place)
    #   q2: 100, the place after the hundredth: 0, and found nowhere
    truth = ground_truth(101, [[0, 2], [9, 10], [100]])
    found = evaluate_ranking(ranked(*[list(range(101))] * 3), truth, "instance").metrics
    assert found == pytest.approx(
        {
            "map@100": (5 / 6 + 31 / 220) / 3,
            "recall@1": 1 / 3,
            "recall@10": 2 / 3,
            "recall@100": 2 / 3,
        },
        abs=1e-15,
    )


def test_instance_reranked() -> None:
    # One query over five images, all of them reranked; lamb 1/4, temp 1. A logit of ln 3 gives
    # 3/4, of 0 gives 1/2, of -ln 3 gives 1/4.
    #   id      4     1     0     3     2
    #   sim    .8    .6    .4    .2    .0
    #   logit -ln3  -ln3   0     ln3   ln3
    #   score .3875 .3375 .475  .6125 .5625      (.25 * .8 + .75 * 1/4 = .2 + .1875, ...)
    # new order: 3 2 0 4 1. Right are 3 and 4: places 1 and 4, (1/1 + 2/4) / 2 = 3/4; before, they
    # stood at places 4 and 1: (1/1 + 2/4) / 2, the same. Right are 0 and 2: places 3 and 2, so
    # (1/2 + 2/3) / 2 = 7/12; before at places 3 and 5: (1/3 + 2/5) / 2 = 11/30.
    sims = np.array([[0.8, 0.6, 0.4, 0.2, 0.0]] * 2, np.float32)
    neighbors = Neighbors(ranked([4, 1, 0, 3, 2], [4, 1, 0, 3, 2]), sims, 5)
    logits = np.log([[1 / 3, 1 / 3, 1, 3, 3]] * 2)
    truth = ground_truth(5, [[3, 4], [0, 2]])
    rows = np.repeat(np.arange(2), 5)
    scores = PairScores(rows, neighbors.ids.ravel(), logits.ravel().astype(np.float32))
    cell = Cell(num_rerank=5, lamb=0.25, temp=1.0)
    found = evaluate_reranked(judged(neighbors, truth, "instance"), scores, cell)
    assert found.main_ap == pytest.approx([3 / 4, 7 / 12], abs=1e-15)
    assert evaluate_ranking(neighbors, truth, "instance").main_ap == pytest.approx(
        [3 / 4, 11 / 30], abs=1e-15
    )
    # recall@1: 3 comes first, right for the first query; before, 4 did, right for it too
    assert found.metrics["recall@1"] == 1 / 2


def test_vpr_asks_whether_any_place_in_reach_is_right() -> None:
    # Five queries over 25 images, ranked 0, 1, 2, ...; right is the image at place
    #   q0: 1;   q1: 5 (and 25);   q2: 6;   q3: 21, one beyond the last reach;   q4: none
    # so of the four that count 1 is found at 1; 2 at 5; 3 at 10; 3 at 20.
    # The average precision that comparisons go by sees 20 places:
    #   q0: 1;  q1: (1/5) / 2 = 1/10;  q2: 1/6;  q3: 0
    truth = ground_truth(25, [[0], [4, 24], [5], [20], []])
    found = evaluate_ranking(ranked(*[list(range(25))] * 5), truth, "vpr")
    assert {key: found.metrics[key] for key in found.metrics if "recall" in key} == {
        "recall@1": 1 / 4,
        "recall@5": 2 / 4,
        "recall@10": 3 / 4,
        "recall@20": 3 / 4,
    }
    assert found.main_ap == pytest.approx([1, 1 / 10, 1 / 6, 0, math.nan], nan_ok=True, abs=1e-15)
    assert found.metrics["map@20"] == pytest.approx((1 + 1 / 10 + 1 / 6) / 4, abs=1e-15)
    assert excluded(found) == {"all": 1}
