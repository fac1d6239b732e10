"""The features of a DINOv2: transformers' blocks with the original code's position embeddings.

Maps equal the original's at every size. The facets query, key, value and token are taken from a
block (0-based) before any final norm; `patch` is the final, normalized output.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ames_lite.errors import BadInput
from ames_lite.extraction.backbones.features import Features, as_map, grid_of

PATCH = 14
FACETS = ("patch", "token", "query", "key", "value")
PROJECTIONS = {  # a facet's layer in a block, in new and old versions of transformers
    "query": ("attention.q_proj", "attention.attention.query"),
    "key": ("attention.k_proj", "attention.attention.key"),
    "value": ("attention.v_proj", "attention.attention.value"),
}


def position_embeddings(trained: Tensor, rows: int, columns: int, registers: bool) -> Tensor:
    """Position embeddings [1, 1 + rows * columns, D] for a grid, from trained ones [1, 1 + M², D].

    As the original code does it: in float32, a grid of the trained size unchanged; without
    registers by a scale factor that has an offset, with registers by size and with antialias.
    """
    side = round((trained.shape[1] - 1) ** 0.5)
    if (rows, columns) == (side, side):
        return trained
    cls, grid = trained[:, :1].float(), trained[:, 1:].float()
    planes = grid.reshape(1, side, side, -1).permute(0, 3, 1, 2)
    if registers:
        planes = functional.interpolate(
            planes, size=(rows, columns), mode="bicubic", align_corners=False, antialias=True
        )
    else:
        factors = ((rows + 0.1) / side, (columns + 0.1) / side)
        planes = functional.interpolate(
            planes, scale_factor=factors, mode="bicubic", align_corners=False
        )
    return torch.cat([cls, planes.flatten(2).transpose(1, 2)], dim=1).to(trained.dtype)


class Dinov2Network(nn.Module):
    """A transformers DINOv2 that gives the original features and stops where nothing more is due.

    model: Dinov2Model or Dinov2WithRegistersModel of any version since 4.48; layer: the block of
    the facet, None: the last.
    """

    def __init__(
        self, model: nn.Module, registers: int, facet: str = "patch", layer: int | None = None
    ) -> None:
        super().__init__()
        self.model: Any = model
        self.registers, self.facet, self.layer = registers, facet, layer

    def forward(self, pixels: Tensor) -> Features:
        """pixels [B, 3, H, W], normalized, sides multiples of 14."""
        grid, facet = grid_of(pixels, PATCH), self.facet
        last = len(self.model.encoder.layer) - 1 if self.layer is None else self.layer
        hidden = self._embed(pixels, grid)
        for block in self.model.encoder.layer[:last]:
            hidden = _run(block, hidden)
        block = self.model.encoder.layer[last]
        if facet in PROJECTIONS:
            tokens = _find(block, PROJECTIONS[facet])(block.norm1(hidden))
            return Features(self._map(tokens, grid), None)
        tokens = _run(block, hidden)
        if facet == "token":
            return Features(self._map(tokens, grid), None)
        tokens = self.model.layernorm(tokens)
        return Features(self._map(tokens, grid), tokens[:, 0])

    def _embed(self, pixels: Tensor, grid: tuple[int, int]) -> Tensor:
        parts = self.model.embeddings
        patches = parts.patch_embeddings.projection(pixels).flatten(2).transpose(1, 2)
        tokens = torch.cat([parts.cls_token.expand(len(pixels), -1, -1), patches], dim=1)
        tokens = tokens + position_embeddings(
            parts.position_embeddings, *grid, registers=self.registers > 0
        )
        if not self.registers:
            return tokens
        registers = parts.register_tokens.expand(len(pixels), -1, -1)
        return torch.cat([tokens[:, :1], registers, tokens[:, 1:]], dim=1)

    def _map(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Patch tokens, CLS and registers dropped, as a map [B, D, h, w]."""
        return as_map(tokens[:, 1 + self.registers :], grid)


def _run(block: nn.Module, hidden: Tensor) -> Tensor:
    out = block(hidden)
    tokens: Tensor = out[0] if isinstance(out, tuple) else out
    return tokens


def _find(block: nn.Module, paths: Sequence[str]) -> nn.Module:
    """The sub-module at the first of paths that the block has."""
    names: Mapping[str, nn.Module] = dict(block.named_modules())
    for path in paths:
        if path in names:
            return names[path]
    raise BadInput(f"the block has none of {', '.join(paths)}", expected="transformers 4.48 to 5")
