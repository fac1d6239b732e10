"""The ResNet of CVNet: a local feature map and a global descriptor from one pass.

Parameters are named as in the published files (stem, s1 to s4, head). The map is stage 3's output
before its last ReLU, so it has negative entries; the global descriptor is not L2-normalized.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ames_lite.errors import BadInput
from ames_lite.extraction.backbones.features import Features
from ames_lite.retrieval.map_pooling import gem_map

STRIDE = 16  # pixels between the cells of the map
SMALLEST = 1e-6  # GeM: activations are clamped from below


@dataclass(frozen=True)
class Shape:
    """The shape of a network; the defaults are the published ResNet-101.

    depths: blocks of the four stages; width: channels of the stem; the stages' inner widths are
    width, 2·width, 4·width, 8·width, their outer ones four times that; dim: of the global vector.
    """

    depths: tuple[int, ...] = (3, 4, 23, 3)
    width: int = 64
    dim: int = 2048

    def __post_init__(self) -> None:
        numbers = [*self.depths, self.width, self.dim]
        if len(self.depths) != 4 or not all(isinstance(n, int) and n > 0 for n in numbers):
            raise BadInput(
                f"depths are {self.depths}, width is {self.width}, global_dim is {self.dim}",
                expected="four depths, a width and a dimension, whole numbers from 1",
            )

    @property
    def local_dim(self) -> int:
        return 16 * self.width


class Branch(nn.Module):
    """1×1 convolution → 3×3 with the stride → 1×1, each with BatchNorm; no ReLU at the end."""

    def __init__(self, dim_in: int, inner: int, dim: int, stride: int) -> None:
        super().__init__()
        self.a = nn.Conv2d(dim_in, inner, 1, bias=False)
        self.a_bn = nn.BatchNorm2d(inner, eps=1e-5)
        self.b = nn.Conv2d(inner, inner, 3, stride, padding=1, bias=False)
        self.b_bn = nn.BatchNorm2d(inner, eps=1e-5)
        self.c = nn.Conv2d(inner, dim, 1, bias=False)
        self.c_bn = nn.BatchNorm2d(dim, eps=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.a_bn(self.a(x)))
        x = functional.relu(self.b_bn(self.b(x)))
        branch: Tensor = self.c_bn(self.c(x))
        return branch


class Block(nn.Module):
    """Shortcut + branch, without the ReLU that follows."""

    def __init__(self, dim_in: int, inner: int, dim: int, stride: int) -> None:
        super().__init__()
        self.has_projection = dim_in != dim or stride != 1
        if self.has_projection:
            self.proj = nn.Conv2d(dim_in, dim, 1, stride, bias=False)
            self.bn = nn.BatchNorm2d(dim, eps=1e-5)
        self.f = Branch(dim_in, inner, dim, stride)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = self.bn(self.proj(x)) if self.has_projection else x
        total: Tensor = shortcut + self.f(x)
        return total


class Stage(nn.Module):
    """Blocks b1, b2, …; the first has the stride; without the last ReLU."""

    def __init__(self, dim_in: int, inner: int, depth: int, stride: int) -> None:
        super().__init__()
        self.add_module("b1", Block(dim_in, inner, 4 * inner, stride))
        for i in range(2, depth + 1):
            self.add_module(f"b{i}", Block(4 * inner, inner, 4 * inner, 1))

    def forward(self, x: Tensor) -> Tensor:
        blocks = list(self.children())
        for block in blocks[:-1]:
            x = functional.relu(block(x))
        last: Tensor = blocks[-1](x)
        return last


class Stem(nn.Module):
    """7×7 convolution and 3×3 maximum, both with stride 2."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 7, 2, padding=3, bias=False)
        self.bn = nn.BatchNorm2d(width, eps=1e-5)

    def forward(self, pixels: Tensor) -> Tensor:
        return functional.max_pool2d(functional.relu(self.bn(self.conv(pixels))), 3, 2, padding=1)


class GeM(nn.Module):
    """Generalized mean over positions, with a learned power."""

    def __init__(self) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.full((1,), 3.0))

    def forward(self, x: Tensor) -> Tensor:
        return gem_map(x, self.p, SMALLEST)


class Head(nn.Module):
    """GeM, then a linear layer."""

    def __init__(self, dim_in: int, dim: int) -> None:
        super().__init__()
        self.pool = GeM()
        self.fc = nn.Linear(dim_in, dim)

    def forward(self, x: Tensor) -> Tensor:
        vector: Tensor = self.fc(self.pool(x))
        return vector


class CvnetNetwork(nn.Module):
    """Stem, four stages, head: the published network by default."""

    def __init__(self, shape: Shape | None = None) -> None:
        super().__init__()
        self.shape = shape = shape or Shape()
        width, depths = shape.width, shape.depths
        self.stem = Stem(width)
        self.s1 = Stage(width, width, depths[0], 1)
        self.s2 = Stage(4 * width, 2 * width, depths[1], 2)
        self.s3 = Stage(8 * width, 4 * width, depths[2], 2)
        self.s4 = Stage(16 * width, 8 * width, depths[3], 2)
        self.head = Head(32 * width, shape.dim)

    def forward(self, pixels: Tensor) -> Features:
        """pixels [B, 3, H, W], normalised; map [B, 16·width, ⌈H/16⌉, ⌈W/16⌉], vector [B, dim]."""
        x = functional.relu(self.s1(self.stem(pixels)))
        x = functional.relu(self.s2(x))
        local = self.s3(x)
        return Features(local, self.head(functional.relu(self.s4(functional.relu(local)))))
