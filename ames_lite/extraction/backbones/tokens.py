"""Features of a network, and how patch tokens become a map of them."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from ames_lite.errors import BadInput


class Features(NamedTuple):
    """patches [B, D, h, w]; cls [B, D], the global vector, None where the network stops before."""

    patches: Tensor
    cls: Tensor | None


def grid_of(pixels: Tensor, patch: int) -> tuple[int, int]:
    """The (rows, columns) of patches of pixels [B, 3, H, W].

    Raises BadInput where a side is no multiple: the network would cut it off silently.
    """
    height, width = pixels.shape[-2:]
    if height % patch or width % patch or not height or not width:
        raise BadInput(f"pixels are {height} × {width}", expected=f"multiples of {patch}")
    return height // patch, width // patch


def as_map(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """Patch tokens [B, h * w, D], row after row, as a map [B, D, h, w]."""
    return tokens.transpose(1, 2).reshape(len(tokens), -1, *grid)
