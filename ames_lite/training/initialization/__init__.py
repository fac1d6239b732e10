"""How a head is initialized before training: `INITIALIZATIONS`, by the head's name and start=.

published        as the papers' code does it
random           as torch does it, AMES' match token from N(0, 1)
correspondences  AMES: similar descriptors attend to each other from the first step
matches          and the logit counts good matches from the first step

Each takes a fresh head and changes it in place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from ames_lite.models import AMES, ELViS, SimilarityHead
from ames_lite.training.initialization.elvis_matches import start_elvis_from_matches
from ames_lite.training.initialization.matches import (
    start_from_correspondences,
    start_from_matches,
)
from ames_lite.training.initialization.published import Given, published_ames, published_elvis

Initialization = Callable[[SimilarityHead, Given], None]


def as_built(head: SimilarityHead, given: Given) -> None:
    """Torch's default initialization, which a new head has."""


INITIALIZATIONS: dict[str, dict[str, Initialization]] = {
    "ames": {
        "published": published_ames,
        "random": as_built,
        "correspondences": lambda head, given: start_from_correspondences(
            cast(AMES, head), given.sample(), given.generator
        ),
        "matches": lambda head, given: start_from_matches(
            cast(AMES, head), given.sample(), given.generator
        ),
    },
    "elvis": {
        "published": published_elvis,
        "random": as_built,
        "matches": lambda head, given: start_elvis_from_matches(
            cast(ELViS, head), given.sample(), given.generator
        ),
    },
}
