"""Vision transformers as backbones: the base of all, and DINOv3 and SigLIP 2 by transformers.

DINOv3: positions are rotary, any size that is a multiple of 16 works without interpolation.
SigLIP 2: the global vector, of kind `cls`, is what the model's attention head pools from the
tokens. Checkpoints of a fixed resolution are of transformers' SigLIP class; the naflex ones are
refused. Position embeddings are interpolated (bicubic) for other grids than the trained one.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ames_lite.errors import BadInput, chosen, require
from ames_lite.extraction.backbones import map_backbone
from ames_lite.extraction.backbones.pretrained import Checkpoint, load_pretrained


class Transformer(map_backbone.MapBackbone):
    """Patch tokens of a vision transformer, chosen by a detector or by their norm."""

    variants: Mapping[str, Checkpoint]
    default: str
    facets: tuple[str, ...] = ("patch",)
    call: Mapping[str, Any] = {}  # arguments of the model beside pixels

    def __init__(
        self,
        variant: str | None = None,  # a key of `variants`; None: `default`
        weights: str | None = None,  # transformers folder; None: the hub's cache, then the hub
        facet: str = "patch",  # the final tokens; or another of `facets`, of a block
        layer: int | None = None,  # that block, 0-based; None: the last
        **options: Any,  # of MapOptions
    ) -> None:
        map_backbone.require_text(weights=weights)
        self.variant, self.weights, self.facet = variant or self.default, weights, facet
        title = next(iter(self.variants.values())).title
        self._spec = spec = chosen(self.variant, self.variants, f"{title} variant", BadInput)
        self.layer = spec.depth - 1 if layer is None else layer
        self._check_facet()
        if options.setdefault("image_size", self.defaults.image_size) is None:
            options["image_size"] = spec.config.get("image_size")
        kind, dim = ("cls", spec.dim) if facet == "patch" else (None, 0)
        super().__init__(spec.dim, patch=spec.patch, global_kind=kind, global_dim=dim, **options)

    def _check_facet(self) -> None:
        facet, layer, depth = self.facet, self.layer, self._spec.depth
        expected = f"one of {', '.join(self.facets)}"
        expected += "; for other facets backbone=dinov2" if len(self.facets) == 1 else ""
        require(facet in self.facets, f"facet '{facet}' of {self.name}", expected)
        known = isinstance(layer, int) and 0 <= layer < depth
        require(known, f"layer is {layer}", f"a block from 0 to {depth - 1}")
        fits, what = facet != "patch" or layer == depth - 1, "facet=patch is the final output"
        expected = "layer=null, or facet=token of a DINOv2 for the output of that block"
        require(fits, f"{what}, layer is {layer}", expected)

    def _network(self) -> tuple[nn.Module, str]:
        model, digest = load_pretrained(self._spec, self.weights)
        return FinalTokens(model, self._spec.patch, self.call), digest


class FinalTokens(nn.Module):
    """From pixels to Features: the patches are the last tokens, behind CLS and registers."""

    def __init__(self, model: nn.Module, patch: int, call: Mapping[str, Any]) -> None:
        super().__init__()
        self.model, self.patch, self.call = model, patch, call

    def forward(self, pixels: Tensor) -> map_backbone.Features:
        """pixels [B, 3, H, W], normalized, sides multiples of the patch."""
        rows, columns = grid = map_backbone.grid_of(pixels, self.patch)
        found = self.model(pixel_values=pixels, **self.call)
        patches = map_backbone.as_map(found.last_hidden_state[:, -rows * columns :], grid)
        return map_backbone.Features(patches, found.pooler_output)


def dinov3_checkpoint(
    dim: int, depth: int, heads: int, hidden: int, *, gated: bool = False, word: str | None = None
) -> Checkpoint:
    """gated: the feed-forward is a SwiGLU; word: the name on the hub."""
    more: dict[str, Any] = {"intermediate_size": hidden, "num_register_tokens": 4}
    more |= {"layer_norm_eps": 1e-5, "rope_theta": 100.0}
    more |= {"use_gated_mlp": gated, "hidden_act": "silu" if gated else "gelu"}
    hub = None if word is None else f"facebook/dinov3-{word}-pretrain-lvd1689m"
    kind, shape = ("DINOv3", "DINOv3ViTModel", "dinov3_vit"), (dim, depth, heads, 16)
    return Checkpoint(*kind, *shape, more, hub=hub, gated=True, unused=("mask_token",))


DINOV3 = {
    "vits16": dinov3_checkpoint(384, 12, 6, 1536, word="vits16"),
    "vits16plus": dinov3_checkpoint(384, 12, 6, 1536, gated=True, word="vits16plus"),
    "vitb16": dinov3_checkpoint(768, 12, 12, 3072, word="vitb16"),
    "vitl16": dinov3_checkpoint(1024, 24, 16, 4096, word="vitl16"),
    "vith16plus": dinov3_checkpoint(1280, 32, 20, 5120, gated=True, word="vith16plus"),
}


class Dinov3(Transformer):
    name = "dinov3"
    variants, default = DINOV3, "vitb16"
    defaults = map_backbone.MapOptions(image_size=768, resize="bicubic_float")  # as ELViS has it


def siglip2_checkpoint(
    dim: int, depth: int, heads: int, hidden: int, size: int, hub: str | None = None
) -> Checkpoint:
    """The vision part, alone or beside the text part; size: pixels a side of training images."""
    more: dict[str, Any] = {"intermediate_size": hidden, "image_size": size}
    more |= {"layer_norm_eps": 1e-6, "hidden_act": "gelu_pytorch_tanh", "vision_use_head": True}
    beside = ("text_model.", "logit_scale", "logit_bias")
    kind, shape = ("SigLIP 2", "SiglipVisionModel", "siglip_vision_model"), (dim, depth, heads, 16)
    return Checkpoint(*kind, *shape, more, section="vision_config", hub=hub, beside=beside)


SIGLIP2 = {
    f"{word}_{size}": siglip2_checkpoint(*shape, size, f"google/siglip2-{word}-patch16-{size}")
    for word, shape in (
        ("base", (768, 12, 12, 3072)),
        ("large", (1024, 24, 16, 4096)),
        ("so400m", (1152, 27, 16, 4304)),
    )
    for size in (384, 512)
}


class Siglip2(Transformer):
    name = "siglip2"
    variants, default = SIGLIP2, "base_512"
    call = {"interpolate_pos_encoding": True}
    mean, std = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
    defaults = map_backbone.MapOptions(image_size=None, resize="bicubic_float")  # as ELViS has it
