"""The networks that were published as DINOv2, and what their weights are called.

Input: a state under the original names. Output: the same tensors under the names of transformers,
whose new versions call some of them otherwise than the old ones; the names of the model at hand
decide.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

ORIGINALS = "https://dl.fbaipublicfiles.com/dinov2"
FIXED = {
    "cls_token": "embeddings.cls_token",
    "mask_token": "embeddings.mask_token",
    "register_tokens": "embeddings.register_tokens",
    "pos_embed": "embeddings.position_embeddings",
    "patch_embed.proj.weight": "embeddings.patch_embeddings.projection.weight",
    "patch_embed.proj.bias": "embeddings.patch_embeddings.projection.bias",
    "norm.weight": "layernorm.weight",
    "norm.bias": "layernorm.bias",
}
IN_BLOCK = {  # the new names first; several: the tensor is cut into as many equal parts by rows
    "attn.qkv": (
        ("attention.q_proj", "attention.k_proj", "attention.v_proj"),
        ("attention.attention.query", "attention.attention.key", "attention.attention.value"),
    ),
    "attn.proj": (("attention.o_proj",), ("attention.output.dense",)),
    "mlp.w12": (("mlp.gate_proj", "mlp.up_proj"), ("mlp.weights_in",)),
    "mlp.w3": (("mlp.down_proj",), ("mlp.weights_out",)),
    "ls1.gamma": (("layer_scale1.lambda1",),),
    "ls2.gamma": (("layer_scale2.lambda1",),),
}


@dataclass(frozen=True)
class Variant:
    """The shape of a network.

    dim: width D; depth: blocks; heads; registers: 0 or 4; swiglu: the feed-forward of ViT-g;
    grid: patches a side that position embeddings were trained for; hub and original: where the
    weights are published (None: nowhere).
    """

    dim: int
    depth: int
    heads: int
    registers: int = 0
    swiglu: bool = False
    grid: int = 37
    hub: str | None = None
    original: str | None = None

    @property
    def config(self) -> dict[str, Any]:
        """The arguments of the transformers configuration."""
        registers = {"num_register_tokens": self.registers} if self.registers else {}
        return {
            "hidden_size": self.dim,
            "num_hidden_layers": self.depth,
            "num_attention_heads": self.heads,
            "mlp_ratio": 4,
            "use_swiglu_ffn": self.swiglu,
            "image_size": 14 * self.grid,
            "patch_size": 14,
            "layer_norm_eps": 1e-6,
            **registers,
        }


def _variant(letter: str, word: str, dim: int, depth: int, heads: int, registers: int) -> Variant:
    hub = f"facebook/dinov2-with-registers-{word}" if registers else f"facebook/dinov2-{word}"
    stem = f"dinov2_vit{letter}14"
    suffix = "_reg4" if registers else ""
    original = f"{ORIGINALS}/{stem}/{stem}{suffix}_pretrain.pth"
    return Variant(dim, depth, heads, registers, letter == "g", hub=hub, original=original)


VARIANTS: dict[str, Variant] = {
    "vits14": _variant("s", "small", 384, 12, 6, 0),
    "vits14_reg": _variant("s", "small", 384, 12, 6, 4),
    "vitb14": _variant("b", "base", 768, 12, 12, 0),
    "vitb14_reg": _variant("b", "base", 768, 12, 12, 4),
    "vitl14": _variant("l", "large", 1024, 24, 16, 0),
    "vitl14_reg": _variant("l", "large", 1024, 24, 16, 4),
    "vitg14": _variant("g", "giant", 1536, 40, 24, 0),
    "vitg14_reg": _variant("g", "giant", 1536, 40, 24, 4),
}


def original_shapes(variant: Variant) -> dict[str, tuple[int, ...]]:
    """The names and shapes of an original state."""
    dim, hidden = variant.dim, (int(4 * variant.dim * 2 / 3) + 7) // 8 * 8
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, dim),
        "mask_token": (1, dim),
        "pos_embed": (1, 1 + variant.grid**2, dim),
        "patch_embed.proj.weight": (dim, 3, 14, 14),
        "patch_embed.proj.bias": (dim,),
        **{f"norm.{ending}": (dim,) for ending in ("weight", "bias")},
    }
    if variant.registers:
        shapes["register_tokens"] = (1, variant.registers, dim)
    linear = {"attn.qkv": (3 * dim, dim), "attn.proj": (dim, dim)}
    if variant.swiglu:
        linear |= {"mlp.w12": (2 * hidden, dim), "mlp.w3": (dim, hidden)}
    else:
        linear |= {"mlp.fc1": (4 * dim, dim), "mlp.fc2": (dim, 4 * dim)}
    for i in range(variant.depth):
        for name, shape in linear.items():
            shapes |= {f"blocks.{i}.{name}.weight": shape, f"blocks.{i}.{name}.bias": shape[:1]}
        for name in ("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"):
            shapes[f"blocks.{i}.{name}"] = (dim,)
        shapes |= {f"blocks.{i}.{name}.gamma": (dim,) for name in ("ls1", "ls2")}
    return shapes


def originals_to_transformers(
    state: Mapping[str, Tensor], wanted: Iterable[str]
) -> dict[str, Tensor]:
    """A state under the original names, renamed to what this version of transformers calls them.

    wanted: the names of the model; they choose between the names of old and new versions. A tensor
    that has no place there keeps its original name, for the check to find.
    """
    names, renamed = set(wanted), {}
    for name, value in state.items():
        for choice in _renamings(name, value):
            if choice.keys() <= names:
                renamed.update(choice)
                break
        else:
            renamed[name] = value
    return renamed


def _renamings(name: str, value: Tensor) -> list[dict[str, Tensor]]:
    """All that a tensor may become, the names of the newest version first."""
    if name in FIXED:
        return [{FIXED[name]: value}]
    parts = name.split(".")
    if parts[0] != "blocks" or len(parts) < 4:
        return []
    # the `.pth` of ViT-g groups its blocks (blocks.<chunk>.<block>.…)
    block, rest = (parts[2], parts[3:]) if parts[2].isdigit() else (parts[1], parts[2:])
    inside = ".".join(rest)
    stem, ending = (inside, "") if inside in IN_BLOCK else (inside.rpartition(".")[0], rest[-1])
    choices = IN_BLOCK.get(stem, ((stem,),))
    return [_cut(f"encoder.layer.{block}", choice, ending, value) for choice in choices]


def _cut(prefix: str, stems: tuple[str, ...], ending: str, value: Tensor) -> dict[str, Tensor]:
    endings = [f"{prefix}.{stem}.{ending}".rstrip(".") for stem in stems]
    return dict(zip(endings, value.chunk(len(stems)), strict=True))
