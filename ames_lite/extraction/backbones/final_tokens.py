"""What DINOv3 and SigLIP 2 share: vision transformers that give their final patch tokens.

The descriptors are the final, normalised patch tokens, unit length; CLS and registers are dropped.
Other facets (token, query, key, value of a block) are refused by name; they are DINOv2's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from ames_lite.errors import BadInput
from ames_lite.extraction.backbones.map_backbone import MapBackbone, require_text
from ames_lite.extraction.backbones.pretrained import Checkpoint, choose, load_pretrained


class FinalTokens(MapBackbone):
    """The base of both; wrap: makes a network from pixels to Features of the loaded model."""

    variants: Mapping[str, Checkpoint]
    wrap: type[nn.Module]

    def __init__(
        self,
        variant: str,  # a key of `variants`
        weights: str | None,  # transformers folder; None: the hub's cache, then the hub
        facet: str,  # patch
        **options: Any,  # of MapOptions
    ) -> None:
        require_text(weights=weights)
        self.variant, self.weights, self.facet = variant, weights, facet
        self._spec = spec = choose(variant, self.variants)
        self.layer = spec.depth - 1
        if facet != "patch":
            raise BadInput(
                f"facet '{facet}' of {self.name}",
                expected="patch, the final tokens; for other facets backbone=dinov2",
            )
        super().__init__(
            spec.dim, patch=spec.patch, global_kind="cls", global_dim=spec.dim, **options
        )

    def _network(self) -> tuple[nn.Module, str]:
        model, digest = load_pretrained(self._spec, self.weights)
        return self.wrap(model, self._spec), digest
