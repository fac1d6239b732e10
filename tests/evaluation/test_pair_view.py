"""What a page draws of a pair is what `explain` says; what cannot be explained says why."""

from __future__ import annotations

import base64
from dataclasses import replace

import numpy as np
import pytest
import torch

from ames_lite.errors import BadInput
from ames_lite.evaluation.pair_view import CELLS, WHOLE, Heat, Pair, PairViews, pair_view
from ames_lite.models import SimilarityHead, build_head
from ames_lite.records import LocalDescriptors
from ames_lite.reranking import explain as explaining
from ames_lite.reranking.explain import explain
from ames_lite.reranking.verification import MutualNearest, Ransac


def described(seed: int, count: int = 30, size: tuple[int, int] = (300, 200)) -> LocalDescriptors:
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((count, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True) + 1e-9
    weight = np.sort(rng.random(count).astype(np.float32))[::-1]
    xy = rng.random((count, 2)).astype(np.float32)
    return LocalDescriptors(vectors, xy, np.ones(count, np.uint8), weight, size)


def cells(heat: Heat) -> np.ndarray:
    levels = np.frombuffer(base64.b64decode(heat.data), np.uint8)
    return levels.reshape(heat.height, heat.width)


SCORERS = {
    "chamfer": build_head("chamfer"),
    "mutual_nn": MutualNearest(threshold=0.2),
    "ransac": Ransac(),
}


@pytest.mark.parametrize("name", SCORERS)
def test_matches_and_box_are_those_of_the_explanation(name: str) -> None:
    query, candidate = described(0), described(0, size=(100, 400))
    found = explain(SCORERS[name], query, candidate, (10, 20, 150, 250))
    view = pair_view(SCORERS[name], query, candidate, (10, 20, 150, 250))
    matches = found.matches()
    assert len(view.matches) == len(matches) > 3 and view.trouble == ""
    for (q, c), (x1, y1, x2, y2, weight) in zip(matches, view.matches, strict=True):
        assert np.abs(np.array([x1, y1]) - WHOLE * query.xy[q]).max() <= 0.5
        assert np.abs(np.array([x2, y2]) - WHOLE * candidate.xy[c]).max() <= 0.5
        assert abs(weight - WHOLE * found.weights[q, c] / found.weights.max()) <= 0.51
    assert found.box is not None and view.box is not None
    in_pixels = np.array(view.box) / WHOLE * (400, 100, 400, 100)
    assert np.abs(in_pixels - found.box).max() <= 0.5 * 400 / WHOLE


def test_heat_lies_where_the_weight_is(monkeypatch: pytest.MonkeyPatch) -> None:
    query, candidate = described(0), described(1, size=(100, 400))

    def one_heavy(*_: object) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        of_query, of_candidate = (np.full(30, -1.0, np.float32) for _ in range(2))
        of_query[3], of_candidate[5] = 0.2, 7.0
        return np.outer(of_query, of_candidate).astype(np.float32), of_query, of_candidate

    monkeypatch.setattr(explaining, "_of_head", one_heavy)
    view = pair_view(SCORERS["chamfer"], query, candidate)
    for heat, image, row in zip(view.heat, (query, candidate), (3, 5), strict=True):
        levels, (height, width) = cells(heat), image.size
        assert max(heat.width, heat.height) == CELLS and levels.max() == 255
        assert heat.width / heat.height == pytest.approx(width / height, rel=0.1)
        y, x = np.unravel_index(levels.argmax(), levels.shape)
        assert x == int(image.xy[row, 0] * heat.width) and y == int(image.xy[row, 1] * heat.height)


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (7, 3)])
def test_images_of_any_size_have_heat(size: tuple[int, int]) -> None:
    view = pair_view(SCORERS["mutual_nn"], described(0, size=size), described(0, size=size))
    assert all(cells(heat).size for heat in view.heat)
    assert all(0 <= x <= WHOLE for line in view.matches for x in line)


def test_what_cannot_be_explained_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    fine, empty = described(0), described(1, count=0)
    nowhere = replace(fine, xy=np.full_like(fine.xy, np.nan))
    head = SCORERS["chamfer"]
    assert "the query has no descriptors" in pair_view(head, empty, fine).trouble
    assert "the image has no descriptors" in pair_view(head, fine, empty).trouble
    assert "positions" in pair_view(head, fine, nowhere).trouble

    def unreadable(row: int) -> LocalDescriptors:
        raise BadInput(f"row {row} failed in extraction", where="store")

    views = PairViews(head, lambda row: fine, unreadable)
    view = views.of([Pair(0, 7, None)])[0][7]
    assert "row 7 failed" in view.trouble and not view.matches

    monkeypatch.setattr(type(head), "_explain", SimilarityHead._explain)
    view = PairViews(head, lambda row: fine, lambda row: fine).of([Pair(0, 1, None)])[0][1]
    assert "no explanation" in view.trouble


def test_weights_that_are_no_numbers_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    head, fine = SCORERS["chamfer"], described(0)

    def nan_weights(*_: object) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        some = np.ones(30, np.float32)
        return np.full((30, 30), np.nan, np.float32), some, some

    monkeypatch.setattr(explaining, "_of_head", nan_weights)
    view = PairViews(head, lambda row: fine, lambda row: fine).of([Pair(0, 1, None)])[0][1]
    assert "NaN" in view.trouble and not view.heat


def test_views_do_not_depend_on_the_threads_that_make_them() -> None:
    torch.manual_seed(0)
    head = build_head("ames", dim_in=16, dim=32, num_heads=2)
    pairs = [Pair(q, c, None) for q in range(3) for c in range(4)]
    together = PairViews(head, described, lambda row: described(row + 10)).of(pairs)
    for pair in pairs:
        alone = pair_view(head, described(pair.query), described(pair.candidate + 10))
        assert together[pair.query][pair.candidate] == alone
