"""DINOv2 as a backbone: patch features, and the CLS token for facet=patch.

The defaults are the published extraction of AMES. Transformers' blocks run with the original code's
position embeddings, so that maps equal the original's at every size. The facets query, key, value
and token are taken from a block (0-based) before any final norm; `patch` is the final, normalized
output.

Weights come from the hub's cache, a folder or an original `.pth`. Keys and shapes are checked, but
for mask_token, which only pre-training uses.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ames_lite.errors import existing_file
from ames_lite.extraction.backbones import map_backbone, pretrained
from ames_lite.extraction.backbones.pretrained import Checkpoint
from ames_lite.extraction.backbones.vision_transformers import Transformer
from ames_lite.io.digest import file_digest
from ames_lite.io.weights_file import State, fill_network, read_state

PATCH = 14
ORIGINALS = "https://dl.fbaipublicfiles.com/dinov2"
UNUSED = "embeddings.mask_token"  # a weight that plays no part in features
RENAMED = {  # words of a name in transformers: those of the original
    "embeddings.position_embeddings": "pos_embed",
    "embeddings.patch_embeddings.projection": "patch_embed.proj",
    "embeddings.": "",
    "layernorm.": "norm.",
    "encoder.layer.": "blocks.",
    "attention.o_proj": "attn.proj",
    "mlp.down_proj": "mlp.w3",
    "layer_scale1.lambda1": "ls1.gamma",
    "layer_scale2.lambda1": "ls2.gamma",
}
CUT = {  # what is part of an original tensor: its name, which part, of how many equal ones by rows
    "attention.q_proj": ("attn.qkv", 0, 3),
    "attention.k_proj": ("attn.qkv", 1, 3),
    "attention.v_proj": ("attn.qkv", 2, 3),
    "mlp.gate_proj": ("mlp.w12", 0, 2),
    "mlp.up_proj": ("mlp.w12", 1, 2),
}
PROJECTIONS = {"query": "q_proj", "key": "k_proj", "value": "v_proj"}  # of a block's attention
FACETS = ("patch", "token", *PROJECTIONS)


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
    more: dict[str, Any] = {"mlp_ratio": 4, "use_swiglu_ffn": swiglu, "layer_norm_eps": 1e-6}
    more["image_size"] = PATCH * grid
    kind = ("DINOv2", "Dinov2Model", "dinov2")
    if registers:
        kind = ("DINOv2", "Dinov2WithRegistersModel", "dinov2_with_registers")
        more["num_register_tokens"] = registers
    shape, unused = (dim, depth, heads, PATCH), ("mask_token",)
    return Checkpoint(*kind, *shape, more, hub=hub, original=original, unused=unused)


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
    hub = f"facebook/dinov2{kind}-{word}"
    original = f"{ORIGINALS}/{stem}/{stem}{suffix}_pretrain.pth"
    sizes, swiglu = (dim, depth, heads, registers), letter == "g"
    return dinov2_checkpoint(*sizes, swiglu=swiglu, hub=hub, original=original)


VARIANTS = {
    f"vit{letter}14{'_reg' if registers else ''}": _published(letter, registers)
    for letter in SHAPES
    for registers in (0, 4)
}


class Dinov2(Transformer):
    """A DINOv2; weights: a transformers folder or an original .pth."""

    name = "dinov2"
    variants, default, facets = VARIANTS, "vitb14_reg", FACETS
    defaults = map_backbone.MapOptions(image_size=770)

    def _load(self) -> tuple[nn.Module, str]:
        return load_network(self._spec, self.weights)

    def _network(self) -> tuple[nn.Module, str]:
        model, digest = self._load()
        return Dinov2Network(model, self._spec.registers, self.facet, self.layer), digest

    def save(self, network: Any, folder: Path) -> Path:
        return pretrained.save_pretrained(network.model, folder)


class TinyRandom(Dinov2):
    """A very small DINOv2 with random weights from a seed, or those of a folder: for tests."""

    name = "tiny_random"

    def __init__(self, seed: int = 0, registers: int = 4, **arguments: Any) -> None:
        self.seed, variant = seed, f"tiny_random, {registers} registers"
        self.variants = {variant: dinov2_checkpoint(32, 2, 2, registers, grid=5)}
        super().__init__(variant, **arguments)

    def _load(self) -> tuple[nn.Module, str]:
        if self.weights is not None:
            file, expected = Path(self.weights) / pretrained.WEIGHTS, "a folder that `save` wrote"
            existing_file(file, "the weights of tiny_random are missing", expected=expected)
            return super()._load()
        return random_network(self._spec, self.seed), f"random, seed {self.seed}"


def position_embeddings(trained: Tensor, rows: int, columns: int, registers: bool) -> Tensor:
    """Position embeddings [1, 1 + rows * columns, D] for a grid, from trained ones [1, 1 + M², D].
    As the original code does it: in float32, a grid of the trained size unchanged; without
    registers by a scale factor that has an offset, with registers by size and with antialias.
    """
    side = round((trained.shape[1] - 1) ** 0.5)
    if (rows, columns) == (side, side):
        return trained
    cls, grid = trained[:, :1].float(), trained[:, 1:].float()
    planes = grid.reshape(1, side, side, -1).permute(0, 3, 1, 2)
    how: dict[str, Any] = {"size": (rows, columns), "antialias": True}
    if not registers:
        how = {"scale_factor": ((rows + 0.1) / side, (columns + 0.1) / side)}
    planes = functional.interpolate(planes, mode="bicubic", align_corners=False, **how)
    return torch.cat([cls, planes.flatten(2).transpose(1, 2)], dim=1).to(trained.dtype)


class Dinov2Network(map_backbone.Staged):
    """A transformers DINOv2 with the original features, that stops at `layer` (None: the last)."""

    adapted = ("q_proj", "v_proj")  # as published: Hu et al., LoRA, ICLR 2022

    def __init__(
        self, model: nn.Module, registers: int, facet: str = "patch", layer: int | None = None
    ) -> None:
        super().__init__()
        self.model: Any = model
        self.registers, self.facet, self.layer = registers, facet, layer

    def forward(self, pixels: Tensor) -> map_backbone.Features:
        """pixels [B, 3, H, W], normalized, sides multiples of 14."""
        grid, facet, blocks = map_backbone.grid_of(pixels, PATCH), self.facet, self.layers
        last = len(blocks) - 1 if self.layer is None else self.layer
        hidden, cls = self.stem(pixels), None
        for block in blocks[:last]:
            hidden = block(hidden)
        if facet in PROJECTIONS:
            project = getattr(blocks[last].attention, PROJECTIONS[facet])
            hidden = project(blocks[last].norm1(hidden))
        else:
            hidden = blocks[last](hidden)
        if facet == "patch":
            hidden = self.model.layernorm(hidden)
            cls = hidden[:, 0]
        patches = map_backbone.as_map(hidden[:, 1 + self.registers :], grid)
        return map_backbone.Features(patches, cls)

    @property
    def layers(self) -> Any:
        return self.model.encoder.layer

    @property
    def endings(self) -> list[nn.Module]:
        return [self.model.layernorm]

    def pooled(self, hidden: Tensor) -> Tensor:
        """CLS [B, D] of the last tokens, normalized."""
        return self.model.layernorm(hidden[:, 0])

    def stem(self, pixels: Tensor) -> Tensor:
        """Tokens [B, 1 + R + h * w, D] of pixels, as the first block takes them."""
        parts, grid = self.model.embeddings, map_backbone.grid_of(pixels, PATCH)
        patches = parts.patch_embeddings.projection(pixels).flatten(2).transpose(1, 2)
        tokens = torch.cat([parts.cls_token.expand(len(pixels), -1, -1), patches], dim=1)
        has_registers, trained = self.registers > 0, parts.position_embeddings
        tokens = tokens + position_embeddings(trained, *grid, registers=has_registers)
        if not has_registers:
            return tokens
        registers = parts.register_tokens.expand(len(pixels), -1, -1)
        return torch.cat([tokens[:, :1], registers, tokens[:, 1:]], dim=1)


def load_network(spec: Checkpoint, weights: str | Path | None = None) -> tuple[nn.Module, str]:
    """As `load_pretrained`; weights may also be an original `.pth`."""
    if weights is None or Path(weights).expanduser().is_dir():
        return pretrained.load_pretrained(spec, weights)
    path = Path(weights).expanduser()
    if not path.exists():
        raise pretrained.missing(spec, Path(weights))
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


def originals_to_transformers(state: State, wanted: Iterable[str]) -> dict[str, Tensor]:
    """An original state under the names `wanted` here; one without a place keeps its name."""
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
    model, config = map(pretrained.transformers_class, (spec.model, spec.config_class))
    with torch.device("meta"):
        return model(config(**spec.config))


def _filled(state: State, spec: Checkpoint, path: str | Path) -> nn.Module:
    """The model in float32 and eval mode, from a state under the original names."""
    network = _empty(spec)
    wanted = network.state_dict()
    found = originals_to_transformers(state, wanted)
    found.pop("mask_token", None)  # where the model has none
    if UNUSED in wanted:
        found.setdefault(UNUSED, torch.zeros(wanted[UNUSED].shape))
    return fill_network(network, found, path, spec.expected)
