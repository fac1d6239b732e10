"""The stage's own path with weights from a seed: what is measured beside the plain loop."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from ames_lite.extraction.backbones.dinov2 import VARIANTS, Dinov2, TinyRandom, random_network
from ames_lite.extraction.backbones.pretrained import Checkpoint
from benchmarks.extraction.plain import PlainLoop

TINY = "tiny_random"
PLAIN = "plain"


@dataclass(frozen=True)
class Network:
    """A DINOv2 to measure, and how images are put to it."""

    variant: str  # of NETWORKS
    image_size: int = 518
    top_k: int = 700
    seed: int = 0
    batch_pixels: int | None = None  # of the stage; None: by device

    def plain(self, device: torch.device) -> PlainLoop:
        """The plain loop."""
        return PlainLoop(_shape(self.variant), self.seed, self.image_size, self.top_k, device)

    def backbone(self, precision: str, device: torch.device) -> Dinov2:
        """The project's, with the same weights."""
        arguments: dict[str, Any] = asdict(self)
        kind = TinyRandom if arguments["variant"] == TINY else _RandomDinov2
        if kind is TinyRandom:
            del arguments["variant"]
        return kind(**arguments, precision=precision, device=str(device))


class _RandomDinov2(Dinov2):
    def __init__(self, seed: int, **arguments: Any) -> None:
        self.seed = seed
        super().__init__(**arguments)

    def _load(self) -> tuple[nn.Module, str]:
        return random_network(self._spec, self.seed), f"random, seed {self.seed}"


NETWORKS = (*VARIANTS, TINY)


def _shape(variant: str) -> Checkpoint:
    if variant == TINY:
        return TinyRandom(device="cpu")._spec
    return VARIANTS[variant]
