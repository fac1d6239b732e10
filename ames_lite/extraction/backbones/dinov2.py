"""DINOv2 as a backbone: patch features of an image at one or more scales, the strongest of them.

Input: RGB images. Output: `LocalDescriptors`, unit length; the CLS token of the first scale on
request.

Weights load on first use, or when provenance is asked for, so that a backbone can be built, looked
at and sent to other processes without them.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ames_lite.errors import BadInput
from ames_lite.extraction.backbones.dinov2_network import FACETS, PATCH, Dinov2Network, Features
from ames_lite.extraction.backbones.dinov2_variants import VARIANTS, Variant
from ames_lite.extraction.backbones.dinov2_weights import load_network, random_network
from ames_lite.extraction.backbones.map_backbone import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    MapBackbone,
    MapOptions,
    require_text,
)

MEAN, STD = IMAGENET_MEAN, IMAGENET_STD


class Dinov2(MapBackbone):
    """Patch features of a DINOv2, chosen by a detector or by their norm; weights load on first use.

    The defaults are the published extraction of AMES.
    """

    name = "dinov2"

    defaults = MapOptions(image_size=770)

    def __init__(
        self,
        variant: str = "vitb14_reg",  # a key of VARIANTS
        weights: str | None = None,  # transformers folder or original .pth; None: the hub's cache
        facet: str = "patch",  # or token, query, key, value of a block
        layer: int | None = None,  # that block, 0-based; None: the last
        **options: Any,  # of MapOptions
    ) -> None:
        require_text(weights=weights)
        self.variant, self.weights, self.facet = variant, weights, facet
        self._spec = self._choose(variant)
        self.layer = self._spec.depth - 1 if layer is None else layer
        self._check_facet()
        super().__init__(
            self._spec.dim,
            patch=PATCH,
            global_kind="cls" if facet == "patch" else None,
            global_dim=self._spec.dim if facet == "patch" else 0,
            **options,
        )

    def _choose(self, variant: str) -> Variant:
        if variant not in VARIANTS:
            raise BadInput(f"DINOv2 variant '{variant}'", expected=f"one of {', '.join(VARIANTS)}")
        return VARIANTS[variant]

    def _check_facet(self) -> None:
        if self.facet not in FACETS:
            raise BadInput(f"facet '{self.facet}'", expected=f"one of {', '.join(FACETS)}")
        depth = self._spec.depth
        if not isinstance(self.layer, int) or not 0 <= self.layer < depth:
            raise BadInput(f"layer is {self.layer}", expected=f"a block from 0 to {depth - 1}")
        if self.facet == "patch" and self.layer != depth - 1:
            raise BadInput(
                f"facet=patch is the final output, layer is {self.layer}",
                expected="layer=null, or facet=token for the output of that block",
            )

    def _load(self) -> tuple[nn.Module, str]:
        return load_network(self._spec, self.weights)

    def _network(self) -> tuple[nn.Module, str]:
        model, digest = self._load()
        return Dinov2Network(model, self._spec.registers), digest

    def _run(self, network: nn.Module, pixels: Tensor) -> Features:
        found: Features = network(pixels, self.facet, self.layer)
        return found


class TinyRandom(Dinov2):
    """A very small DINOv2 with random weights from a seed: for tests; it has learned nothing."""

    name = "tiny_random"

    def __init__(self, seed: int = 0, registers: int = 4, **arguments: Any) -> None:
        if arguments.pop("weights", None) is not None:
            raise BadInput("tiny_random has no weights", expected="seed=, or another backbone=")
        self.seed = seed
        self._shape = Variant(dim=32, depth=2, heads=2, registers=registers, grid=5)
        super().__init__(variant=f"tiny_random, {registers} registers", **arguments)

    def _choose(self, variant: str) -> Variant:
        return self._shape

    def _load(self) -> tuple[nn.Module, str]:
        return random_network(self._shape, self.seed), f"random, seed {self.seed}"
