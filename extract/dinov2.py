"""DINOv2 as a backbone: patch features of an image at one or more scales, the strongest of them.

In: RGB images. Out: `LocalDescriptors`, unit length; the CLS token of the first scale on request.

The convention to know: weights load on first use, or when provenance is asked for, so that a
backbone can be built, looked at and sent to other processes without them.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ames_lite.errors import BadInput
from ames_lite.io.digest import file_digest
from ames_lite.io.images import Box
from ames_lite.io.resizing import Preparation, Prepared, to_whole_image
from ames_lite.records import LocalDescriptors
from ames_lite.runtime import PRECISIONS, autocast, pick_device
from extract.detector import SpatialAttention2d, load_detector
from extract.dinov2_network import FACETS, PATCH, Dinov2Network, Features
from extract.dinov2_variants import VARIANTS, Variant
from extract.dinov2_weights import load_network, random_network
from extract.interface import Described
from extract.topk import TopK, norm_and_unit, top_k

logger = logging.getLogger(__name__)

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet
SPACES = ("backbone", "detector")
GPU_BATCH_PIXELS = 8_000_000  # on a CPU batches gain nothing


class Dinov2:
    """Patch features of a DINOv2, chosen by a detector or by their norm; weights load on first use.

    The defaults are the published extraction of AMES.
    """

    def __init__(
        self,
        variant: str = "vitb14_reg",  # a key of VARIANTS
        weights: str | None = None,  # transformers folder or original .pth; None: the hub's cache
        facet: str = "patch",  # or token, query, key, value of a block
        layer: int | None = None,  # that block, 0-based; None: the last
        method: str = "resize",  # or center_crop (AnyLoc)
        image_size: int = 770,  # longer side; 0: as on disk
        scales: Sequence[float] = (1.0,),  # factors on top of image_size
        top_k: int = 700,  # strongest descriptors kept per image, over all scales
        detector: str | None = None,  # published detector weights; None: the feature's norm
        space: str | None = None,  # descriptors of the detector or backbone; None: with a
        # detector its own, else the backbone's
        device: str = "auto",
        precision: str = "fp32",  # or bf16, fp16
        batch_pixels: int | None = None,  # bound of a batch; 0: single images; None: by device
    ) -> None:
        _require_text(weights=weights, detector=detector, space=space)
        self.variant, self.weights, self.facet, self.top_k = variant, weights, facet, top_k
        self.detector_path = None if detector is None else str(Path(detector).expanduser())
        self._spec = self._choose(variant)
        self.layer = self._spec.depth - 1 if layer is None else layer
        self.prepare = Preparation(method, image_size, PATCH, tuple(scales))
        self.space = space or ("detector" if detector else "backbone")
        self.device, self.precision = pick_device(device), precision
        default = GPU_BATCH_PIXELS if self.device.type == "cuda" else 0
        self.batch_pixels = default if batch_pixels is None else batch_pixels
        self._check()
        self._detector: SpatialAttention2d | None = None
        if self.detector_path is not None:
            self._detector = load_detector(self.detector_path, self._spec.dim).to(self.device)
        self.dim = self._spec.dim
        self.global_kind = "cls" if facet == "patch" else None
        self.global_dim = self._spec.dim if facet == "patch" else 0
        if self._detector is not None and self.space == "detector":
            self.dim = self._detector.bn.num_features

    def _choose(self, variant: str) -> Variant:
        if variant not in VARIANTS:
            raise BadInput(f"DINOv2 variant '{variant}'", expected=f"one of {', '.join(VARIANTS)}")
        return VARIANTS[variant]

    def _check(self) -> None:
        if self.top_k < 1:
            raise BadInput(f"top_k is {self.top_k}", expected="at least 1 descriptor per image")
        if self.facet not in FACETS:
            raise BadInput(f"facet '{self.facet}'", expected=f"one of {', '.join(FACETS)}")
        if not isinstance(self.batch_pixels, int) or self.batch_pixels < 0:
            raise BadInput(f"batch_pixels is {self.batch_pixels!r}", expected="a number from 0")
        depth = self._spec.depth
        if not isinstance(self.layer, int) or not 0 <= self.layer < depth:
            raise BadInput(f"layer is {self.layer}", expected=f"a block from 0 to {depth - 1}")
        if self.facet == "patch" and self.layer != depth - 1:
            raise BadInput(
                f"facet=patch is the final output, layer is {self.layer}",
                expected="layer=null, or facet=token for the output of that block",
            )
        if self.space not in SPACES or (self.space == "detector" and not self.detector_path):
            raise BadInput(
                f"space is '{self.space}', detector is {self.detector_path}",
                expected="backbone, or detector where detector=<its weights> is given",
            )
        if self.precision not in PRECISIONS:
            raise BadInput(f"precision '{self.precision}'", expected=f"one of {list(PRECISIONS)}")
        autocast(self.precision, self.device)  # refuses what the device cannot do

    @cached_property
    def _loaded(self) -> tuple[Dinov2Network, str]:
        """The network on its device, and what tells its weights from others."""
        model, digest = self._load()
        if self._detector is None:
            logger.warning(
                "no detector weights are given (detector=): descriptors are chosen by their norm, "
                "which ranks worse than the published detector"
            )
        dtype = PRECISIONS[self.precision]
        for module in model.modules():
            # what autocast would convert anew in every block
            if dtype is not None and isinstance(module, nn.Linear):
                module.to(dtype)
        network = Dinov2Network(model, self._spec.registers).requires_grad_(False)
        return network.to(self.device), digest

    def _load(self) -> tuple[nn.Module, str]:
        return load_network(self._spec, self.weights)

    @property
    def provenance(self) -> dict[str, Any]:
        """Loads the weights: their digest is part of it."""
        chosen = {"detector": "feature norm", "detector_weights": None}
        if self.detector_path is not None:
            chosen = {"detector": "SpatialAttention2d"}
            chosen["detector_weights"] = file_digest(Path(self.detector_path))
        prepare = self.prepare
        return {
            "backbone": "dinov2",
            "variant": self.variant,
            "weights": self._loaded[1],
            "facet": self.facet,
            "layer": self.layer,
            **chosen,
            "descriptor_space": self.space,
            "top_k": self.top_k,
            "image_size": prepare.image_size,
            "scales": list(prepare.scales),
            "resize": f"{prepare.method}, torch bicubic antialias to uint8, multiples of {PATCH}",
            "precision": self.precision,
        }

    def extract(self, image: npt.NDArray[np.uint8], box: Box | None = None) -> LocalDescriptors:
        """Describe RGB uint8 [H, W, 3], or its crop box; xy refer to the whole image."""
        return self.describe([self.prepare(image, box)])[0].local

    def describe(self, batch: Sequence[Prepared]) -> list[Described]:
        """Of prepared images, which all have one shape: their strongest descriptors and CLS.

        CLS: the token of the first scale after the final norm; None where the facet stops before.
        """
        found = [self.features(pixels) for pixels in self._pixels(batch)]
        cls = found[0].cls
        with torch.inference_mode():
            described = [self._weigh(features.patches) for features in found]
            best = top_k([d for d, _ in described], [w for _, w in described], self.top_k)
        best = TopK(*(values.cpu() for values in best))
        vectors = [None] * len(batch) if cls is None else list(cls.cpu().numpy())
        return [
            Described(_record(best, row, prepared), vectors[row])
            for row, prepared in enumerate(batch)
        ]

    def features(self, pixels: Tensor) -> Features:
        """Features in float32 of normalised pixels [B, 3, H, W], sides multiples of 14."""
        network, _ = self._loaded
        with torch.inference_mode(), autocast(self.precision, self.device):
            found = network(pixels.to(self.device), self.facet, self.layer)
        return Features(found.patches.float(), None if found.cls is None else found.cls.float())

    def _pixels(self, batch: Sequence[Prepared]) -> list[Tensor]:
        """The normalised pixels [B, 3, H, W] of every scale."""
        mean = torch.tensor(MEAN, device=self.device).view(3, 1, 1)
        std = torch.tensor(STD, device=self.device).view(3, 1, 1)
        stacked = []
        for scale in range(len(self.prepare.scales)):
            views = np.stack([prepared.views[scale].pixels for prepared in batch])
            planes = torch.from_numpy(views).to(self.device).permute(0, 3, 1, 2)
            stacked.append((planes.float() / 255 - mean) / std)
        return stacked

    def _weigh(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Descriptors [B, D, h, w] and weights [B, 1, h, w] of a feature map."""
        unit, norm = norm_and_unit(features)
        if self._detector is None:
            return unit, norm
        own, weight = self._detector(features)
        return (own if self.space == "detector" else unit), weight


