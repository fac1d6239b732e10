"""A cascade keeps what it promises on what it was learnt from, and saves no more than it may."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ames_lite.errors import BadInput
from ames_lite.reranking.cascade import Cascade, fit_cascade


def a_set(seed: int, junk: float) -> tuple[Any, Any, Any]:
    """Cheap logits, final scores, and which candidates count, of 30 queries and 40 candidates."""
    rng = np.random.default_rng(seed)
    scores = rng.random((30, 40)).astype(np.float32)
    return scores + rng.normal(0, 0.2, scores.shape), scores, rng.random(scores.shape) >= junk


def kept(cheap: Any, scores: Any, counted: Any, least: float, top: int) -> float:
    """The share of the head's first places that a bound keeps, query by query."""
    found = []
    for c, s, k in zip(cheap, scores, counted, strict=True):
        order = sorted(np.flatnonzero(k), key=lambda n: -s[n])[:top]
        found += [c[n] >= least for n in order]
    return float(np.mean(found))


@pytest.mark.parametrize("junk", [0.0, 0.3])
@pytest.mark.parametrize("recall", [0.9, 0.99, 0.999])
def test_the_bound_is_the_highest_that_keeps_the_share(recall: float, junk: float) -> None:
    cheap, scores, counted = a_set(0, junk)
    found = fit_cascade("elvis", "digest", cheap, scores, counted, top=5, recall=recall)
    assert kept(cheap, scores, counted, found.least, 5) >= recall
    assert kept(cheap, scores, counted, np.nextafter(found.least, np.inf), 5) < recall
    assert found.share == found.passes(cheap)[counted].mean() < 1


def test_the_best_of_the_cheap_model_pass_in_any_case() -> None:
    cheap = a_set(1, 0)[0]
    none = Cascade("elvis", "digest", least=1e9, top=3).passes(cheap)
    assert (none.sum(axis=1) == 3).all()
    assert (cheap[none].reshape(30, 3).min(1) >= np.sort(cheap, axis=1)[:, -3]).all()
    assert Cascade("elvis", "digest", least=-1e9, top=3).passes(cheap).all()


def test_it_comes_back_from_json_and_anything_else_is_refused() -> None:
    found = Cascade("elvis", "digest", 3.5, 10, 0.999, 0.25)
    assert Cascade.from_json(found.as_json()) == found
    for changed in (
        {"least": "x"},
        {"least": float("nan")},
        {"top": 0},
        {"recall": 2},
        {"more": 1},
    ):
        with pytest.raises(BadInput):
            Cascade.from_json({**found.as_json(), **changed})
    with pytest.raises(BadInput, match="no candidate counts"):
        fit_cascade("elvis", "digest", *a_set(2, 1.0))
