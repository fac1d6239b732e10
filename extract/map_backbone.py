"""What backbones share whose network makes a map of features: batches, weights, top-K, provenance.

In: prepared images of one shape. Out: for each of them the strongest descriptors over all scales,
unit length, positions in the whole image, and a global vector where the network has one.

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
from ames_lite.io.resizing import Preparation, Prepared, View, to_whole_image
from ames_lite.records import LocalDescriptors
from ames_lite.runtime import PRECISIONS, autocast, pick_device
from extract.cpu_attention import quick_attention
from extract.cpu_linear import pack_linears
from extract.detector import SpatialAttention2d, check_detector, load_detector
from extract.dinov2_network import Features
from extract.interface import Described
from extract.topk import TopK, norm_and_unit, top_k

logger = logging.getLogger(__name__)

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SPACES = ("backbone", "detector")
GPU_BATCH_PIXELS = 8_000_000  # on a CPU batches gain nothing


class MapBackbone:
    """The base of such backbones. A subclass says what its network is and gives it by `_network`.

    name, variant, facet, layer: for provenance; mean, std: of RGB pixels in [0, 1].
    """

    name: str
    variant: str
    facet: str
    layer: int | None
    mean, std = IMAGENET_MEAN, IMAGENET_STD

    def __init__(
        self,
        prepare: Preparation,
        dim: int,  # channels of the map
        *,
        global_kind: str | None,
        global_dim: int,
        top_k: int,
        detector: str | None,
        space: str | None,
        device: str,
        precision: str,
        batch_pixels: int | None,
    ) -> None:
        require_text(detector=detector, space=space)
        self.prepare, self.top_k = prepare, top_k
        self.detector_path = None if detector is None else str(Path(detector).expanduser())
        self.space = space or ("detector" if detector else "backbone")
        self.device, self.precision = pick_device(device), precision
        default = GPU_BATCH_PIXELS if self.device.type == "cuda" else 0
        self.batch_pixels = default if batch_pixels is None else batch_pixels
        self._check_choice()
        self._detector: SpatialAttention2d | None = None
        if self.detector_path is not None:
            found = load_detector(self.detector_path, dim, self._features_are())
            self._detector = found.to(self.device)
        self.dim = dim
        self.global_kind, self.global_dim = global_kind, global_dim
        if self._detector is not None and self.space == "detector":
            self.dim = self._detector.bn.num_features

    def _check_choice(self) -> None:
        if not isinstance(self.top_k, int) or self.top_k < 0:
            expected = "at least 1 descriptor per image, or 0: all of them"
            raise BadInput(f"top_k is {self.top_k}", expected=expected)
        if not isinstance(self.batch_pixels, int) or self.batch_pixels < 0:
            raise BadInput(f"batch_pixels is {self.batch_pixels!r}", expected="a number from 0")
        if self.space not in SPACES or (self.space == "detector" and not self.detector_path):
            raise BadInput(
                f"space is '{self.space}', detector is {self.detector_path}",
                expected="backbone, or detector where detector=<its weights> is given",
            )
        if self.precision not in PRECISIONS:
            raise BadInput(f"precision '{self.precision}'", expected=f"one of {list(PRECISIONS)}")
        autocast(self.precision, self.device)  # refuses what the device cannot do

    def _features_are(self) -> dict[str, Any]:
        """What the features are, as far as it is known before weights load."""
        known = {"backbone": self.name, "variant": self.variant}
        return {**known, "facet": self.facet, "layer": self.layer}

    def _network(self) -> tuple[nn.Module, str]:
        """The network, from pixels to Features, and what tells its weights from others."""
        raise NotImplementedError

    def _run(self, network: nn.Module, pixels: Tensor) -> Features:
        found: Features = network(pixels)
        return found

    def _vector(self, found: Sequence[Features]) -> Tensor | None:
        """The global vectors [B, D] of a batch, from its features at every scale."""
        return found[0].cls

    def _region(self, view: View) -> Box:
        """What of the whole image the map's cells cover."""
        return view.region

    @cached_property
    def _loaded(self) -> tuple[nn.Module, str]:
        """The network on its device, and what tells its weights from others."""
        network, digest = self._network()
        if self.detector_path is not None:
            check_detector(self.detector_path, {**self._features_are(), "weights": digest})
        if self._detector is None and self.top_k:
            logger.warning(
                "no detector weights are given (detector=): descriptors are chosen by their norm, "
                "which ranks worse than the published detector"
            )
        dtype = PRECISIONS[self.precision]
        for module in network.modules():
            # what autocast would convert anew in every block
            if dtype is not None and isinstance(module, nn.Linear):
                module.to(dtype)
        if self.device.type == "cpu":
            pack_linears(network)
        return network.requires_grad_(False).to(self.device), digest

    @property
    def provenance(self) -> dict[str, Any]:
        """Loads the weights: their digest is part of it."""
        chosen = {"detector": "feature norm", "detector_weights": None}
        if self.detector_path is not None:
            chosen = {"detector": "SpatialAttention2d"}
            chosen["detector_weights"] = file_digest(Path(self.detector_path))
        prepare = self.prepare
        whole = None if isinstance(prepare.image_size, int) else prepare.image_size
        method = prepare.method if whole is None else f"both sides stretched, then {prepare.method}"
        multiples = f", multiples of {prepare.patch}" if prepare.patch > 1 else ""
        return {
            "backbone": self.name,
            "variant": self.variant,
            "weights": self._loaded[1],
            "facet": self.facet,
            "layer": self.layer,
            **chosen,
            "descriptor_space": self.space,
            "top_k": self.top_k,
            "image_size": prepare.image_size if whole is None else list(whole),
            "scales": list(prepare.scales),
            "resize": f"{method}, torch bicubic antialias to uint8{multiples}",
            "precision": self.precision,
        }

    def extract(self, image: npt.NDArray[np.uint8], box: Box | None = None) -> LocalDescriptors:
        """Describe RGB uint8 [H, W, 3], or its crop box; xy refer to the whole image."""
        return self.describe([self.prepare(image, box)])[0].local

    def describe(self, batch: Sequence[Prepared]) -> list[Described]:
        """Of prepared images, which all have one shape: their strongest descriptors and vectors.

        The vector is None where the network stops before it.
        """
        found = [self.features(pixels) for pixels in self._pixels(batch)]
        with torch.inference_mode():
            vector = self._vector(found)
            described = [self._weigh(features.patches) for features in found]
            maps, weights = ([pair[side] for pair in described] for side in (0, 1))
            count = self.top_k or sum(weight[0].numel() for weight in weights)
            best = top_k(maps, weights, count)
        best = TopK(*(values.cpu() for values in best))
        vectors = [None] * len(batch) if vector is None else list(vector.cpu().numpy())
        return [
            Described(self._record(best, row, prepared), vectors[row])
            for row, prepared in enumerate(batch)
        ]

    def feature_maps(self, batch: Sequence[Prepared]) -> list[Tensor]:
        """Of prepared images of one shape: the features [B, C, h, w] at every scale, float32."""
        return [self.features(pixels).patches for pixels in self._pixels(batch)]

    def features(self, pixels: Tensor) -> Features:
        """Features in float32 of normalised pixels [B, 3, H, W], sides multiples of the patch."""
        network, _ = self._loaded
        quick = quick_attention(self.device, self.precision)
        with torch.inference_mode(), autocast(self.precision, self.device), quick:
            found = self._run(network, pixels.to(self.device))
        return Features(found.patches.float(), None if found.cls is None else found.cls.float())

    def _pixels(self, batch: Sequence[Prepared]) -> list[Tensor]:
        """The normalised pixels [B, 3, H, W] of every scale."""
        mean = torch.tensor(self.mean, device=self.device).view(3, 1, 1)
        std = torch.tensor(self.std, device=self.device).view(3, 1, 1)
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

    def _record(self, found: TopK, row: int, prepared: Prepared) -> LocalDescriptors:
        """Of a batch: the descriptors of one image, on the CPU."""
        scale = found.scale[row].numpy()
        regions = np.array([self._region(view) for view in prepared.views])[scale]
        xy = to_whole_image(found.xy[row].numpy(), regions, prepared.size)
        return LocalDescriptors(
            descriptors=found.descriptors[row].numpy(),
            xy=xy.astype(np.float32),
            scale=scale.astype(np.uint8),
            weight=found.weight[row].numpy(),
            size=prepared.size,
        )


def preparation(
    method: str, image_size: int | Sequence[int], patch: int, scales: Sequence[float]
) -> Preparation:
    """From what a configuration gives, whose pairs are lists. Raises BadInput."""
    size: Any = tuple(image_size) if isinstance(image_size, Sequence) else image_size
    return Preparation(method, size, patch, tuple(scales))


def require_text(**values: object) -> None:
    """Raises BadInput for the first of values that is neither text, a path nor None."""
    for name, value in values.items():
        if not isinstance(value, str | Path | None):
            raise BadInput(f"{name} is {value!r}", expected="text")
