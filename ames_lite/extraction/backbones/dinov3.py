"""DINOv3 as a backbone: its final patch tokens and CLS, through transformers.

Input: RGB images, ImageNet mean and std. Output: `LocalDescriptors`, unit length, and the CLS
token. Positions are rotary and computed from the image's own grid, so any size that is a multiple
of 16 works without interpolation. The weights are gated: access has to be requested on the hub.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ames_lite.extraction.backbones.final_tokens import FinalTokens
from ames_lite.extraction.backbones.map_backbone import MapOptions
from ames_lite.extraction.backbones.pretrained import Checkpoint
from ames_lite.extraction.backbones.tokens import Features, as_map, grid_of


def dinov3_checkpoint(
    dim: int, depth: int, heads: int, hidden: int, *, gated: bool = False, word: str | None = None
) -> Checkpoint:
    """A network of that shape; gated: its feed-forward is a SwiGLU; word: its name on the hub."""
    return Checkpoint(
        title="DINOv3",
        model="DINOv3ViTModel",
        model_type="dinov3_vit",
        config={
            "hidden_size": dim,
            "intermediate_size": hidden,
            "num_hidden_layers": depth,
            "num_attention_heads": heads,
            "num_register_tokens": 4,
            "patch_size": 16,
            "layer_norm_eps": 1e-5,
            "rope_theta": 100.0,
            "use_gated_mlp": gated,
            "hidden_act": "silu" if gated else "gelu",
        },
        hub=None if word is None else f"facebook/dinov3-{word}-pretrain-lvd1689m",
        gated=True,
        unused=("mask_token",),
    )


VARIANTS = {
    "vits16": dinov3_checkpoint(384, 12, 6, 1536, word="vits16"),
    "vits16plus": dinov3_checkpoint(384, 12, 6, 1536, gated=True, word="vits16plus"),
    "vitb16": dinov3_checkpoint(768, 12, 12, 3072, word="vitb16"),
    "vitl16": dinov3_checkpoint(1024, 24, 16, 4096, word="vitl16"),
    "vith16plus": dinov3_checkpoint(1280, 32, 20, 5120, gated=True, word="vith16plus"),
}


class Dinov3Network(nn.Module):
    """From pixels to Features: CLS and registers are told from patches by their places."""

    def __init__(self, model: nn.Module, spec: Checkpoint) -> None:
        super().__init__()
        self.model, self.spec = model, spec

    def forward(self, pixels: Tensor) -> Features:
        """pixels [B, 3, H, W], normalised, sides multiples of the patch."""
        grid = grid_of(pixels, self.spec.patch)
        tokens = self.model(pixel_values=pixels).last_hidden_state
        return Features(as_map(tokens[:, 1 + self.spec.registers :], grid), tokens[:, 0])


class Dinov3(FinalTokens):
    """Patch tokens of a DINOv3, chosen by a detector or by their norm."""

    name = "dinov3"
    variants, wrap = VARIANTS, Dinov3Network
    defaults = MapOptions(image_size=768, resize="bicubic_float")  # as ELViS has it

    def __init__(
        self,
        variant: str = "vitb16",
        weights: str | None = None,
        facet: str = "patch",
        **options: Any,
    ) -> None:
        super().__init__(variant, weights, facet, **options)
