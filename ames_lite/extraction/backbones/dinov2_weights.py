"""DINOv2 weights: from the hub's cache, a local folder or an original `.pth` into transformers.

Keys and shapes are checked, but for mask_token, which only pre-training uses.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from ames_lite.extraction.backbones.pretrained import (
    Checkpoint,
    load_pretrained,
    missing,
    transformers_class,
)
from ames_lite.io.digest import file_digest
from ames_lite.io.weights_file import read_state, refuse_keys

ORIGINALS = "https://dl.fbaipublicfiles.com/dinov2"
UNUSED = "embeddings.mask_token"  # a weight that plays no part in features
RENAMED = {  # words of a name in transformers, of new and old versions: those of the original
    "embeddings.position_embeddings": "pos_embed",
    "embeddings.patch_embeddings.projection": "patch_embed.proj",
    "embeddings.": "",
    "layernorm.": "norm.",
    "encoder.layer.": "blocks.",
    "attention.o_proj": "attn.proj",
    "attention.output.dense": "attn.proj",
    "mlp.weights_in": "mlp.w12",
    "mlp.weights_out": "mlp.w3",
    "mlp.down_proj": "mlp.w3",
    "layer_scale1.lambda1": "ls1.gamma",
    "layer_scale2.lambda1": "ls2.gamma",
}
CUT = {  # what is part of an original tensor: its name, which part, of how many equal ones by rows
    "attention.q_proj": ("attn.qkv", 0, 3),
    "attention.k_proj": ("attn.qkv", 1, 3),
    "attention.v_proj": ("attn.qkv", 2, 3),
    "attention.attention.query": ("attn.qkv", 0, 3),
    "attention.attention.key": ("attn.qkv", 1, 3),
    "attention.attention.value": ("attn.qkv", 2, 3),
    "mlp.gate_proj": ("mlp.w12", 0, 2),
    "mlp.up_proj": ("mlp.w12", 1, 2),
}


def dinov2_checkpoint(
    dim: int,
    depth: int,
    heads: int,
    registers: int = 0,
    *,
    swiglu: bool = False,
    grid: int = 37,
    hub: str | None = None,
    original: str | None = None,
) -> Checkpoint:
    """swiglu: feed-forward of ViT-g; grid: patches a side of the trained position embeddings."""
    return Checkpoint(
        title="DINOv2",
        model="Dinov2WithRegistersModel" if registers else "Dinov2Model",
        model_type="dinov2_with_registers" if registers else "dinov2",
        config={
            "hidden_size": dim,
            "num_hidden_layers": depth,
            "num_attention_heads": heads,
            "mlp_ratio": 4,
            "use_swiglu_ffn": swiglu,
            "image_size": 14 * grid,
            "patch_size": 14,
            "layer_norm_eps": 1e-6,
            **({"num_register_tokens": registers} if registers else {}),
        },
        hub=hub,
        original=original,
        unused=("mask_token",),
    )


SHAPES = {
    "s": ("small", 384, 12, 6),
    "b": ("base", 768, 12, 12),
    "l": ("large", 1024, 24, 16),
    "g": ("giant", 1536, 40, 24),
}


def _published(letter: str, registers: int) -> Checkpoint:
    word, dim, depth, heads = SHAPES[letter]
    kind, suffix = ("-with-registers", "_reg4") if registers else ("", "")
    stem = f"dinov2_vit{letter}14"
    return dinov2_checkpoint(
        *(dim, depth, heads, registers),
        swiglu=letter == "g",
        hub=f"facebook/dinov2{kind}-{word}",
        original=f"{ORIGINALS}/{stem}/{stem}{suffix}_pretrain.pth",
    )


VARIANTS = {
    f"vit{letter}14{'_reg' if registers else ''}": _published(letter, registers)
    for letter in SHAPES
    for registers in (0, 4)
}


def load_network(spec: Checkpoint, weights: str | Path | None = None) -> tuple[nn.Module, str]:
    """As `load_pretrained`; weights may also be an original `.pth`."""
    if weights is None or Path(weights).expanduser().is_dir():
        return load_pretrained(spec, weights)
    path = Path(weights).expanduser()
    if not path.exists():
        raise missing(spec, Path(weights))
    return _filled(read_state(path, spec.expected), spec, path), file_digest(path)


def random_network(spec: Checkpoint, seed: int) -> nn.Module:
    """A network whose weights are drawn from the seed: for tests."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in sorted(original_shapes(spec).items()):
        noise = torch.randn(shape, generator=generator)
        matrix = name.endswith("weight") and len(shape) > 1
        one = float("norm" in name and name.endswith("weight"))
        state[name] = noise / shape[1] ** 0.5 if matrix else one + 0.1 * noise
    return _filled(state, spec, f"seed {seed}")


def original_shapes(spec: Checkpoint) -> dict[str, tuple[int, ...]]:
    """The names and shapes of an original state."""
    shapes: dict[str, tuple[int, ...]] = {"mask_token": (1, spec.dim)}
    for name, value in _empty(spec).state_dict().items():
        original, _, parts = _original(name)
        shapes[original] = (parts * value.shape[0], *value.shape[1:])
    return shapes


def originals_to_transformers(
    state: Mapping[str, Tensor], wanted: Iterable[str]
) -> dict[str, Tensor]:
    """A state under the original names, renamed to those `wanted` by this version of transformers.

    A tensor that has no place there keeps its original name, for the check to find.
    """
    # the `.pth` of ViT-g groups its blocks (blocks.<chunk>.<block>.…)
    given = {re.sub(r"^blocks\.\d+\.(\d+)\.", r"blocks.\1.", n): v for n, v in state.items()}
    renamed, used = {}, set()
    for name in wanted:
        original, part, parts = _original(name)
        if original in given:
            renamed[name] = given[original].chunk(parts)[part]
            used.add(original)
    return renamed | {name: value for name, value in given.items() if name not in used}


def _original(name: str) -> tuple[str, int, int]:
    """The original tensor that a weight of transformers is part of; which part, of how many."""
    place = (0, 1)
    for ours, (theirs, part, parts) in CUT.items():
        if ours in name:
            name, place = name.replace(ours, theirs), (part, parts)
    for ours, theirs in RENAMED.items():
        name = name.replace(ours, theirs)
    return name, *place


def _empty(spec: Checkpoint) -> nn.Module:
    """On the meta device: nothing is drawn that a file replaces."""
    model_class, config_class = (transformers_class(n) for n in (spec.model, spec.config_class))
    with torch.device("meta"):
        network: nn.Module = model_class(config_class(**spec.config))
    return network


def _filled(state: Mapping[str, Tensor], spec: Checkpoint, path: str | Path) -> nn.Module:
    """The model in float32 and eval mode, from a state under the original names."""
    network = _empty(spec)
    wanted = network.state_dict()
    found = originals_to_transformers(state, wanted)
    if UNUSED in wanted:
        found.setdefault(UNUSED, torch.zeros(wanted[UNUSED].shape))
    refuse_keys(
        path,
        spec.expected,
        missing=wanted.keys() - found.keys(),
        unexpected={name for name in found.keys() - wanted.keys() if name != "mask_token"},
        mismatched={n for n in found.keys() & wanted.keys() if found[n].shape != wanted[n].shape},
    )
    network.load_state_dict({name: found[name].clone() for name in wanted}, assign=True)
    assert not any(value.is_meta for value in (*network.parameters(), *network.buffers()))
    return network.float().eval()
