"""EfficientNet-Lite0: inverted residual blocks without squeeze-and-excitation, ReLU6.

Parameters are named as in the published files (`_conv_stem`, `_blocks.0` …, `_conv_head`, `_fc`).
Source: Tan and Le, "EfficientNet", ICML 2019, and its Lite variants, which drop what mobile
hardware lacks.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_weights

from ames_lite.extraction.backbones.features import Features
from ames_lite.retrieval.map_pooling import gem_map

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
STEM, HEAD, CLASSES = 32, 1280, 1000
EPSILON = 1e-3  # of BatchNorm, TensorFlow's
LAYOUT = torch.channels_last  # with BatchNorm folded 0.6 times the time on a CPU
LEAST = 1e-6  # GeM: activations are clamped from below


@dataclass(frozen=True)
class BlockShape:
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
    """A convolution padded as TensorFlow's `same` where sides are even; a bias once it is folded.

    With a stride of 2 the odd pixel of padding is behind: a cell is centred on pixel 2i + 1.
    """

    def __init__(
        self, dim_in: int, dim: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__(dim_in, dim, kernel, stride, groups=groups, bias=False)
        before = (kernel - stride) // 2
        after = kernel - stride - before
        self.sides = (before, after, before, after)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, dim_in, H, W], sides multiples of the stride."""
        before, after, _, _ = self.sides
        if before != after:
            x = functional.pad(x, self.sides)
        padding = before if before == after else 0
        return functional.conv2d(
            x, self.weight, self.bias, self.stride, padding, groups=self.groups
        )


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


class EfficientNetLite(nn.Module):
    """Stem, blocks, head: the map of the chosen blocks and GeM over the last feature map.

    blocks: whose output is the local map; of several, each brought to unit length per cell, sampled
    to the first one's grid, side by side. power: of GeM.
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
        x = _relu6(self._bn0(self._conv_stem(pixels)))
        found = []
        for block in self._blocks:
            x = block(x)
            found.append(x)
        found.append(_relu6(self._bn1(self._conv_head(x))))
        return found

    def forward(self, pixels: Tensor) -> Features:
        """pixels [B, 3, H, W], normalized; H and W are multiples of 32."""
        found = self.maps(pixels)
        return Features(self._local(found), gem_map(found[-1], self.power, LEAST))

    def _local(self, found: Sequence[Tensor]) -> Tensor:
        first, *others = (found[block] for block in self.blocks)
        if not others:
            return first
        unit = [functional.normalize(first, dim=1)]
        for other in others:
            resized = functional.interpolate(other, first.shape[2:], mode="bilinear")
            unit.append(functional.normalize(resized, dim=1))
        return torch.cat(unit, dim=1)


def fold_batch_norm(network: nn.Module) -> nn.Module:
    """BatchNorm of a network in eval mode becomes part of the convolution before it, in LAYOUT."""
    for module in list(network.modules()):
        before: SameConv2d | None = None
        for name, child in list(module.named_children()):
            if isinstance(child, nn.BatchNorm2d) and before is not None:
                assert child.running_mean is not None and child.running_var is not None
                weight, before.bias = fuse_conv_bn_weights(
                    before.weight,
                    before.bias,
                    child.running_mean,
                    child.running_var,
                    child.eps,
                    child.weight,
                    child.bias,
                )
                before.weight = nn.Parameter(weight.contiguous(memory_format=LAYOUT))
                setattr(module, name, nn.Identity())
            before = child if isinstance(child, SameConv2d) else None
    return network
