"""The initialization of the published code of AMES (ECCV 2024) and of ELViS (ICLR 2026).

Each function changes a fresh head in place. What it does not name keeps the values of the
constructor: LayerNorm (1 and 0), the projection of a binary head, the dustbin.
"""

from __future__ import annotations

import torch
from torch import nn

from ames_lite.models import AMES, ELViS
from ames_lite.models.blocks import PairAttention

STD = 0.02  # trunc_normal_ cuts at -2 and 2, which is 100 of these


@torch.no_grad()
def initialize_ames(model: AMES, generator: torch.Generator) -> None:
    """Weights of all linear layers and the match token from N(0, STD²), biases 0.

    The input projections of attention as in torch's MultiheadAttention: Xavier uniform, biases 0.
    """
    for module in model.modules():
        if isinstance(module, PairAttention):
            nn.init.xavier_uniform_(module.in_proj_weight, generator=generator)
            nn.init.zeros_(module.in_proj_bias)
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=STD, generator=generator)
            nn.init.zeros_(module.bias)
    nn.init.trunc_normal_(model.mtc_token, std=STD, generator=generator)


@torch.no_grad()
def initialize_elvis(model: ELViS, generator: torch.Generator) -> None:
    """Weights of all linear layers Xavier uniform, biases 0."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight, generator=generator)
            nn.init.zeros_(module.bias)
