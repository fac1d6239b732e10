"""What DINOv3 and SigLIP 2 share: vision transformers that give their final patch tokens.

Input: RGB images. Output: `LocalDescriptors` of the final, normalised patch tokens, unit length,
and the global vector that the network itself offers. Prefix tokens (CLS, registers) are dropped.

Other facets (token, query, key, value of a block) are refused by name; they are DINOv2's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

from torch import Tensor, nn

from ames_lite.errors import BadInput
from ames_lite.extraction.backbones.map_backbone import MapBackbone, require_text
from ames_lite.extraction.backbones.pretrained import Checkpoint, load_pretrained


class TokenVariant(Protocol):
    """The shape of a network: width, blocks, side of a patch; where its weights are."""

    @property
    def dim(self) -> int:
        """Width of a token."""

    @property
    def depth(self) -> int:
        """Blocks."""

    @property
    def patch(self) -> int:
        """Side of a patch in pixels."""

    @property
    def checkpoint(self) -> Checkpoint:
        """What its folder must hold."""


Chosen = TypeVar("Chosen", bound=TokenVariant)


class FinalTokens(MapBackbone):
    """The base of both. A subclass wraps the loaded model, so that it gives Features."""

    def __init__(
        self,
        variant: str,
        spec: TokenVariant,
        weights: str | None,
        facet: str,
        **options: Any,  # of MapOptions
    ) -> None:
        require_text(weights=weights)
        self.variant, self.weights, self.facet = variant, weights, facet
        self._spec, self.layer = spec, spec.depth - 1
        if facet != "patch":
            raise BadInput(
                f"facet '{facet}' of {self.name}",
                expected="patch, the final tokens; for other facets backbone=dinov2",
            )
        super().__init__(
            spec.dim,
            patch=spec.patch,
            global_kind="cls",
            global_dim=spec.dim,
            **options,
        )

    def _network(self) -> tuple[nn.Module, str]:
        model, digest = load_pretrained(self._spec.checkpoint, self.weights)
        return self._wrap(model), digest

    def _wrap(self, model: nn.Module) -> nn.Module:
        raise NotImplementedError


def choose(name: str, variant: str, variants: Mapping[str, Chosen]) -> Chosen:
    """The variant of that name. Raises BadInput, with what exists, for an unknown one."""
    if variant not in variants:
        raise BadInput(f"{name} variant '{variant}'", expected=f"one of {', '.join(variants)}")
    return variants[variant]


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
