"""RootSIFT as a backbone: keypoints of OpenCV's SIFT, the strongest of them; needs no download.
Positions follow the pixel-edge convention: the centre of the first pixel is at 0.5, so that
position / size lies in [0, 1].
"""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ames_lite.extraction.backbones import interface
from ames_lite.io.images import Box, Picture
from ames_lite.io.resizing import crop_image, resize_image
from ames_lite.records import LocalDescriptors


def root_sift(image: Picture, count: int, contrast: float) -> tuple[npt.NDArray[Any], ...]:
    """The `count` strongest SIFT keypoints of RGB uint8 [H, W, 3]: positions [K, 2] (x, y), octaves
    uint8 [K], responses [K] and RootSIFT descriptors [K, 128], float32. Ties keep OpenCV's order.

    contrast: OpenCV's contrast threshold; low, so that dull images have keypoints too. Source:
    Arandjelović and Zisserman, CVPR 2012: L1-normalise, then the square root of each entry.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    found, descriptors = cv2.SIFT_create(contrastThreshold=contrast).detectAndCompute(grey, None)
    raw = np.zeros((0, 128), np.float32) if descriptors is None else descriptors
    response = np.array([k.response for k in found], np.float32)
    strongest = np.argsort(-response, kind="stable")[:count]
    position = np.array([k.pt for k in found], np.float32).reshape(-1, 2)[strongest] + 0.5
    # OpenCV packs the octave into the lowest byte as a signed number from -1.
    octave = np.array([(k.octave & 255) for k in found], np.uint8)[strongest] + np.uint8(1)
    raw = raw[strongest]
    unit = np.sqrt(raw / np.maximum(raw.sum(axis=1, keepdims=True), 1e-12))
    return position, octave, response[strongest], unit.astype(np.float32)


class Sift(interface.Backbone):
    """RootSIFT, D = 128; images are shrunk to image_size, never enlarged."""

    dim = 128

    def __init__(
        self,
        top_k: int = 300,  # strongest descriptors kept per image
        image_size: int = 480,  # longer images are shrunk to this many pixels; 0: never
        contrast: float = 0.02,  # OpenCV's contrastThreshold
    ) -> None:
        interface.check_count(top_k=top_k)
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

    def describe(self, batch: Sequence[LocalDescriptors]) -> list[interface.Described]:
        """The prepared images as they are: there is nothing to batch."""
        interface.check_prepared(batch, LocalDescriptors)
        return [interface.Described(local) for local in batch]

    def prepare(self, image: Picture, box: Box | None = None) -> LocalDescriptors:
        """The descriptors themselves; the shrink factor comes from the whole image."""
        crop, (x1, y1, _, _) = crop_image(image, box)
        size = (image.shape[0], image.shape[1])
        factor = min(1.0, self.image_size / max(size)) if self.image_size else 1.0
        target = (max(1, round(crop.shape[0] * factor)), max(1, round(crop.shape[1] * factor)))
        shrunk = resize_image(crop, target, "area", factor < 1)
        position, octave, response, descriptors = root_sift(shrunk, self.top_k, self.contrast)
        back = np.array([crop.shape[1] / shrunk.shape[1], crop.shape[0] / shrunk.shape[0]])
        xy = (position * back + [x1, y1]) / [size[1], size[0]]
        return LocalDescriptors(descriptors, np.clip(xy, 0, 1), octave, response, size)
