"""SuperGlobal's global descriptors from CVNet's ResNet and its weights.

There are no local descriptors. The smallest view of an image needs 65 pixels a side (rGeM's
windows). The vector of a scale is fc(L2(GeM(rGeM(map of stage 4)))); sGeM joins the scales. Source:
Shao et al., arXiv 2308.06954.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ames_lite.extraction.backbones.cvnet import Cvnet, CvnetNetwork, load_cvnet
from ames_lite.extraction.backbones.interface import Described
from ames_lite.extraction.backbones.map_backbone import Features
from ames_lite.io.resizing import Prepared
from ames_lite.records import LocalDescriptors
from ames_lite.retrieval.pooling import gem_map, rgem, sgem
from ames_lite.retrieval.settings import SuperGlobalPooling

SMALLEST = 1e-8  # GeM: activations are clamped from below
UNUSED = {"top_k": 0, "detector": None, "space": None}  # settings of local descriptors
OF_CVNET = ("global_scales",)  # what provenance says of CVNet's own global descriptor


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
        pooled = gem_map(rgem(x, self.pooling.rgem_power), self.pooling.gem_power, SMALLEST)
        return Features(x, net.head[-1](functional.normalize(pooled, dim=1)))


class SuperGlobal(Cvnet):
    """cvnet: arguments of `Cvnet`; those of local descriptors and its own vector have no effect."""

    def __init__(self, pooling: SuperGlobalPooling | None = None, **cvnet: Any) -> None:
        super().__init__(**{**cvnet, **UNUSED})
        self.pooling = pooling or SuperGlobalPooling()
        self.global_kind = "superglobal"

    @property
    def provenance(self) -> dict[str, Any]:
        of_network = {k: v for k, v in super().provenance.items() if k not in OF_CVNET}
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
        return [
            Described(LocalDescriptors(*nothing, prepared.size), vector)
            for prepared, vector in zip(batch, vectors.cpu().numpy(), strict=True)
        ]
