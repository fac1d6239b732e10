"""DINOv3 and SigLIP 2 as backbones, through transformers: final patch tokens and a global vector.

DINOv3: its CLS. Positions are rotary: any size that is a multiple of 16 works without
interpolation. The weights are gated: access has to be requested on the hub.

SigLIP 2: the global vector, of kind `cls`, is what the model's attention head pools from the
tokens. Checkpoints of a fixed resolution are of transformers' SigLIP class; the naflex ones, of its
Siglip2 class, are refused. Position embeddings are interpolated (bicubic) for other grids than the
trained square one; image_size=[384, 384] stretches an image to the trained one.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from ames_lite.errors import require
from ames_lite.extraction.backbones.features import Features, as_map, grid_of
from ames_lite.extraction.backbones.map_backbone import MapBackbone, MapOptions, require_text
from ames_lite.extraction.backbones.pretrained import Checkpoint, choose, load_pretrained


class FinalTokens(MapBackbone):
    """The base of both; wrap: from the loaded model to a network that gives Features."""

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
        expected = "patch, the final tokens; for other facets backbone=dinov2"
        require(facet == "patch", f"facet '{facet}' of {self.name}", expected=expected)
        super().__init__(
            spec.dim, patch=spec.patch, global_kind="cls", global_dim=spec.dim, **options
        )

    def _network(self) -> tuple[nn.Module, str]:
        model, digest = load_pretrained(self._spec, self.weights)
        return self.wrap(model, self._spec), digest


def dinov3_checkpoint(
    dim: int, depth: int, heads: int, hidden: int, *, gated: bool = False, word: str | None = None
) -> Checkpoint:
    """gated: the feed-forward is a SwiGLU; word: the name on the hub."""
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


DINOV3 = {
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
        """pixels [B, 3, H, W], normalized, sides multiples of the patch."""
        grid = grid_of(pixels, self.spec.patch)
        tokens = self.model(pixel_values=pixels).last_hidden_state
        return Features(as_map(tokens[:, 1 + self.spec.registers :], grid), tokens[:, 0])


class Dinov3(FinalTokens):
    """Patch tokens of a DINOv3, chosen by a detector or by their norm."""

    name = "dinov3"
    variants, wrap = DINOV3, Dinov3Network
    defaults = MapOptions(image_size=768, resize="bicubic_float")  # as ELViS has it

    def __init__(
        self,
        variant: str = "vitb16",
        weights: str | None = None,
        facet: str = "patch",
        **options: Any,
    ) -> None:
        super().__init__(variant, weights, facet, **options)


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


SIGLIP2_SHAPES = {
    "base": (768, 12, 12, 3072),
    "large": (1024, 24, 16, 4096),
    "so400m": (1152, 27, 16, 4304),
}
SIGLIP2 = {
    f"{word}_{size}": siglip2_checkpoint(*shape, size, f"google/siglip2-{word}-patch16-{size}")
    for word, shape in SIGLIP2_SHAPES.items()
    for size in (384, 512)
}


class Siglip2Network(nn.Module):
    """From pixels to Features."""

    def __init__(self, model: nn.Module, spec: Checkpoint) -> None:
        super().__init__()
        self.model, self.spec = model, spec

    def forward(self, pixels: Tensor) -> Features:
        """pixels [B, 3, H, W], normalized, sides multiples of the patch."""
        grid = grid_of(pixels, self.spec.patch)
        found = self.model(pixel_values=pixels, interpolate_pos_encoding=True)
        return Features(as_map(found.last_hidden_state, grid), found.pooler_output)


class Siglip2(FinalTokens):
    """Patch tokens of a SigLIP 2, chosen by a detector or by their norm."""

    name = "siglip2"
    variants, wrap = SIGLIP2, Siglip2Network
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
        own = choose(variant, SIGLIP2).config["image_size"]
        size = own if image_size is None else image_size
        super().__init__(variant, weights, facet, image_size=size, **options)
