"""Chamfer against the naive referee, and what it means."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ames_lite.errors import ConfigError
from ames_lite.io.checkpoint import HeadMeta, load_head, save_head
from ames_lite.models import Chamfer, build_head
from tests.models.measure import LargestTensor
from tests.models.naive import Pair, naive_chamfer
from tests.models.seeded import biggest_difference, descriptors, padding

QUERY, GALLERY = descriptors(5, 5, 12, 48), descriptors(6, 5, 8, 48)
PADDING = padding(12, 9, 1, 0, 5, total=12), padding(8, 8, 3, 1, 0, total=8)


@pytest.mark.parametrize(
    "pair",
    [
        (QUERY, PADDING[0], GALLERY, PADDING[1]),
        (QUERY, None, GALLERY, PADDING[1]),
        (QUERY, PADDING[0], GALLERY, None),
        (QUERY, None, GALLERY, None),
    ],
    ids=["padded", "gallery padded", "query padded", "unpadded"],
)
def test_logits_are_the_naive_ones(pair: Pair) -> None:
    logits = Chamfer()(*pair)
    assert biggest_difference(logits, naive_chamfer(pair)) < 1e-6


def test_a_worked_example() -> None:
    query = torch.tensor([[[1.0, 0.0], [0.0, 2.0]]])
    gallery = torch.tensor([[[3.0, 4.0]]])
    # query: cosines 0.6 and 0.8, their mean 0.7; gallery: the better of them, 0.8
    assert Chamfer()(query, None, gallery).item() == pytest.approx(0.75)


def test_an_image_is_most_like_itself_and_least_like_nothing() -> None:
    head = Chamfer()
    assert head(QUERY, None, QUERY.flip(1)).tolist() == pytest.approx([1.0] * 5)
    opposite = head(QUERY[:, :1], None, -QUERY[:, :1])
    nothing = head(QUERY, torch.ones(5, 12, dtype=torch.bool), GALLERY)
    assert opposite.tolist() == pytest.approx([-1.0] * 5) and nothing.tolist() == [-1.0] * 5


def test_the_sides_are_equal_and_lengths_do_not_matter() -> None:
    head = Chamfer()
    logits = head(QUERY, PADDING[0], GALLERY, PADDING[1])
    swapped = head(7 * GALLERY, PADDING[1], 0.1 * QUERY, PADDING[0])
    assert biggest_difference(logits, swapped) < 1e-6


def test_a_descriptor_of_zeros_is_like_none() -> None:
    assert Chamfer()(torch.zeros(1, 2, 8), None, torch.ones(1, 3, 8)).item() == 0


def test_gradients_reach_the_descriptors() -> None:
    query = QUERY.clone().requires_grad_()
    Chamfer()(query, PADDING[0], GALLERY, PADDING[1]).sum().backward()
    assert query.grad is not None and query.grad.isfinite().all()
    assert (query.grad[PADDING[0]] == 0).all() and query.grad.abs().max() > 0


def test_it_has_no_parameters_and_survives_the_disk(tmp_path: Path) -> None:
    head = build_head("chamfer", dim_in=48)
    assert head.marker is None and not head.state_dict() and head.device == torch.device("cpu")
    save_head(tmp_path, head, HeadMeta("sift", lamb=0.5, temp=2.0))
    again, meta = load_head(tmp_path)
    assert again.arguments == {"dim_in": 48} and meta.temp == 2.0
    assert torch.equal(again(QUERY, None, GALLERY), head(QUERY, None, GALLERY))
    with pytest.raises(ConfigError, match="dim_in is 0"):
        Chamfer(0)
    with pytest.raises(ConfigError, match="no parameters"):
        Chamfer.arguments_from_state({})


@torch.no_grad()
def test_memory_does_not_grow_with_the_number_of_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    head, num = Chamfer(), 64
    monkeypatch.setattr("ames_lite.models.head.CPU_BLOCK_ENTRIES", 4 * num * num)
    query = head.encode(descriptors(1, 1, num, 16))
    for pairs in (8, 32):
        gallery = head.encode(descriptors(2, pairs, num, 16))
        with LargestTensor() as largest:
            head.score(query, gallery)
        assert largest.numel == 4 * num * num
