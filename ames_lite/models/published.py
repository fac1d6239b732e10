"""The published AMES heads and their λ and γ, tuned on the public split of GLDv2 (gldv2-val), which
their files do not hold: the README of https://github.com/pavelsuma/ames has the table.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

TUNED_ON = "gldv2-val"


class PublishedHead(NamedTuple):
    """Width of the descriptors, whether their signs are taken, and the ensemble."""

    dim_in: int
    binary: bool
    lamb: float
    temp: float


PUBLISHED_HEADS: Mapping[str, PublishedHead] = {
    "dinov2_ames": PublishedHead(768, False, 0.50, 0.20),
    "dinov2_ames_dist": PublishedHead(768, True, 0.35, 0.10),
    "cvnet_ames": PublishedHead(1024, False, 0.85, 0.80),
    "cvnet_ames_dist": PublishedHead(1024, True, 0.65, 0.20),
}


def of_its_form(arguments: Mapping[str, Any]) -> str | None:
    """The published head with these constructor arguments, if any.

    >>> of_its_form({"dim_in": 768, "binary": True})
    'dinov2_ames_dist'
    """
    form = (arguments.get("dim_in"), arguments.get("binary"))  # no other head has the second
    names = (name for name, head in PUBLISHED_HEADS.items() if (head.dim_in, head.binary) == form)
    return next(names, None)


def list_ensembles() -> str:
    """All published λ and γ, in one line.

    >>> list_ensembles().split(", ")[1]
    'dinov2_ames_dist lamb=0.35 temp=0.1'
    """
    heads = PUBLISHED_HEADS.items()
    return ", ".join(f"{name} lamb={head.lamb:g} temp={head.temp:g}" for name, head in heads)
