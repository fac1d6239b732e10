"""DINOv2 as a backbone: patch features, and the CLS token for facet=patch.

The defaults are the published extraction of AMES.
"""

from typing import Any

from torch import nn

from ames_lite.errors import BadInput, require
from ames_lite.extraction.backbones.dinov2_network import FACETS, Dinov2Network
from ames_lite.extraction.backbones.dinov2_weights import (
    VARIANTS,
    dinov2_checkpoint,
    load_network,
    random_network,
)
from ames_lite.extraction.backbones.map_backbone import MapBackbone, MapOptions, require_text
from ames_lite.extraction.backbones.pretrained import Checkpoint, choose


class Dinov2(MapBackbone):
    """Patch features of a DINOv2, chosen by a detector or by their norm; weights load on first use.

    weights: a transformers folder or an original .pth; None: the hub's cache, then the hub.
    """

    name = "dinov2"
    defaults = MapOptions(image_size=770)

    def __init__(
        self,
        variant: str = "vitb14_reg",  # a key of VARIANTS
        weights: str | None = None,
        facet: str = "patch",  # or token, query, key, value of a block
        layer: int | None = None,  # that block, 0-based; None: the last
        **options: Any,  # of MapOptions
    ) -> None:
        require_text(weights=weights)
        self.variant, self.weights, self.facet = variant, weights, facet
        self._spec = spec = self._choose(variant)
        self.layer = spec.depth - 1 if layer is None else layer
        self._check_facet()
        super().__init__(
            spec.dim,
            patch=spec.patch,
            global_kind="cls" if facet == "patch" else None,
            global_dim=spec.dim if facet == "patch" else 0,
            **options,
        )

    def _choose(self, variant: str) -> Checkpoint:
        return choose(variant, VARIANTS)

    def _check_facet(self) -> None:
        facet, layer, depth = self.facet, self.layer, self._spec.depth
        require(facet in FACETS, f"facet '{facet}'", expected=f"one of {', '.join(FACETS)}")
        known = isinstance(layer, int) and 0 <= layer < depth
        require(known, f"layer is {layer}", expected=f"a block from 0 to {depth - 1}")
        require(
            facet != "patch" or layer == depth - 1,
            f"facet=patch is the final output, layer is {layer}",
            expected="layer=null, or facet=token for the output of that block",
        )

    def _load(self) -> tuple[nn.Module, str]:
        return load_network(self._spec, self.weights)

    def _network(self) -> tuple[nn.Module, str]:
        model, digest = self._load()
        return Dinov2Network(model, self._spec.registers, self.facet, self.layer), digest


class TinyRandom(Dinov2):
    """A very small DINOv2 with random weights from a seed: for tests; it has learned nothing."""

    name = "tiny_random"

    def __init__(self, seed: int = 0, registers: int = 4, **arguments: Any) -> None:
        if arguments.pop("weights", None) is not None:
            raise BadInput("tiny_random has no weights", expected="seed=, or another backbone=")
        self.seed, self._registers = seed, registers
        super().__init__(variant=f"tiny_random, {registers} registers", **arguments)

    def _choose(self, variant: str) -> Checkpoint:
        return dinov2_checkpoint(32, 2, 2, self._registers, grid=5)

    def _load(self) -> tuple[nn.Module, str]:
        return random_network(self._spec, self.seed), f"random, seed {self.seed}"
