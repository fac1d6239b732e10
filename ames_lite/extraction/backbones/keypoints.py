"""RootSIFT keypoints: from an image to its strongest local descriptors.

Input: RGB uint8 [H, W, 3]. Output: positions in pixels of that image, octave, response and
unit-length descriptors, strongest first. Positions follow the pixel-edge convention: the centre of
the first pixel is at 0.5, so that position / size lies in [0, 1].
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt


class Keypoints(NamedTuple):
    """K keypoints: positions [K, 2] (x, y), octave [K], response [K], descriptors [K, 128]."""

    position: npt.NDArray[np.float32]
    octave: npt.NDArray[np.uint8]
    response: npt.NDArray[np.float32]
    descriptors: npt.NDArray[np.float32]


def root_sift(image: npt.NDArray[np.uint8], count: int, contrast: float = 0.02) -> Keypoints:
    """The `count` strongest SIFT keypoints with RootSIFT descriptors.

    contrast: OpenCV's contrast threshold; low, so that dull images have keypoints too.
    Source: Arandjelović and Zisserman, CVPR 2012: L1-normalise, then the square root of each
    entry; the result has unit length. Ties in response keep OpenCV's order.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    found, descriptors = cv2.SIFT_create(contrastThreshold=contrast).detectAndCompute(grey, None)
    if descriptors is None:
        return Keypoints(
            np.zeros((0, 2), np.float32),
            np.zeros(0, np.uint8),
            np.zeros(0, np.float32),
            np.zeros((0, 128), np.float32),
        )
    response = np.array([k.response for k in found], np.float32)
    strongest = np.argsort(-response, kind="stable")[:count]
    position = np.array([k.pt for k in found], np.float32)[strongest] + 0.5
    # OpenCV packs the octave into the lowest byte as a signed number from -1.
    octave = np.array([(k.octave & 255) for k in found], np.uint8)[strongest] + np.uint8(1)
    raw = descriptors[strongest]
    unit = np.sqrt(raw / np.maximum(raw.sum(axis=1, keepdims=True), 1e-12))
    return Keypoints(position, octave, response[strongest], unit.astype(np.float32))
