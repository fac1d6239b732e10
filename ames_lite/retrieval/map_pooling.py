"""Pooling of feature maps and over scales: GeM, and SuperGlobal's rGeM and sGeM.

Maps are [B, C, h, w] with entries from 0, vectors [S, B, D] (S scales). Sources: Radenović et al.,
"Fine-tuning CNN Image Retrieval with No Human Annotation", TPAMI 2018 (GeM); Shao et al., "Global
Features are All You Need for Image Retrieval and Reranking", arXiv 2308.06954 (the others).
"""

import torch
from torch import Tensor
from torch.nn import functional

from ames_lite.errors import require

WINDOW = 5  # side of rGeM's windows


def gem_map(x: Tensor, power: float | Tensor, least: float) -> Tensor:
    """GeM [B, C]: mean over positions of max(x, least)^power, to the power 1 / power.

    At least float32: powers of small activations leave the range of half precision.
    """
    powers = _wide(x).clamp(min=least) ** power
    mean: Tensor = powers.mean(dim=(2, 3)) ** (1 / power)
    return mean


def rgem(x: Tensor, power: float) -> Tensor:
    """Regional GeM [B, C, h, w]: half the map, half the GeM of the 5×5 window around each cell.

    Windows at the border are filled by reflection. Raises BadInput for maps below 3×3.
    """
    margin = WINDOW // 2
    require(
        min(x.shape[2:]) > margin,
        f"a feature map of {x.shape[2]}×{x.shape[3]} is too small for rGeM",
        expected=f"at least {margin + 1}×{margin + 1} at every scale",
        remedy="a larger image, or larger scales",
    )
    wide = _wide(x)
    padded = functional.pad(wide, (margin,) * 4, mode="reflect")
    # lp_pool2d sums over a window where GeM takes the mean
    regional = functional.lp_pool2d(padded, power, WINDOW, stride=1) / WINDOW ** (2 / power)
    return (wide + regional) / 2


def sgem(vectors: Tensor, power: float | None = None) -> Tensor:
    """Scale GeM [B, D] of vectors [S, B, D]; None (infinity): the maximum of their unit vectors.

    With a power: ((x - m)^power averaged over scales)^(1 / power) + m, where m is the least entry
    of all of an image's vectors, which are taken as they are.
    """
    if power is None:
        return functional.normalize(vectors, dim=2).amax(dim=0)
    least = vectors.amin(dim=(0, 2))[:, None]
    return ((vectors - least) ** power).mean(dim=0) ** (1 / power) + least


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
