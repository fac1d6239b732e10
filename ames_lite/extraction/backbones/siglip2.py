"""SigLIP 2 as a backbone: its final patch tokens and pooled vector, through transformers.

Input: RGB images, mean and std 0.5. Output: `LocalDescriptors` of the tokens after the last norm,
unit length, and the vector that the model's attention head pools from the tokens; its kind is `cls`
(there is no CLS token, and no other description of an image by the model).

The checkpoints of a fixed resolution, which are used here, are of transformers' SigLIP class; the
naflex ones are of its Siglip2 class, and are refused. Position embeddings are of the trained square
grid; for other grids transformers interpolates them (bicubic), and image_size=[384, 384] stretches
an image to the trained one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from ames_lite.extraction.backbones.final_tokens import FinalTokens
from ames_lite.extraction.backbones.map_backbone import MapOptions
from ames_lite.extraction.backbones.pretrained import Checkpoint, choose
from ames_lite.extraction.backbones.tokens import Features, as_map, grid_of


def siglip2_checkpoint(
    dim: int, depth: int, heads: int, hidden: int, size: int, hub: str | None = None
) -> Checkpoint:
    """The vision part, alone or beside the text part; size: pixels a side of training images."""
    return Checkpoint(
        title="SigLIP 2",
        model="SiglipVisionModel",
        model_type="siglip_vision_model",
        config={
            "hidden_size": dim,
            "intermediate_size": hidden,
            "num_hidden_layers": depth,
            "num_attention_heads": heads,
            "image_size": size,
            "patch_size": 16,
            "layer_norm_eps": 1e-6,
            "hidden_act": "gelu_pytorch_tanh",
            "vision_use_head": True,
        },
        section="vision_config",
        hub=hub,
        beside=("text_model.", "logit_scale", "logit_bias"),
    )


SHAPES = {
    "base": (768, 12, 12, 3072),
    "large": (1024, 24, 16, 4096),
    "so400m": (1152, 27, 16, 4304),
}
VARIANTS = {
    f"{word}_{size}": siglip2_checkpoint(*shape, size, f"google/siglip2-{word}-patch16-{size}")
    for word, shape in SHAPES.items()
    for size in (384, 512)
}


class Siglip2Network(nn.Module):
    """From pixels to Features; position embeddings are interpolated where the grid is another."""

    def __init__(self, model: nn.Module, spec: Checkpoint) -> None:
        super().__init__()
        self.model, self.spec = model, spec

    def forward(self, pixels: Tensor) -> Features:
        """pixels [B, 3, H, W], normalised, sides multiples of the patch."""
        grid = grid_of(pixels, self.spec.patch)
        found = self.model(pixel_values=pixels, interpolate_pos_encoding=True)
        return Features(as_map(found.last_hidden_state, grid), found.pooler_output)


class Siglip2(FinalTokens):
    """Patch tokens of a SigLIP 2, chosen by a detector or by their norm."""

    name = "siglip2"
    variants, wrap = VARIANTS, Siglip2Network
    mean, std = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
    defaults = MapOptions(resize="bicubic_float")  # as ELViS has it

    def __init__(
        self,
        variant: str = "base_512",
        weights: str | None = None,
        facet: str = "patch",
        image_size: int | Sequence[int] | None = None,  # None: the variant's own
        **options: Any,
    ) -> None:
        own = choose(variant, VARIANTS).config["image_size"]
        size = own if image_size is None else image_size
        super().__init__(variant, weights, facet, image_size=size, **options)
