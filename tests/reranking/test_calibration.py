"""A score as a probability, and the share of queries that get a false answer."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.special import expit

from ames_lite.errors import BadInput
from ames_lite.reranking.calibration import (
    Bin,
    Calibration,
    Curve,
    Outcome,
    fit_calibration,
    reliability,
)


def drawn(queries: int = 300, candidates: int = 40, seed: int = 0) -> Outcome:
    """Candidates that are right with a known probability of their score: expit(6 s - 3)."""
    rng = np.random.default_rng(seed)
    scores = rng.random((queries, candidates))
    right = rng.random(scores.shape) < expit(6 * scores - 3)
    return Outcome(scores, right, np.ones(scores.shape, bool))


def test_the_probability_is_the_one_that_labels_were_drawn_with() -> None:
    fitted = fit_calibration({"val": drawn()})
    scores = np.linspace(0.05, 0.95, 19)
    assert np.abs(fitted.pairs(scores) - expit(6 * scores - 3)).max() < 0.06
    assert fitted.pairs.error < 0.02


def test_the_probability_never_falls_with_the_score() -> None:
    for seed in range(5):
        fitted = fit_calibration({"val": drawn(20, 5, seed)})
        for curve in (fitted.pairs, fitted.first):
            p = curve(np.linspace(-1, 2, 301))
            assert (np.diff(p) >= 0).all() and p.min() >= 0 and p.max() <= 1
        p = fitted.probability(np.sort(np.random.default_rng(seed).random((50, 7)))[:, ::-1])
        assert p.shape == (50, 7) and (np.diff(p, axis=1) <= 0).all()


def test_of_first_places_half_have_no_right_image() -> None:
    """Referee: a table of scores, each query as it is and without its right candidates."""
    outcome = drawn(4000, 3)
    told: dict[str, list[bool]] = {"low": [], "high": []}
    for scores, right in zip(outcome.scores, outcome.right, strict=True):
        for kept in (np.ones(3, bool), ~right):
            if kept.any():
                best = np.flatnonzero(kept)[scores[kept].argmax()]
                key = "high" if scores[best] > 0.9 else "low" if scores[best] < 0.5 else ""
                told.setdefault(key, []).append(bool(right[best]))
    scores, right, _ = outcome.first()
    fitted = fit_calibration({"val": outcome}).first
    for key, chosen in (("low", scores < 0.5), ("high", scores > 0.9)):
        assert right[chosen].mean() == pytest.approx(np.mean(told[key]))
        assert fitted(scores[chosen]).mean() == pytest.approx(np.mean(told[key]), abs=0.02)
    assert fitted.error < 0.03


def test_isotonic_steps_are_those_of_pooling_adjacent_violators() -> None:
    scores, right = np.array([[0.1, 0.2, 0.3, 0.4, 0.5]]), np.array([[0, 1, 0, 1, 1]], bool)
    fitted = fit_calibration({"val": Outcome(scores, right, np.ones((1, 5), bool))})
    # 0.2 and 0.3 violate the order and are pooled to one half
    assert fitted.pairs.scores == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert fitted.pairs.probabilities == pytest.approx([0, 0.5, 0.5, 1, 1])


def test_what_a_curve_was_fitted_on_it_is_calibrated_for() -> None:
    for seed in range(3):
        outcome = drawn(60, 5, seed)
        scores, right, _ = outcome.first()
        fitted = fit_calibration({"val": outcome}).first
        assert replace(fitted, reliability=reliability(fitted(scores), right)).error < 1e-9


def test_of_unseen_queries_without_a_right_image_the_promised_share_is_answered() -> None:
    known, shares = drawn(199), []
    for seed in range(1, 30):
        threshold = fit_calibration({"val": known}).threshold(0.1)
        shares.append((drawn(400, seed=seed).absent > threshold).mean())
    # one calibration set of 199: its own share is Beta(20, 180) around 0.1
    assert np.mean(shares) <= 0.17
    by_set = [
        (
            drawn(400, seed=1000 + s).absent
            > fit_calibration({"v": drawn(199, seed=s)}).threshold(0.1)
        )
        for s in range(40)
    ]
    assert np.mean(by_set) <= 0.11  # over calibration sets the promise holds on average


def test_the_strictest_data_set_counts() -> None:
    easy, hard = drawn(99, seed=1), drawn(99, seed=2)
    hard = Outcome(hard.scores + 1, hard.right, hard.counted)
    both = fit_calibration({"easy": easy, "hard": hard})
    assert both.threshold(0.05) == fit_calibration({"hard": hard}).threshold(0.05)


def test_a_threshold_is_refused_where_too_few_queries_can_promise_it() -> None:
    fitted = fit_calibration({"val": drawn(9)})
    assert fitted.threshold(0.1) == fitted.absent["val"][-1]
    with pytest.raises(BadInput, match="only 9 queries of val tell"):
        fitted.threshold(0.05)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, float("nan"), 5.0])
def test_a_share_is_between_0_and_1(share: float) -> None:
    with pytest.raises(BadInput, match="max_false"):
        fit_calibration({"val": drawn(50)}).threshold(share)


def test_the_score_of_a_probability_has_that_probability() -> None:
    fitted = fit_calibration({"val": drawn()}).pairs
    for p in (0.2, 0.5, 0.8):
        assert fitted(np.array([fitted.score_of(p)]))[0] == pytest.approx(p)
    assert Curve((0.0, 1.0), (0.1, 0.6)).score_of(0.7) == np.inf
    with pytest.raises(BadInput):
        fitted.score_of(1.5)


def test_junk_counts_on_no_side() -> None:
    outcome = drawn(50)
    with_junk = Outcome(
        np.concatenate([outcome.scores, np.full((50, 1), 9.0)], axis=1),
        np.concatenate([outcome.right, np.zeros((50, 1), bool)], axis=1),
        np.concatenate([outcome.counted, np.zeros((50, 1), bool)], axis=1),
    )
    assert fit_calibration({"val": with_junk}) == fit_calibration({"val": outcome})


def test_reliability_by_hand() -> None:
    p, right = np.array([0.05, 0.07, 0.95, 1.0]), np.array([False, True, True, True])
    rows = reliability(p, right)
    assert [(r.low, r.pairs) for r in rows] == [(0.0, 2), (0.9, 2)]
    curve = Curve((0.1, 0.2), (0.0, 1.0), rows)
    assert curve.error == pytest.approx((2 * 0.44 + 2 * 0.025) / 4)
    assert replace(curve, reliability=()).error == 0


def test_it_survives_json() -> None:
    fitted = fit_calibration({"val": drawn(30)})
    content = json.loads(json.dumps(fitted.as_json()))
    assert Calibration.from_json(content) == fitted
    assert content["ece"] == fitted.pairs.error
    assert content["ece_first"] == fitted.first.error


CURVE: dict[str, Any] = {"scores": [0.1, 0.2], "probabilities": [0.0, 1.0], "reliability": []}


@pytest.mark.parametrize(
    "change",
    [
        {"scores": [0.2, 0.1]},
        {"scores": []},
        {"scores": [0.1]},
        {"probabilities": [0.5, 1.5]},
        {"probabilities": [1.0, 0.5]},
        {"absent": {}},
        {"absent": {"val": []}},
        {"absent": {"val": [float("nan")]}},
        {"absent": [0.3]},
        {"scores": "ab"},
        {"reliability": [{"low": 0}]},
    ],
)
def test_what_is_no_calibration_is_refused(change: dict[str, Any]) -> None:
    whole = {"pairs": CURVE, "first": CURVE, "absent": {"val": [0.3]}}
    assert Calibration.from_json(whole).threshold(0.5) == 0.3
    changed = [{**whole, **change}]
    if "absent" not in change:
        changed = [{**whole, key: {**CURVE, **change}} for key in ("pairs", "first")]
    for content in changed:
        with pytest.raises(BadInput, match="no calibration"):
            Calibration.from_json(content)


def test_only_right_candidates_teach_nothing() -> None:
    ones = np.ones((3, 2))
    with pytest.raises(BadInput, match="6 of 6 candidates are right"):
        fit_calibration({"val": Outcome(ones, ones > 0, ones > 0)})
    assert Bin(0, 0.1, 1, 0.05, 0.0).observed == 0
