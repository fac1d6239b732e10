"""Backbones behind one interface: an image goes in, its descriptors come out.

The interface is `ames_lite.extraction.backbones.interface.Backbone`. BACKBONES is the visible dict
of all of them; its keys are the values of `backbone=` and the default for `desc_name=`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ames_lite.errors import ConfigError
from ames_lite.extraction.backbones import dinov2_weights, dinov3, siglip2
from ames_lite.extraction.backbones.cvnet import Cvnet
from ames_lite.extraction.backbones.dinov2 import Dinov2, TinyRandom
from ames_lite.extraction.backbones.dinov3 import Dinov3
from ames_lite.extraction.backbones.efficientnet import EfficientNet
from ames_lite.extraction.backbones.interface import (
    Backbone,
    Described,
    check_count,
    check_prepared,
)
from ames_lite.extraction.backbones.keypoints import root_sift
from ames_lite.extraction.backbones.photo import Photo
from ames_lite.extraction.backbones.siglip2 import Siglip2
from ames_lite.extraction.backbones.xfeat import Xfeat
from ames_lite.io.images import Box
from ames_lite.io.resizing import crop_image, resize_image
from ames_lite.records import LocalDescriptors


class Sift(Backbone):
    """RootSIFT, D = 128: OpenCV's SIFT, L1-normalised, square root; needs no download."""

    dim = 128

    def __init__(
        self,
        top_k: int = 300,  # strongest descriptors kept per image
        image_size: int = 480,  # longer images are shrunk to this many pixels; 0: never
        contrast: float = 0.02,  # OpenCV's contrastThreshold
    ) -> None:
        check_count(top_k=top_k)
        self.top_k, self.image_size, self.contrast = top_k, image_size, contrast

    @property
    def provenance(self) -> dict[str, Any]:
        return {
            "backbone": "sift",
            "variant": f"RootSIFT, OpenCV {cv2.__version__}",
            "detector": "DoG response",
            "top_k": self.top_k,
            "image_size": self.image_size,
            "resize": "cv2.INTER_AREA, shrink only",
            "contrast": self.contrast,
        }

    def describe(self, batch: Sequence[LocalDescriptors]) -> list[Described]:
        """What was prepared, as it is. Raises BadInput for anything else."""
        check_prepared(batch, LocalDescriptors)
        return [Described(local) for local in batch]

    def prepare(self, image: npt.NDArray[np.uint8], box: Box | None = None) -> LocalDescriptors:
        """All of it: there is nothing to batch; the shrink factor comes from the whole image."""
        crop, (x1, y1, _, _) = crop_image(image, box)
        size = (image.shape[0], image.shape[1])
        factor = min(1.0, self.image_size / max(size)) if self.image_size else 1.0
        target = (max(1, round(crop.shape[0] * factor)), max(1, round(crop.shape[1] * factor)))
        shrunk = resize_image(crop, target, "area", factor < 1)
        found = root_sift(shrunk, self.top_k, self.contrast)
        back = np.array([crop.shape[1] / shrunk.shape[1], crop.shape[0] / shrunk.shape[0]])
        xy = (found.position * back + [x1, y1]) / [size[1], size[0]]
        return LocalDescriptors(
            descriptors=found.descriptors,
            xy=np.clip(xy, 0, 1).astype(np.float32),
            scale=found.octave,
            weight=found.response,
            size=size,
        )


NETWORKS: dict[str, Callable[..., Backbone]] = {  # these take device, precision, batch_pixels too
    "dinov2": Dinov2,  # ViT-B/14 with registers, AMES' own
    **{
        f"dinov2_{variant}": partial(Dinov2, variant=variant) for variant in dinov2_weights.VARIANTS
    },
    "cvnet": Cvnet,
    "efficientnet_lite0": EfficientNet,
    **{f"dinov3_{key}": partial(Dinov3, variant=key) for key in dinov3.VARIANTS},
    **{f"siglip2_{key}": partial(Siglip2, variant=key) for key in siglip2.VARIANTS},
    "xfeat": Xfeat,
    "photo": Photo,
    "tiny_random": TinyRandom,  # for tests
}
BACKBONES: dict[str, Callable[..., Backbone]] = {"sift": Sift, **NETWORKS}


def build_backbone(
    name: str,
    *,
    device: str = "auto",
    precision: str = "fp32",
    batch_pixels: int | None = None,
    **arguments: Any,
) -> Backbone:
    """The backbone of that name. Raises ConfigError, with what exists, for an unknown one.

    device, precision, batch_pixels: for those that are networks. Weights load on first use.
    """
    if name not in BACKBONES:
        raise ConfigError(
            f"there is no backbone '{name}'", expected=f"one of {', '.join(BACKBONES)}"
        )
    if name in NETWORKS:
        placed = {"device": device, "precision": precision, "batch_pixels": batch_pixels}
        return NETWORKS[name](**arguments, **placed)
    return BACKBONES[name](**arguments)
