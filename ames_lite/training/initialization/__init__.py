"""The initializations of a head: `INITIALIZATIONS[head][start]`.

published        as in the published code
random           as constructed: torch's defaults, the match token of AMES from N(0, 1)
correspondences  similar descriptors attend to each other from the first step
matches          and the logit counts good matches from the first step
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ames_lite.models import AMES, ELViS
from ames_lite.models.blocks import PairAttention
from ames_lite.training.initialization.matches import (
    start_elvis_from_matches,
    start_from_correspondences,
    start_from_matches,
)

Sample = Callable[[], Tensor]  # reads descriptors [M, Din] of the training set, where asked
Initialization = Callable[[Any, Sample, torch.Generator], None]  # changes the head in place
STD = 0.02  # trunc_normal_ cuts at -2 and 2, which is 100 of these


@torch.no_grad()
def _published_ames(model: AMES, _: Sample, generator: torch.Generator) -> None:
    """As in the code of AMES (ECCV 2024): linear layers and the match token from N(0, STD²), biases
    0; input projections of attention as in torch's MultiheadAttention; all else as constructed.
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
def _published_elvis(model: ELViS, _: Sample, generator: torch.Generator) -> None:
    """As in the code of ELViS (ICLR 2026): linear layers Xavier uniform, biases 0."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight, generator=generator)
            nn.init.zeros_(module.bias)


def _random(head: Any, sample: Sample, generator: torch.Generator) -> None:
    """As constructed."""


def _of_sample(start: Callable[[Any, Tensor, torch.Generator], None]) -> Initialization:
    return lambda head, sample, generator: start(head, sample(), generator)


INITIALIZATIONS: dict[str, dict[str, Initialization]] = {
    "ames": {
        "published": _published_ames,
        "random": _random,
        "correspondences": _of_sample(start_from_correspondences),
        "matches": _of_sample(start_from_matches),
    },
    "elvis": {
        "published": _published_elvis,
        "random": _random,
        "matches": _of_sample(start_elvis_from_matches),
    },
}
