"""CVNet as a backbone: local features of stage 3 at three scales, and the GeM descriptor; and
SuperGlobal's global descriptors from the same ResNet and its weights. No hub has the weights: their
path must be given. Parameters are named as in the published files (stem, s1 to s4, head).
"""

import logging
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ames_lite.errors import MissingFile, require
from ames_lite.extraction.backbones import map_backbone
from ames_lite.extraction.backbones.interface import Described
from ames_lite.extraction.backbones.map_backbone import Features
from ames_lite.io.digest import file_digest
from ames_lite.io.images import Box
from ames_lite.io.resizing import Prepared, View
from ames_lite.io.weights_file import fill_network, read_state
from ames_lite.records import LocalDescriptors
from ames_lite.retrieval.pooling import gem_map, rgem, sgem
from ames_lite.retrieval.settings import SuperGlobalPooling

logger = logging.getLogger(__name__)

STRIDE = 16  # pixels between the cells of the map
SMALLEST, SUPER_SMALLEST = 1e-6, 1e-8  # GeM, SuperGlobal's: activations are clamped from below
UNUSED = {"top_k": 0, "detector": None, "space": None}  # settings that SuperGlobal does without
EXPECTED = "the state of CVNet's ResNet, plain or under 'state' or 'model_state'"
REMEDY = "download them from the page of CVNet (github.com/sungonce/CVNet), then give "
REMEDY += "backbone.arguments.weights=<that file>"
WRAPPED = "module."  # what DataParallel puts before every name
ENCODER = "encoder_q."  # in the published file, which holds CVNet's reranking network too
RESNETS: dict[tuple[int, ...], str] = {
    (3, 4, 6, 3): "ResNet-50",
    (3, 4, 23, 3): "ResNet-101",
    (3, 8, 36, 3): "ResNet-152",
}


@dataclass(frozen=True)
class Shape:
    """The shape of a network; the defaults are the published ResNet-101."""

    depths: tuple[int, ...] = (3, 4, 23, 3)  # blocks of the four stages
    width: int = 64  # channels of the stem; of stages inside width to 8·width, outside four times
    dim: int = 2048  # of the global vector

    def __post_init__(self) -> None:
        numbers = [*self.depths, self.width, self.dim]
        fits = len(self.depths) == 4 and all(isinstance(n, int) and n > 0 for n in numbers)
        what = f"depths are {self.depths}, width is {self.width}, global_dim is {self.dim}"
        require(fits, what, "four depths, a width and a dimension, whole numbers from 1")


