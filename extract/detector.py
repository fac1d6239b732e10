"""The published detector: which patches of a feature map are worth keeping, and their descriptors.

In: feature maps [B, C, h, w]. Out: descriptors, L2-normalised over C, and a weight above 0 for each
position. Parameters are named as in the published files (conv1, bn, conv2), which load strictly.

The convention to know: the descriptor is the output of the BatchNorm, before the ReLU.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from ames_lite.errors import BadInput
from extract.weights_file import read_state

EXPECTED = "the state of SpatialAttention2d: conv1, bn and conv2, plain or under 'state'"


class SpatialAttention2d(nn.Module):
    """1×1 convolution → BatchNorm → ReLU → 1×1 convolution → softplus. Source: ames.md 6."""

    def __init__(self, dim_in: int, dim: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(dim_in, dim, 1)
        self.bn = nn.BatchNorm2d(dim, eps=1e-5)
        self.conv2 = nn.Conv2d(dim, 1, 1)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """features [B, C, h, w]; returns unit descriptors [B, D, h, w] and weights [B, 1, h, w]."""
        hidden = self.bn(self.conv1(features))
        weight = functional.softplus(self.conv2(functional.relu(hidden)))
        return functional.normalize(hidden, dim=1), weight


def load_detector(path: str | Path, dim_in: int) -> SpatialAttention2d:
    """The detector of a published file, in eval mode, for features of width dim_in.

    Raises MissingFile, and BadInput where the file is no state of a detector of that width.
    """
    state = read_state(path, EXPECTED)
    shape = tuple(state["conv1.weight"].shape) if "conv1.weight" in state else None
    if shape is None or len(shape) != 4 or shape[1] != dim_in:
        raise BadInput(
            f"conv1.weight is {'missing' if shape is None else list(shape)}",
            where=path,
            expected=f"{EXPECTED}, for features of width {dim_in}",
        )
    detector = SpatialAttention2d(dim_in, shape[0])
    try:
        detector.load_state_dict(state)
    except RuntimeError as error:
        said = " ".join(str(error).split())
        raise BadInput(
            f"the detector does not load: {said}", where=path, expected=EXPECTED
        ) from error
    if not all(bool(torch.isfinite(value).all()) for value in detector.state_dict().values()):
        raise BadInput("the detector has NaN or infinite weights", where=path)
    return detector.eval()
