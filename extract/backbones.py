"""Backbones behind one interface: an image goes in, its `LocalDescriptors` come out.

A backbone has `dim` (width D), `provenance` (everything that changes its output, JSON-able) and
`extract(image, box=None)`. BACKBONES is the visible dict of all of them; its keys are the values of
`backbone=` and the default for `desc_name=`.
"""

from __future__ import annotations

from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput, ConfigError
from ames_lite.io.images import Box, crop_image
from ames_lite.records import LocalDescriptors
from extract.keypoints import root_sift


class Backbone(Protocol):
    """What every backbone offers."""

    dim: int

    @property
    def provenance(self) -> dict[str, Any]:
        """Everything that changes the output, as JSON-able values."""

    def extract(self, image: npt.NDArray[np.uint8], box: Box | None = None) -> LocalDescriptors:
        """Describe RGB uint8 [H, W, 3], or its crop box; xy refer to the whole image."""


class Sift:
    """RootSIFT, D = 128: OpenCV's SIFT, L1-normalised, square root; needs no download."""

    dim = 128

    def __init__(
        self,
        top_k: int = 150,  # strongest descriptors kept per image
        image_size: int = 480,  # longer images are shrunk to this many pixels; 0: never
        contrast: float = 0.02,  # OpenCV's contrastThreshold
    ) -> None:
        if top_k < 1:
            raise BadInput(f"top_k is {top_k}", expected="at least 1 descriptor per image")
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

    def extract(self, image: npt.NDArray[np.uint8], box: Box | None = None) -> LocalDescriptors:
        """Describe RGB uint8 [H, W, 3]; the shrink factor comes from the whole image."""
        size = (image.shape[0], image.shape[1])
        crop, (x1, y1, _, _) = crop_image(image, box)
        factor = min(1.0, self.image_size / max(size)) if self.image_size else 1.0
        if factor < 1:
            target = (max(1, round(crop.shape[1] * factor)), max(1, round(crop.shape[0] * factor)))
            shrunk = cv2.resize(crop, target, interpolation=cv2.INTER_AREA)
        else:
            shrunk = crop
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


BACKBONES: dict[str, type[Sift]] = {"sift": Sift}


def build_backbone(name: str, **arguments: Any) -> Backbone:
    """The backbone of that name. Raises ConfigError, with what exists, for an unknown one."""
    if name not in BACKBONES:
        raise ConfigError(
            f"there is no backbone '{name}'", expected=f"one of {', '.join(BACKBONES)}"
        )
    return BACKBONES[name](**arguments)