class Block(nn.Module):
    """Shortcut + branch, without the ReLU that follows."""

    def __init__(self, dim_in: int, inner: int, stride: int) -> None:
        super().__init__()
        dim = 4 * inner
        self.has_projection = dim_in != dim or stride != 1
        if self.has_projection:
            self.proj = nn.Conv2d(dim_in, dim, 1, stride, bias=False)
            self.bn = nn.BatchNorm2d(dim)
        self.f = nn.Sequential(
            OrderedDict(
                a=nn.Conv2d(dim_in, inner, 1, bias=False),
                a_bn=nn.BatchNorm2d(inner),
                a_relu=nn.ReLU(),
                b=nn.Conv2d(inner, inner, 3, stride, padding=1, bias=False),
                b_bn=nn.BatchNorm2d(inner),
                b_relu=nn.ReLU(),
                c=nn.Conv2d(inner, dim, 1, bias=False),
                c_bn=nn.BatchNorm2d(dim),
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = self.bn(self.proj(x)) if self.has_projection else x
        return shortcut + self.f(x)


def _stage(dim_in: int, inner: int, depth: int, stride: int) -> nn.Sequential:
    """Blocks b1, b2, …; the first has the stride."""
    blocks = {"b1": Block(dim_in, inner, stride)}
    blocks |= {f"b{i}": Block(4 * inner, inner, 1) for i in range(2, depth + 1)}
    return nn.Sequential(OrderedDict(blocks))


class GeM(nn.Module):
    """Generalized mean over positions, with a learned power."""

    def __init__(self) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.full((1,), 3.0))

    def forward(self, x: Tensor) -> Tensor:
        return gem_map(x, self.p, SMALLEST)


class CvnetNetwork(nn.Module):
    """Stem, four stages, head: the published network by default."""

    def __init__(self, shape: Shape | None = None) -> None:
        super().__init__()
        self.shape = shape = shape or Shape()
        width, depths = shape.width, shape.depths
        self.stem = nn.Sequential(
            OrderedDict(
                conv=nn.Conv2d(3, width, 7, 2, padding=3, bias=False),
                bn=nn.BatchNorm2d(width),
                relu=nn.ReLU(),
                pool=nn.MaxPool2d(3, 2, padding=1),
            )
        )
        self.s1 = _stage(width, width, depths[0], 1)
        self.s2 = _stage(4 * width, 2 * width, depths[1], 2)
        self.s3 = _stage(8 * width, 4 * width, depths[2], 2)
        self.s4 = _stage(16 * width, 8 * width, depths[3], 2)
        self.head = nn.Sequential(OrderedDict(pool=GeM(), fc=nn.Linear(32 * width, shape.dim)))

    def forward(self, pixels: Tensor) -> map_backbone.Features:
        """pixels [B, 3, H, W], normalized. The map [B, 16·width, ⌈H/16⌉, ⌈W/16⌉] is stage 3's
        output before its last ReLU, so it has negative entries; the vector [B, dim] is not of unit
        length.
        """
        x = self.stem(pixels)
        for block in (*self.s1, *self.s2, *self.s3):
            x = block(functional.relu(x))
        local = x
        for block in self.s4:
            x = block(functional.relu(x))
        return map_backbone.Features(local, self.head(functional.relu(x)))


class Cvnet(map_backbone.MapBackbone):
    """Stage 3 of CVNet's ResNet, chosen by a detector or by the norm; weights load on first use."""

    name = "cvnet"
    facet = "stage 3 before its ReLU"
    layer = None

    defaults = map_backbone.MapOptions(scales=(0.7071, 1.0, 1.4142))

    def __init__(
        self,
        weights: str | None = None,  # the published .pyth, or a state under its names; required
        depths: Sequence[int] = (3, 4, 23, 3),  # blocks of the four stages: ResNet-101
        width: int = 64,  # channels of the stem; other than published: for tests
        global_dim: int = 2048,
        channels: str = "bgr",  # the order that the network sees; or rgb
        **options: Any,  # of MapOptions
    ) -> None:
        map_backbone.require_text(weights=weights)
        require(channels in ("bgr", "rgb"), f"channels is {channels!r}", "bgr or rgb")
        self.weights, self.channels = weights, channels
        self.shape = Shape(tuple(depths), width, global_dim)
        self.variant = RESNETS.get(self.shape.depths, f"ResNet {list(self.shape.depths)}")
        # patch=1: any size
        super().__init__(16 * width, patch=1, global_kind="gem", global_dim=global_dim, **options)

    @property
    def provenance(self) -> dict[str, Any]:
        return {**super().provenance, "channels": self.channels}

    def _network(self) -> tuple[nn.Module, str]:
        return load_cvnet(self.weights, self.shape)

    def normalized(self, batch: Sequence[Prepared]) -> list[Tensor]:
        pixels = super().normalized(batch)
        return [planes.flip(1) for planes in pixels] if self.channels == "bgr" else pixels

    def _region(self, view: View) -> Box:
        """The grid of cells reaches half a cell over the image's edges."""
        x1, y1, x2, y2 = view.region
        height, width = view.pixels.shape[:2]
        left, right = _covered(width)
        top, bottom = _covered(height)
        across, down = x2 - x1, y2 - y1
        return (x1 + left * across, y1 + top * down, x1 + right * across, y1 + bottom * down)


def load_cvnet(weights: str | Path | None, shape: Shape) -> tuple[CvnetNetwork, str]:
    """The network in eval mode, and the SHA-256 of its file. Raises MissingFile, BadInput."""
    path = None if weights is None else Path(weights).expanduser()
    if path is None or not path.is_file():
        what = "the weights of CVNet are missing" if weights else "CVNet needs weights"
        expected = f"{EXPECTED}, such as CVPR2022_CVNet_R101.pyth"
        raise MissingFile(what, where=weights, expected=expected, remedy=REMEDY)
    state = read_state(path, EXPECTED).items()
    plain = {name.removeprefix(WRAPPED): value for name, value in state}
    own = {n.removeprefix(ENCODER): v for n, v in plain.items() if n.startswith(ENCODER)}
    if own and len(own) < len(plain):
        logger.info("%s: %d weights beside %s* are not used", path, len(plain) - len(own), ENCODER)
    with torch.device("meta"):  # nothing is drawn that the file replaces
        network = CvnetNetwork(shape)
    expected = f"{EXPECTED}, {RESNETS.get(shape.depths, 'of the given depths')}"
    return fill_network(network, own or plain, path, expected), file_digest(path)


def _covered(side: int) -> tuple[float, float]:
    """Where the row of cells begins and ends, as fractions; cell i is centred on 16·i + 1/2."""
    cells = -(-side // STRIDE)
    first = 0.5 - STRIDE / 2
    return first / side, (first + STRIDE * cells) / side


class SuperGlobalNetwork(nn.Module):
    """CVNet's layers with ReLUP, and SuperGlobal's pooling in place of its GeM."""

    def __init__(self, cvnet: CvnetNetwork, pooling: SuperGlobalPooling) -> None:
        super().__init__()
        self.cvnet, self.pooling = cvnet, pooling

    def forward(self, pixels: Tensor) -> Features:
        """pixels [B, 3, H, W]; the map of stage 4 [B, C, ⌈H/32⌉, ⌈W/32⌉], the vector [B, dim]."""
        x, net = self.cvnet.stem(pixels), self.cvnet
        leasts = [self.pooling.relup] * 3 + [0.0]
        for stage, least in zip((net.s1, net.s2, net.s3, net.s4), leasts, strict=True):
            for block in stage.children():
                x = block(x).clamp(min=least)  # ReLUP, or ReLU
        pooled = gem_map(rgem(x, self.pooling.rgem_power), self.pooling.gem_power, SUPER_SMALLEST)
        return Features(x, net.head[-1](functional.normalize(pooled, dim=1)))


class SuperGlobal(Cvnet):
    """cvnet: arguments of `Cvnet`; those of local descriptors and its own vector have no effect."""

    def __init__(self, pooling: SuperGlobalPooling | None = None, **cvnet: Any) -> None:
        super().__init__(**{**cvnet, **UNUSED})
        self.pooling = pooling or SuperGlobalPooling()
        self.global_kind = "superglobal"

    @property
    def provenance(self) -> dict[str, Any]:
        of_network = {k: v for k, v in super().provenance.items() if k != "global_scales"}
        pooled = {k: v if v == "max" else float(v) for k, v in asdict(self.pooling).items()}
        return {**of_network, **pooled}

    def _network(self) -> tuple[nn.Module, str]:
        network, digest = load_cvnet(self.weights, self.shape)
        return SuperGlobalNetwork(network, self.pooling).eval(), digest

    def _vector(self, found: Sequence[Features]) -> Tensor:
        power = None if self.pooling.sgem == "max" else float(self.pooling.sgem)
        vectors = [features.cls for features in found if features.cls is not None]
        return sgem(torch.stack(vectors), power)

    def describe(self, batch: Sequence[Prepared]) -> list[Described]:
        """The vectors of images of one shape."""
        with torch.inference_mode():
            vectors = self._vector([self.features(pixels) for pixels in self.normalized(batch)])
        empty = np.zeros((0, self.dim), np.float32)
        nothing = (empty, empty[:, :2], np.zeros(0, np.uint8), empty[:, 0])
        both = zip(batch, vectors.cpu().numpy(), strict=True)
        return [Described(LocalDescriptors(*nothing, one.size), vector) for one, vector in both]
