"""Pooling: one vector for an image from its local descriptors or feature map, or over scales.

gem: in every dimension the signed power, its mean, and the signed root (Radenović et al.,
"Fine-tuning CNN Image Retrieval with No Human Annotation", TPAMI 2018, there for positive entries).
weighted_mean: by the weights of the detector. N images, K descriptors of an image, D width.

rgem, sgem: SuperGlobal's (Shao et al., "Global Features are All You Need for Image Retrieval and
Reranking", arXiv 2308.06954). Maps are [B, C, h, w] with entries from 0, vectors [S, B, D] (S
scales).
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from ames_lite.errors import BadInput, require
from ames_lite.retrieval.rows import Float32, Float64, Floats, not_finite

WINDOW = 5  # side of rGeM's windows


def gem(descriptors: Floats, count: npt.NDArray[np.integer], power: float = 3.0) -> Float32:
    """GeM [N, D] of descriptors [N, K, D], the first count[n] real. BadInput if not finite."""
    vectors = np.empty((len(descriptors), descriptors.shape[-1]))
    for n, values in _real(descriptors, count):
        # scaled, so that no power of a large number is infinite
        largest = np.abs(values).max(initial=0.0) or 1.0
        mean = _signed_power(values / largest, power).sum(axis=0) / max(1, len(values))
        vectors[n] = _signed_power(mean, 1 / power)
    return unit_rows(vectors)


def weighted_mean(descriptors: Floats, weight: Floats, count: npt.NDArray[np.integer]) -> Float32:
    """Averages [N, D] by weights [N, K], as `gem`. BadInput for negative weights, only zeros."""
    vectors = np.empty((len(descriptors), descriptors.shape[-1]))
    for n, values in _real(descriptors, count):
        shares = weight[n, : len(values)].astype(np.float64)
        if len(values) and not (shares.min() >= 0 and 0 < shares.sum() < np.inf):
            what = f"the weights of image {n} lie in [{shares.min():g}, {shares.max():g}]"
            raise BadInput(what, expected="weights from 0, not all of them 0")
        vectors[n] = shares @ values / max(shares.sum(), np.finfo(np.float64).tiny)
    return unit_rows(vectors)


def unit_rows(vectors: Floats) -> Float32:
    """Rows [N, D] brought to unit length; a row of zeros becomes the constant unit vector."""
    exact = vectors.astype(np.float64)
    length = np.linalg.norm(exact, axis=1, keepdims=True)
    unit = np.full_like(exact, exact.shape[1] ** -0.5)
    return np.divide(exact, length, out=unit, where=length > 0).astype(np.float32)


def _signed_power(values: Float64, power: float) -> Float64:
    if power == 1:
        return values
    if power == 3:  # of a float exponent a power takes many times as long
        return values * values * values
    return np.copysign(np.abs(values) ** power, values)


def _real(descriptors: Floats, count: npt.NDArray[np.integer]) -> Iterator[tuple[int, Float64]]:
    """The real descriptors of every image, in float64."""
    for n, real in enumerate(count.tolist()):
        values = descriptors[n, :real].astype(np.float64)
        if not np.isfinite(values).all():
            raise not_finite(f"a descriptor of image {n}")
        yield n, values


def gem_map(x: Tensor, power: float | Tensor, least: float) -> Tensor:
    """GeM [B, C] over positions of max(x, least), in float32 at least, for the range of powers."""
    powers = _wide(x).clamp(min=least) ** power
    return powers.mean(dim=(2, 3)) ** (1 / power)


def rgem(x: Tensor, power: float) -> Tensor:
    """Regional GeM [B, C, h, w]: half the map, half the GeM of the 5×5 window around each cell,
    filled by reflection at the border. Raises BadInput for maps below 3×3.
    """
    margin = WINDOW // 2
    what = f"a feature map of {x.shape[2]}×{x.shape[3]} is too small for rGeM"
    expected = f"at least {margin + 1}×{margin + 1} at every scale"
    require(min(x.shape[2:]) > margin, what, expected, remedy="a larger image, or larger scales")
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
