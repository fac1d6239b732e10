"""Features of a network as maps, and the strongest descriptors over all scales of an image.

Positions are (x, y) in [0, 1] of their own view; equal weights keep the order of the scales, then
of the rows.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from ames_lite.errors import BadInput
from ames_lite.io.resizing import patch_centres


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


class TopK(NamedTuple):
    """descriptors [B, K, D], weight [B, K] descending, scale [B, K] integers, xy [B, K, 2]."""

    descriptors: Tensor
    weight: Tensor
    scale: Tensor
    xy: Tensor


def norm_and_unit(features: Tensor) -> tuple[Tensor, Tensor]:
    """Without a detector: unit descriptors [B, D, h, w] and the feature's norm [B, 1, h, w]."""
    return functional.normalize(features, dim=1), features.norm(dim=1, keepdim=True)


def top_k(descriptors: Sequence[Tensor], weights: Sequence[Tensor], count: int) -> TopK:
    """The min(count, all) strongest of every image; maps [B, D, h, w] and [B, 1, h, w] a scale."""
    weight = torch.cat([w.flatten(1) for w in weights], dim=1)
    weight, order = weight.sort(dim=1, descending=True, stable=True)
    weight, order = weight[:, :count], order[:, :count].contiguous()
    # only the chosen rows are copied: all maps side by side would double the memory
    flat = [d.flatten(2) for d in descriptors]
    lengths = torch.tensor([maps.shape[2] for maps in flat], device=order.device)
    starts = lengths.cumsum(0) - lengths
    scale = torch.searchsorted(starts, order, right=True) - 1
    centres = [patch_centres(*w.shape[2:]) for w in weights]
    places = torch.cat([torch.from_numpy(c) for c in centres]).to(order.device)
    return TopK(_gather(flat, scale, order - starts[scale]), weight, scale, places[order])


def _gather(maps: Sequence[Tensor], scale: Tensor, position: Tensor) -> Tensor:
    batch, dim = maps[0].shape[:2]
    chosen = maps[0].new_empty(batch, scale.shape[1], dim)
    for index, values in enumerate(maps):
        row, column = (scale == index).nonzero(as_tuple=True)
        chosen[row, column] = values[row, :, position[row, column]]
    return chosen
