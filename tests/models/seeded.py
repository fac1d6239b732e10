"""Heads and descriptors that are the same on every machine: filled from a seed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ames_lite.models import AMES, Chamfer, ELViS, SimilarityHead

FORMS: dict[str, dict[str, Any]] = {
    "fp": {},
    "prenorm": {"pre_norm": True},
    "binary": {"binary": True},
}


def seeded_head(seed: int = 0, **arguments: Any) -> AMES:
    """A small AMES in eval mode; every parameter far from what an initialisation gives."""
    head = AMES(**{"dim_in": 48, "dim_feedforward": 96, **arguments})
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(head.named_parameters()):
            noise = torch.randn(parameter.shape, generator=generator)
            is_gain = "norm" in name and name.endswith("weight")
            parameter.copy_(1 + 0.1 * noise if is_gain else 0.15 * noise)
    return head.eval()


def seeded_elvis(seed: int = 0, **arguments: Any) -> ELViS:
    """A small ELViS in eval mode whose votes differ widely."""
    head = ELViS(**{"dim_in": 48, "dim": 32, **arguments})
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(head.named_parameters()):
            noise = torch.randn(parameter.shape, generator=generator)
            is_gain = name in ("remap_local.1.weight", "f.1.weight")
            parameter.copy_(1 + 0.1 * noise if is_gain else 0.4 * noise)
    return head.eval()


# Every head, in every form that computes differently.
EVERY_HEAD: dict[str, Callable[[], SimilarityHead]] = {
    **{name: partial(seeded_head, 9, **form) for name, form in FORMS.items()},
    "elvis": partial(seeded_elvis, 9, count_padding=False),
    "elvis_published": partial(seeded_elvis, 9),
    "chamfer": partial(Chamfer, dim_in=48),
}


def descriptors(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def padding(*counts: int, total: int) -> Tensor:
    """[B, total] bool, True on padding: image i has its first counts[i] descriptors."""
    return torch.arange(total)[None] >= torch.tensor(counts)[:, None]


def biggest_difference(a: Tensor, b: Tensor) -> float:
    assert a.shape == b.shape
    return (a.double() - b.double()).abs().max().item()