class TinyRandom(Dinov2):
    """A very small DINOv2 with random weights from a seed: for tests; it has learned nothing."""

    def __init__(self, seed: int = 0, registers: int = 4, **arguments: Any) -> None:
        if arguments.pop("weights", None) is not None:
            raise BadInput("tiny_random has no weights", expected="seed=, or another backbone=")
        self.seed = seed
        self._shape = Variant(dim=32, depth=2, heads=2, registers=registers, grid=5)
        super().__init__(variant=f"tiny_random, {registers} registers", **arguments)

    def _choose(self, variant: str) -> Variant:
        return self._shape

    def _load(self) -> tuple[nn.Module, str]:
        return random_network(self._shape, self.seed), f"random, seed {self.seed}"

    @property
    def provenance(self) -> dict[str, Any]:
        return {**super().provenance, "backbone": "tiny_random"}


def _require_text(**values: object) -> None:
    for name, value in values.items():
        if not isinstance(value, str | Path | None):
            raise BadInput(f"{name} is {value!r}", expected="text")


def _record(found: TopK, row: int, prepared: Prepared) -> LocalDescriptors:
    """Of a batch: the descriptors of one image, on the CPU."""
    scale = found.scale[row].numpy()
    regions = np.array([view.region for view in prepared.views])[scale]
    xy = to_whole_image(found.xy[row].numpy(), regions, prepared.size)
    return LocalDescriptors(
        descriptors=found.descriptors[row].numpy(),
        xy=xy.astype(np.float32),
        scale=scale.astype(np.uint8),
        weight=found.weight[row].numpy(),
        size=prepared.size,
    )
