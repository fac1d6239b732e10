"""What heads say of a pair of images: laws of the weights; scoring does nothing for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from ames_lite.models import SimilarityHead
from ames_lite.models.blocks import Layout, PairAttention, PairLayer
from ames_lite.models.head import PairWeights
from tests.models.seeded import (
    EVERY_HEAD,
    FORMS,
    biggest_difference,
    descriptors,
    padding,
    seeded_elvis,
    seeded_head,
)

QUERY, GALLERY = descriptors(5, 5, 12, 48), descriptors(6, 5, 8, 48)
REAL = ~padding(12, 9, 1, 12, 5, total=12), ~padding(8, 8, 3, 1, 6, total=8)
every_head = pytest.mark.parametrize("build", EVERY_HEAD.values(), ids=EVERY_HEAD)
Build = Callable[[], SimilarityHead]


def explained(head: SimilarityHead, q: Any = slice(None), t: Any = slice(None)) -> PairWeights:
    query = head.encode(QUERY[:, q], REAL[0][:, q])
    return head.explain(query, head.encode(GALLERY[:, t], REAL[1][:, t], gallery=True))


def score(head: SimilarityHead) -> Tensor:
    found = head.score(head.encode(QUERY, REAL[0]), head.encode(GALLERY, REAL[1], gallery=True))
    assert isinstance(found, Tensor)
    return found


@every_head
@torch.no_grad()
def test_weights_follow_the_descriptors_and_padding_has_none(build: Build) -> None:
    head, generator = build(), torch.Generator().manual_seed(0)
    found = explained(head)
    assert found.pairs.shape == (5, 12, 8) and found.query.shape == (5, 12)
    assert all(bool(part.isfinite().all()) for part in found)
    both = REAL[0][:, :, None] & REAL[1][:, None]
    for part, real in zip(found, (both, *REAL), strict=True):
        assert not part[~real].any() and part[real].any()
    q, t = torch.randperm(12, generator=generator), torch.randperm(8, generator=generator)
    moved = explained(head, q, t)
    assert biggest_difference(moved.pairs, found.pairs[:, q][:, :, t]) < 5e-5
    assert biggest_difference(moved.query, found.query[:, q]) < 5e-5


@torch.no_grad()
def test_weights_of_chamfer_sum_to_the_logit() -> None:
    head = EVERY_HEAD["chamfer"]()
    assert biggest_difference(explained(head).pairs.sum((1, 2)), score(head)) < 1e-6


@torch.no_grad()
@pytest.mark.parametrize("count_padding", [True, False])
def test_weights_of_elvis_sum_to_what_matches_add_to_the_votes(count_padding: bool) -> None:
    head = seeded_elvis(9, count_padding=count_padding)
    none = head._votes(torch.zeros(1, 1), None)[0, 0]
    counts = sum(real.sum(1) for real in REAL)
    found = explained(head)
    assert biggest_difference(found.pairs.sum((1, 2)), score(head) - none * counts) < 1e-5
    assert biggest_difference(found.query.sum(1), found.gallery.sum(1)) < 1e-5


@torch.no_grad()
@pytest.mark.parametrize("form", FORMS)
def test_attention_of_ames_is_that_of_plain_softmax(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first cross-attention and the match token's last, pair by pair, from whole matrices."""
    head = seeded_head(9, **FORMS[form], num_layers=3)
    found, heads, taken = explained(head), head.num_heads, []
    read_match = PairLayer.read_match

    def noted(layer: PairLayer, x: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
        taken.append(x)
        return read_match(layer, x, layout)

    monkeypatch.setattr(PairLayer, "read_match", noted)
    assert biggest_difference(found.pairs.sum((1, 2)), torch.ones(5)) < 1e-5
    for pair in range(5):
        q, t = (int(real[pair].sum()) for real in REAL)
        query = head.encode(QUERY[pair : pair + 1, :q])
        gallery = head.encode(GALLERY[pair : pair + 1, :t], gallery=True)
        first, last = head.decoder.layers[0], head.decoder.layers[-1]
        layout = torch.arange(q + 1 + t)
        _, crossing = first.join(head.mtc_token, query, gallery)
        shares = plain_shares(crossing[0], heads)
        seen = shares[:, :q][:, :, layout >= q].softmax(-1).mean(0)[:, 1:]
        back = shares[:, q + 1 :][:, :, layout <= q].softmax(-1).mean(0)[:, :-1]
        product = seen * back.T
        assert biggest_difference(found.pairs[pair, :q, :t], product / product.sum()) < 1e-5
        head.score(query, gallery)
        x = last._before(last.norm2, taken.pop())
        read = plain_shares(last.cross_attn.project(x)[0], heads)[:, q].softmax(-1).mean(0)
        assert biggest_difference(found.query[pair, :q], read[:q]) < 1e-5
        assert biggest_difference(found.gallery[pair, :t], read[q + 1 :]) < 1e-5


def plain_shares(projections: Tensor, heads: int) -> Tensor:
    """Logits [H, N, N] of projections [N, 3D]."""
    parts = projections.chunk(3, dim=-1)[:2]
    q, k = (part.reshape(len(part), heads, -1).transpose(0, 1) for part in parts)
    return q @ k.transpose(1, 2) / q.shape[-1] ** 0.5


@every_head
@torch.no_grad()
def test_scoring_computes_nothing_of_it(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    head = build()
    before = score(head)

    def never(*_: object) -> None:
        raise AssertionError("computed although nobody asked")

    monkeypatch.setattr(PairAttention, "across", never)
    monkeypatch.setattr(type(head), "_explain", never)
    monkeypatch.setattr("ames_lite.models.elvis.transport_plan", never)
    assert torch.equal(score(head), before)
