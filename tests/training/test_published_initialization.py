"""The published initialization has the stated spreads, and heads learn from it."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ames_lite.models import AMES, HEADS, ELViS, SimilarityHead
from ames_lite.models.blocks import PairAttention
from ames_lite.training.initialization import INITIALIZATIONS
from ames_lite.training.model import pair_loss
from tests.models.seeded import descriptors


def initialised(head: SimilarityHead, start: str = "published", seed: int = 0) -> Any:
    name = next(name for name, kind in HEADS.items() if type(head) is kind)
    sample = descriptors(1, 500, head.dim_in)
    INITIALIZATIONS[name][start](head, lambda: sample, torch.Generator().manual_seed(seed))
    return head


def linears(head: nn.Module) -> list[nn.Linear]:
    found = [module for module in head.modules() if isinstance(module, nn.Linear)]
    assert len(found) > 5
    return found


@pytest.mark.parametrize("binary", [False, True])
def test_ames_starts_with_the_published_spreads(binary: bool) -> None:
    head = initialised(AMES(dim_in=256, num_layers=2, binary=binary))
    for linear in linears(head):
        assert linear.weight.std().item() == pytest.approx(0.02, rel=0.25)
        assert abs(linear.weight.mean().item()) < 0.1 * 0.02 + 0.02 / linear.weight.numel() ** 0.5
        assert not linear.bias.any()
    assert head.mtc_token.std().item() == pytest.approx(0.02, rel=0.25)
    attentions = [module for module in head.modules() if isinstance(module, PairAttention)]
    assert len(attentions) == 4
    bound = math.sqrt(6 / (4 * 128))  # Xavier of [3D, D]
    for attention in attentions:
        assert 0.99 * bound < attention.in_proj_weight.abs().max().item() <= bound
        assert not attention.in_proj_bias.any() and not attention.out_proj.bias.any()
    norms = [module for module in head.modules() if isinstance(module, nn.LayerNorm)]
    assert all((norm.weight == 1).all() and not norm.bias.any() for norm in norms)


def test_elvis_starts_with_xavier() -> None:
    head = initialised(ELViS(dim_in=256))
    for linear in linears(head):
        bound = math.sqrt(6 / sum(linear.weight.shape))
        assert 0.7 * bound < linear.weight.abs().max().item() <= bound
        assert not linear.bias.any()
    assert head.dust_bin.item() == 1.0


@pytest.mark.parametrize("name", list(INITIALIZATIONS))
def test_all_that_is_drawn_comes_from_the_generator(name: str) -> None:
    for start in ("published", "matches"):
        heads = []
        for seed in (0, 0, 1):
            torch.manual_seed(5)
            head = initialised(HEADS[name](dim_in=128), start, seed)
            heads.append(head.state_dict())
        assert all(torch.equal(heads[0][key], heads[1][key]) for key in heads[0])
        assert any(not torch.equal(heads[0][key], heads[2][key]) for key in heads[0])


def toy_pairs(generator: torch.Generator) -> Tensor:
    """Descriptors [3, 32, 4, 16] of queries; positives, the same with noise; and negatives."""
    query, noise, negative = torch.randn(3, 32, 4, 16, generator=generator)
    query = F.normalize(query, dim=-1)
    return F.normalize(torch.stack([query, query + 0.1 * noise, negative]), dim=-1)


@pytest.mark.parametrize(
    ("name", "sizes", "lr"),
    [("ames", {"num_layers": 1, "dim_feedforward": 32}, 3e-3), ("elvis", {}, 1e-2)],
)
def test_a_head_learns_from_the_published_initialization(
    name: str, sizes: dict[str, int], lr: float
) -> None:
    """The loss of pairs that were not seen before leaves ln 2, that of chance."""
    head = initialised(HEADS[name](dim_in=16, dim=16, **sizes)).train()
    optimizer = torch.optim.AdamW(head.parameters(), lr=lr, weight_decay=5e-4)
    generator, losses = torch.Generator().manual_seed(1), []
    for _ in range(100):
        query, positive, negative = (head.encode(x) for x in toy_pairs(generator))
        loss = pair_loss(head.score(query, positive), head.score(query, negative))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert abs(losses[0] - math.log(2)) < 0.1
    assert sum(losses[-20:]) / 20 < 0.93 * math.log(2)
