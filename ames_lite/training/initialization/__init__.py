"""How a head is initialised before training: `INITIALIZATIONS[head][start]`, names of start=.

published        as in the published code
random           as constructed: torch's defaults, the match token of AMES from N(0, 1)
correspondences  similar descriptors attend to each other from the first step
matches          and the logit counts good matches from the first step
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ames_lite.training.initialization.elvis_matches import start_elvis_from_matches
from ames_lite.training.initialization.matches import (
    start_from_correspondences,
    start_from_matches,
)
from ames_lite.training.initialization.published import initialize_ames, initialize_elvis

Sample = Callable[[], Tensor]  # reads descriptors [M, Din] of the training set, where asked
Initialization = Callable[[Any, Sample, torch.Generator], None]  # changes the head in place


def _as_constructed(head: Any, sample: Sample, generator: torch.Generator) -> None:
    pass


INITIALIZATIONS: dict[str, dict[str, Initialization]] = {
    "ames": {
        "published": lambda head, _, generator: initialize_ames(head, generator),
        "random": _as_constructed,
        "correspondences": lambda head, sample, generator: start_from_correspondences(
            head, sample(), generator
        ),
        "matches": lambda head, sample, generator: start_from_matches(head, sample(), generator),
    },
    "elvis": {
        "published": lambda head, _, generator: initialize_elvis(head, generator),
        "random": _as_constructed,
        "matches": lambda head, sample, generator: start_elvis_from_matches(
            head, sample(), generator
        ),
    },
}
