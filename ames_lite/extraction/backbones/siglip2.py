"""SigLIP 2 as a backbone: its final patch tokens and pooled vector, through transformers.

Input: RGB images, mean and std 0.5. Output: `LocalDescriptors` of the tokens after the last norm,
unit length; the vector that the model's attention head pools from the tokens of the first scale.
The vector's kind is `cls`: like a CLS token it is what a learned token gathers by attention, and
the model's own description of an image (there is no other, and there is no CLS token).

The checkpoints of a fixed resolution, which are used here, are of transformers' SigLIP class
(model_type siglip); only the naflex ones are of its Siglip2 class, and they are refused. Position
embeddings are of the trained square grid; for other grids transformers interpolates them (bicubic),
image_size=[384, 384] stretches an image to the trained one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ames_lite.extraction.backbones.dinov2_network import Features
from ames_lite.extraction.backbones.final_tokens import FinalTokens, as_map, choose, grid_of
from ames_lite.extraction.backbones.map_backbone import MapOptions
from ames_lite.extraction.backbones.pretrained import Checkpoint

PATCH = 16
DEFAULTS = {  # of transformers, for what a configuration leaves out
    **{"model_type": "siglip_vision_model", "hidden_size": 768, "intermediate_size": 3072},
    **{"num_hidden_layers": 12, "num_attention_heads": 12, "image_size": 224, "patch_size": 16},
    **{"layer_norm_eps": 1e-6, "hidden_act": "gelu_pytorch_tanh", "vision_use_head": True},
}


@dataclass(frozen=True)
class Siglip2Variant:
    """The shape of a network.

    dim: width; depth: blocks; heads; hidden: width of the feed-forward; size: pixels a side that it
    was trained with; hub: where its weights are published.
    """

    dim: int
    depth: int
    heads: int
    hidden: int
    size: int
    hub: str | None = None
    patch: int = PATCH

    @property
    def config(self) -> dict[str, Any]:
        """The arguments of the transformers configuration of the vision part."""
        return {
            "hidden_size": self.dim,
            "intermediate_size": self.hidden,
            "num_hidden_layers": self.depth,
            "num_attention_heads": self.heads,
            "image_size": self.size,
            "patch_size": self.patch,
            "layer_norm_eps": 1e-6,
            "hidden_act": "gelu_pytorch_tanh",
            "vision_use_head": True,
        }

    @property
    def checkpoint(self) -> Checkpoint:
        """What its folder must hold: the vision part, alone or beside the text part."""
        return Checkpoint(
            title="SigLIP 2",
            model="SiglipVisionModel",
            config={"model_type": "siglip_vision_model", **self.config},
            defaults=DEFAULTS,
            section="vision_config",
            hub=self.hub,
            beside=("text_model.", "logit_scale", "logit_bias"),
        )


def _variants() -> dict[str, Siglip2Variant]:
    shapes = {
        "base": (768, 12, 12, 3072),
        "large": (1024, 24, 16, 4096),
        "so400m": (1152, 27, 16, 4304),
    }
    return {
        f"{word}_{size}": Siglip2Variant(*shape, size, f"google/siglip2-{word}-patch16-{size}")
        for word, shape in shapes.items()
        for size in (384, 512)
    }


VARIANTS: dict[str, Siglip2Variant] = _variants()


class Siglip2(FinalTokens):
    """Patch tokens of a SigLIP 2, chosen by a detector or by their norm."""

    name = "siglip2"
    mean, std = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)

    defaults = MapOptions(resize="bicubic_float")  # as ELViS has it

    def __init__(
        self,
        variant: str = "base_512",  # a key of VARIANTS
        weights: str | None = None,  # transformers folder; None: the hub's cache, then the hub
        facet: str = "patch",  # nothing else
        image_size: int | Sequence[int] | None = None,  # None: the variant's own
        **options: Any,  # of MapOptions
    ) -> None:
        spec = choose("SigLIP 2", variant, VARIANTS)
        size = spec.size if image_size is None else image_size
        super().__init__(variant, spec, weights, facet, image_size=size, **options)

    def _wrap(self, model: nn.Module) -> nn.Module:
        return Siglip2Network(model, self._spec.patch)


class Siglip2Network(nn.Module):
    """From pixels to Features; position embeddings are interpolated where the grid is another."""

    def __init__(self, model: nn.Module, patch: int) -> None:
        super().__init__()
        self.model, self.patch = model, patch

    def forward(self, pixels: Tensor) -> Features:
        """pixels [B, 3, H, W], normalised, sides multiples of the patch."""
        grid = grid_of(pixels, self.patch)
        found = self.model(pixel_values=pixels, interpolate_pos_encoding=True)
        return Features(as_map(found.last_hidden_state, grid), found.pooler_output)
