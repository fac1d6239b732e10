"""The layer that turns a descriptor into signs, and its smooth stand-in for training.

In: descriptors [..., Din], of any length (they are L2-normalised first). Out: [..., D], in eval
exactly -1, 0 or +1. The convention to know: sign(0) = 0, as in the published code, so a descriptor
of zeros gives zeros and not a code.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Binarization(nn.Module):
    """x -> sign(normalise(x) W); in training erf(normalise(x) W / sqrt(2 sigma)).

    dim_in, dim  widths before and after
    sigma        how smooth the stand-in is: erf tends to the sign as sigma tends to 0
    """

    def __init__(self, dim_in: int, dim: int, sigma: float = 1e-6) -> None:
        super().__init__()
        self.sigma = sigma
        self.W = nn.Parameter(torch.empty(dim_in, dim))
        nn.init.orthogonal_(self.W)

    def forward(self, x: Tensor) -> Tensor:
        """Signs [..., D] of descriptors [..., Din], float; gradients reach W in training only.

        Never in reduced precision: near zero it would turn signs.
        """
        with torch.autocast(x.device.type, enabled=False):
            projected = F.normalize(x, dim=-1) @ self.W
            if self.training:
                return torch.erf(projected / (2 * self.sigma) ** 0.5)
            return torch.sign(projected)
