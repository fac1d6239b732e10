"""Explanations of a pair: matches, homography and box, on planted descriptors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from ames_lite.errors import BadInput
from ames_lite.models import AMES, ELViS, build_head
from ames_lite.reranking.explain import PairExplanation, explain
from ames_lite.reranking.verification import MutualNearest, Ransac
from tests.reranking.test_verification import a_pair, an_image

HOMOGRAPHY = np.array([[0.8, 0.1, 20], [-0.1, 0.9, 15], [1e-4, 2e-4, 1.0]])  # of a_pair


def ames_that_looks_at_its_like() -> AMES:
    torch.manual_seed(0)
    head = AMES(dim_in=16, dim=32, num_layers=2, dim_feedforward=32)
    with torch.no_grad():
        head.decoder.layers[0].cross_attn.in_proj_weight[:64] = 3 * torch.eye(32).repeat(2, 1)
    return head


def scorers() -> dict[str, object]:
    torch.manual_seed(0)
    return {
        "ames": ames_that_looks_at_its_like(),
        "elvis": ELViS(dim_in=16, dim=32),
        "chamfer": build_head("chamfer"),
        "mutual_nn": MutualNearest(0.9),
        "ransac": Ransac(),
    }


@pytest.mark.parametrize("name", scorers())
def test_the_box_is_where_the_homography_puts_the_region(name: str) -> None:
    query, candidate = a_pair(moved=30)
    region = (60.0, 40.0, 300.0, 250.0)
    found = explain(scorers()[name], query, candidate, region)  # type: ignore[arg-type]
    assert found.weights.shape == (40, 40) and found.box is not None
    corners = np.array([[60, 40, 1], [300, 40, 1], [300, 250, 1], [60, 250, 1]]) @ HOMOGRAPHY.T
    places = corners[:, :2] / corners[:, 2:]
    wanted = [*places.min(axis=0), *places.max(axis=0)]
    np.testing.assert_allclose(found.box, wanted, atol=4)
    matches = found.matches()
    true = np.abs(query.descriptors[matches[:, 0]] - candidate.descriptors[matches[:, 1]])
    assert len(matches) >= 25 and (true.max(axis=1) < 1e-5).mean() > 0.8
    assert len(set(matches[:, 0].tolist())) == len(set(matches[:, 1].tolist())) == len(matches)


def test_what_a_baseline_counts_weighs_1() -> None:
    pair = a_pair(moved=20)
    for verifier in (MutualNearest(0.9), Ransac()):
        found = explain(verifier, *pair)
        assert found.weights.sum() == verifier.score(*pair) == len(found.matches())
        assert set(np.unique(found.weights)) == {0, 1}


@pytest.mark.parametrize("name", scorers())
def test_pairs_that_say_nothing_are_explained_all_the_same(name: str) -> None:
    query, candidate = a_pair(moved=40)
    scorer = scorers()[name]
    nothing = an_image(np.zeros((0, 16)), np.zeros((0, 2)), (300, 400))
    for pair in ((query, nothing), (nothing, query), (nothing, nothing)):
        empty = explain(scorer, *pair)  # type: ignore[arg-type]
        assert not empty.weights.any() and empty.box is None and empty.homography is None
        assert len(empty.matches()) == 0
    lost = replace(candidate, xy=np.full_like(candidate.xy, np.nan))
    if name == "ransac":
        with pytest.raises(BadInput, match="positions are unknown"):
            explain(Ransac(), query, lost)
        return
    found = explain(scorer, query, lost)  # type: ignore[arg-type]
    assert found.weights.any() and found.box is None and found.homography is None


def test_descriptors_of_zeros_weigh_nothing_and_shift_no_row() -> None:
    query, candidate = a_pair(moved=40)
    descriptors = np.array(query.descriptors)
    descriptors[[0, 7]] = 0
    blank = replace(query, descriptors=descriptors)
    for name in ("ames", "elvis", "chamfer"):
        found = explain(scorers()[name], blank, candidate)  # type: ignore[arg-type]
        assert not found.weights[[0, 7]].any() and found.weights[1].any()
        rows = found.matches()
        assert np.abs(descriptors[rows[:, 0]] - candidate.descriptors[rows[:, 1]]).max() < 1e-5


def test_an_image_is_explained_to_itself_as_to_its_copy() -> None:
    """The gallery's side may be encoded otherwise: here its descriptors are rounded."""
    torch.manual_seed(0)
    head, query = AMES(dim_in=16, dim=32, round_gallery_fp16=True), a_pair(moved=40)[0]
    itself, copied = (explain(head, query, other) for other in (query, replace(query)))
    np.testing.assert_array_equal(itself.weights, copied.weights)


def test_without_a_homography_the_box_holds_most_of_the_weight() -> None:
    rng = np.random.default_rng(0)
    values, xy = rng.normal(size=(200, 32)), rng.uniform(0, 1, (2, 200, 2))
    xy[1] = 0.4 + 0.2 * xy[1]
    query, candidate = (an_image(values, places, (100, 200)) for places in xy)
    found: PairExplanation = explain(MutualNearest(0.9), query, candidate)
    assert found.homography is None or found.box is not None
    x1, y1, x2, y2 = found.box  # type: ignore[misc]
    assert 75 < x1 < x2 < 125 and 38 < y1 < y2 < 62


def test_other_descriptors_are_refused() -> None:
    query = a_pair(moved=40)[0]
    wider = an_image(np.random.default_rng(0).normal(size=(5, 24)), np.zeros((5, 2)), (9, 9))
    for scorer in scorers().values():
        with pytest.raises(BadInput, match="16|one width"):
            explain(scorer, query, wider)  # type: ignore[arg-type]
