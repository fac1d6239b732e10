"""DINOv3 as a backbone: its final patch tokens and CLS, through transformers.

Input: RGB images, ImageNet mean and std. Output: `LocalDescriptors`, unit length; the CLS token of
the first scale. CLS and the four registers are dropped from the map.

Positions are rotary and computed from the image's own grid, so any size that is a multiple of 16
works without interpolation. The weights are gated: access has to be requested on the hub before
they can be downloaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ames_lite.extraction.backbones.dinov2_network import Features
from ames_lite.extraction.backbones.final_tokens import FinalTokens, as_map, choose, grid_of
from ames_lite.extraction.backbones.map_backbone import MapOptions
from ames_lite.extraction.backbones.pretrained import Checkpoint

PATCH, REGISTERS = 16, 4
DEFAULTS = {  # of transformers, for what a configuration leaves out
    **{"hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 12},
    **{"num_attention_heads": 6, "num_register_tokens": 0, "patch_size": 16},
    **{"layer_norm_eps": 1e-5, "rope_theta": 100.0, "use_gated_mlp": False, "hidden_act": "gelu"},
}


@dataclass(frozen=True)
class Dinov3Variant:
    """The shape of a network.

    dim: width; depth: blocks; heads; hidden: width of the feed-forward; gated: it is a SwiGLU;
    hub: where its weights are published.
    """

    dim: int
    depth: int
    heads: int
    hidden: int
    gated: bool = False
    hub: str | None = None
    patch: int = PATCH
    registers: int = REGISTERS

    @property
    def config(self) -> dict[str, Any]:
        """The arguments of the transformers configuration."""
        return {
            **DEFAULTS,
            "hidden_size": self.dim,
            "intermediate_size": self.hidden,
            "num_hidden_layers": self.depth,
            "num_attention_heads": self.heads,
            "num_register_tokens": self.registers,
            "patch_size": self.patch,
            "use_gated_mlp": self.gated,
            "hidden_act": "silu" if self.gated else "gelu",
        }

    @property
    def checkpoint(self) -> Checkpoint:
        """What its folder must hold."""
        return Checkpoint(
            title="DINOv3",
            model="DINOv3ViTModel",
            config={"model_type": "dinov3_vit", **self.config},
            defaults=DEFAULTS,
            hub=self.hub,
            gated=True,
            unused=("mask_token",),
        )


def _variant(
    word: str, dim: int, depth: int, heads: int, hidden: int, gated: bool = False
) -> Dinov3Variant:
    hub = f"facebook/dinov3-{word}-pretrain-lvd1689m"
    return Dinov3Variant(dim, depth, heads, hidden, gated, hub)


VARIANTS: dict[str, Dinov3Variant] = {
    "vits16": _variant("vits16", 384, 12, 6, 1536),
    "vits16plus": _variant("vits16plus", 384, 12, 6, 1536, gated=True),
    "vitb16": _variant("vitb16", 768, 12, 12, 3072),
    "vitl16": _variant("vitl16", 1024, 24, 16, 4096),
    "vith16plus": _variant("vith16plus", 1280, 32, 20, 5120, gated=True),
}


class Dinov3(FinalTokens):
    """Patch tokens of a DINOv3, chosen by a detector or by their norm."""

    name = "dinov3"

    defaults = MapOptions(image_size=768, resize="bicubic_float")  # as ELViS has it

    def __init__(
        self,
        variant: str = "vitb16",  # a key of VARIANTS
        weights: str | None = None,  # transformers folder; None: the hub's cache, then the hub
        facet: str = "patch",  # nothing else
        **options: Any,  # of MapOptions
    ) -> None:
        spec = choose("DINOv3", variant, VARIANTS)
        self._registers = spec.registers
        super().__init__(variant, spec, weights, facet, **options)

    def _wrap(self, model: nn.Module) -> nn.Module:
        return Dinov3Network(model, self._spec.patch, self._registers)


class Dinov3Network(nn.Module):
    """From pixels to Features: CLS and registers are told from patches by their places."""

    def __init__(self, model: nn.Module, patch: int, registers: int) -> None:
        super().__init__()
        self.model, self.patch, self.registers = model, patch, registers

    def forward(self, pixels: Tensor) -> Features:
        """pixels [B, 3, H, W], normalised, sides multiples of the patch."""
        grid = grid_of(pixels, self.patch)
        tokens = self.model(pixel_values=pixels).last_hidden_state
        return Features(as_map(tokens[:, 1 + self.registers :], grid), tokens[:, 0])
