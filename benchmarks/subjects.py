"""What is measured: every head of the visible dict, the dense referee, and images of noise.

The referee is the form of AMES that builds masks and attends from every token to every token, with
`nn.MultiheadAttention` as it comes (`benchmarks/referees/dense.py`); it judges the fast form in the
tests too. It computes in float32 whatever the precision of the head beside it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn

from ames_lite.errors import ConfigError
from ames_lite.models import AMES, HEADS, SimilarityHead, build_head
from ames_lite.runtime import autocast
from benchmarks.referees.dense import DenseAMES

DENSE = "dense"  # the name of the referee among heads
Size = tuple[int, int]  # descriptors of a query, of a gallery image


@dataclass(frozen=True)
class Variant:
    """A head of the visible dict with constructor arguments."""

    head: str
    arguments: dict[str, Any] = field(default_factory=dict)


def variants() -> dict[str, Variant]:
    """All that can be measured, by name: AMES in both forms and every other head."""
    found = {"ames": Variant("ames"), "ames_binary": Variant("ames", {"binary": True})}
    return found | {name: Variant(name) for name in HEADS if name not in found}


def build_variant(name: str, dim_in: int, seed: int, device: torch.device) -> SimilarityHead:
    """The variant of that name, from a seed, in eval mode, frozen. Raises ConfigError."""
    known = variants()
    if name not in known:
        raise ConfigError(f"there is no head '{name}'", expected=f"some of {', '.join(known)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = build_head(known[name].head, dim_in=dim_in, **known[name].arguments)
    return head.to(device).eval().requires_grad_(False)


def noise_images(
    size: Size, num: int, dim_in: int, seed: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """A query [1, Q, Din] and num gallery images [num, T, Din] of noise, without padding."""
    generator = torch.Generator(device).manual_seed(seed)
    query = torch.randn(1, size[0], dim_in, generator=generator, device=device)
    gallery = torch.randn(num, size[1], dim_in, generator=generator, device=device)
    return query, gallery


@dataclass(frozen=True)
class Subject:
    """A head at a precision."""

    head: SimilarityHead
    precision: str
    device: torch.device

    def encode(self, gallery: Tensor) -> Any:
        """Gallery images, encoded."""
        with autocast(self.precision, self.device):
            return self.head.encode(gallery, gallery=True)

    def answer(self, query: Tensor, blocks: Sequence[Any], encoded: bool) -> Tensor:
        """Logits of a query [1, Q, Din], encoded here and once, with all images of the blocks.

        encoded: blocks are what `encode` gave, otherwise gallery images [B, T, Din].
        """
        with autocast(self.precision, self.device):
            one = self.head.encode(query)
            ready = (b if encoded else self.head.encode(b, gallery=True) for b in blocks)
            logits = [cast(Tensor, self.head.score(one, block)) for block in ready]
        return torch.cat(logits)


class Dense:
    """The referee of an AMES, on that head's device."""

    def __init__(self, head: AMES) -> None:
        self.device = head.mtc_token.device
        self.model: nn.Module = DenseAMES(head).to(self.device).requires_grad_(False)

    def __call__(self, query: Tensor, gallery: Tensor) -> Tensor:
        """Logits of the query [1, Q, Din] with every gallery image [B, T, Din]."""
        # The referee makes its masks where torch makes tensors by default.
        elsewhere = self.device.type != "cpu"
        with self.device if elsewhere else contextlib.nullcontext():
            return self.model(query.expand(len(gallery), -1, -1), None, gallery, None)[0]
