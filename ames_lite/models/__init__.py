"""The similarity heads, by name, as in `model=`. Needs nothing but torch and einops."""

import inspect
from typing import Any

from ames_lite.errors import ConfigError, check_config, chosen
from ames_lite.models.ames import AMES
from ames_lite.models.blocks import EncodedImages
from ames_lite.models.chamfer import Chamfer
from ames_lite.models.elvis import ELViS
from ames_lite.models.head import SimilarityHead

HEADS: dict[str, type[SimilarityHead]] = {"ames": AMES, "elvis": ELViS, "chamfer": Chamfer}
KINDS = {bool: (bool, "true or false"), float: (int | float, "a number")}  # by the default's

__all__ = ["AMES", "HEADS", "Chamfer", "ELViS", "EncodedImages", "SimilarityHead", "build_head"]


def build_head(name: str, **arguments: Any) -> SimilarityHead:
    """The head of that name; arguments: of its constructor. ConfigError for unknown ones."""
    head = chosen(name, HEADS, "head")
    known = inspect.signature(head).parameters
    unknown = [argument for argument in arguments if argument not in known]
    if unknown:
        what = f"the head '{name}' has no argument '{unknown[0]}'"
        raise ConfigError(what, expected=f"some of {', '.join(known)}")
    for argument, value in arguments.items():
        kinds, expected = KINDS.get(type(known[argument].default), (object, ""))
        check_config(isinstance(value, kinds), f"{argument} is {value!r}", expected)
    return head(**arguments)
