"""VLAD: one vector for an image from its local descriptors and a vocabulary of centroids.

Every cluster sums weighted residuals descriptor - centroid, each sum is brought to unit length (a
cluster without descriptors stays 0), and so is the whole. The forms:
  hard           weight 1 at the nearest centroid, by Euclidean distance or by cosine. Source:
                 Arandjelovic and Zisserman, "All about VLAD", CVPR 2013
  soft standard  weights softmax(temperature * similarity) over the clusters, where the similarity
                 is the cosine, or minus the squared distance; residuals to the own cluster. Source:
                 Arandjelovic et al., "NetVLAD", CVPR 2016
  soft anyloc    the same weights, but cluster k sums the residuals to ALL clusters: a quirk of the
                 published code of AnyLoc, kept to reproduce it
Source of hard by cosine with unit descriptors: Keetha et al., "AnyLoc", RA-L 2023.

Descriptors are taken as they are unless `unit`; for cosines centroids are normalized, for residuals
they are not; an image without descriptors gets the constant unit vector 1/sqrt(C D). Axis letters:
N images, K descriptors of an image, C clusters, D width.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ames_lite.errors import check_fields
from ames_lite.retrieval.rows import Float32, Floats, not_finite

DISTANCES = ("euclidean", "cosine")
SOFT = ("standard", "anyloc")
CANCELLED = 1e-12  # sums below this part of what was added and subtracted have cancelled


@dataclass(frozen=True)
class VladForm:
    """How VLAD assigns and sums."""

    distance: str = "euclidean"  # or cosine
    soft: str | None = None  # None: hard; or standard, anyloc
    temperature: float = 1.0  # of soft
    unit: bool = False  # every descriptor is brought to unit length first (zeros stay)

    def __post_init__(self) -> None:
        fits = {
            "distance": (self.distance in DISTANCES, " or ".join(DISTANCES)),
            "soft": (self.soft in (None, *SOFT), f"None, {' or '.join(SOFT)}"),
            "temperature": (0 < self.temperature < np.inf, "a number above 0"),
        }
        check_fields(self, fits)


HARD = VladForm()


def vlad_images(
    descriptors: Floats, count: npt.NDArray[np.integer], centroids: Floats, form: VladForm = HARD
) -> Float32:
    """VLAD vectors [N, C*D] float32 of descriptors [N, K, D], of which the first count[n] are real.
    Computed in float64, image by image: neither the order of descriptors nor the batch shows in the
    result. Raises BadInput for NaN or infinity among the real ones.
    """
    centers = fill(torch.empty(centroids.shape, dtype=torch.float64), centroids)
    held = torch.empty(descriptors.shape[1:], dtype=torch.float64)  # one image's, again and again
    vectors = np.empty((len(descriptors), centroids.size), np.float32)
    for n, real in enumerate(count.tolist()):
        values = fill(held[:real], descriptors[n, :real])
        lengths = _lengths(values)
        if not bool(torch.isfinite(lengths).all()):
            raise not_finite(f"a descriptor of image {n}")
        vectors[n] = _vector(values, lengths, centers, form).numpy()
    return vectors


def assign(descriptors: npt.ArrayLike, centroids: Floats, form: VladForm) -> npt.NDArray[np.int64]:
    """The nearest cluster [K] of each of descriptors [K, D]."""
    values = torch.from_numpy(np.asarray(descriptors, np.float64))
    values = unit_rows(values) if form.unit else values
    centers = torch.from_numpy(centroids.astype(np.float64))
    return similarities(values, centers, form.distance).argmax(dim=0).numpy()


def similarities(values: Tensor, centers: Tensor, distance: str) -> Tensor:
    """[C, K] of values [K, D], centers [C, D]: |x| cos(x, c), or |x|^2 - the squared distance."""
    if distance == "cosine":
        return unit_rows(centers) @ values.T
    return (centers @ values.T).mul_(2).sub_(centers.square().sum(dim=1, keepdim=True))


def unit_rows(values: Tensor) -> Tensor:
    """Rows [M, D] of unit length; rows of zeros stay."""
    lengths = _lengths(values)
    return values / torch.where(lengths > 0, lengths, 1.0)[:, None]


def _lengths(values: Tensor) -> Tensor:
    return torch.linalg.vector_norm(values, dim=1)


def fill(out: Tensor, values: Floats) -> Tensor:
    """Copy values [M, D] into `out`, of any floating dtype; returns it."""
    if values.dtype.isnative and values.flags.writeable and values.flags.c_contiguous:
        return out.copy_(torch.from_numpy(values))  # of float16 many times as fast as NumPy
    out.numpy()[...] = values
    return out


def _vector(values: Tensor, lengths: Tensor, centers: Tensor, form: VladForm) -> Tensor:
    """The VLAD vector [C*D]; may overwrite values."""
    if form.unit:
        values = values.div_(torch.where(lengths > 0, lengths, 1.0)[:, None])
        lengths = (lengths > 0).to(torch.float64)
    sims = similarities(values, centers, form.distance)
    if form.soft is None:
        return _hard(values, lengths, sims.argmax(dim=0), centers)
    if form.distance == "cosine":
        sims /= torch.where(lengths > 0, lengths, 1.0)
    return _soft(values, lengths, (form.temperature * sims).softmax(dim=0), centers, form.soft)


def _hard(values: Tensor, lengths: Tensor, assigned: Tensor, centers: Tensor) -> Tensor:
    num = len(centers)
    mass = torch.bincount(assigned, minlength=num).to(torch.float64)
    sums = torch.zeros_like(centers).index_add_(0, assigned, values)
    added = torch.bincount(assigned, lengths, minlength=num) + mass * _lengths(centers)
    return _normalise(sums - mass[:, None] * centers, added)


def _soft(values: Tensor, lengths: Tensor, weights: Tensor, centers: Tensor, soft: str) -> Tensor:
    sums, mass = weights @ values, weights.sum(dim=1)
    added, sizes = weights @ lengths, _lengths(centers)
    if soft == "standard":
        return _normalise(sums - mass[:, None] * centers, added + mass * sizes)
    num = len(centers)  # sum over c of (x - c) = C x - sum of c
    sums = num * sums - mass[:, None] * centers.sum(dim=0)
    return _normalise(sums, num * added + mass * sizes.sum())


def _normalise(sums: Tensor, added: Tensor) -> Tensor:
    """Every cluster's sum [C, D] to unit length, then the whole; added [C]: what was summed."""
    lengths = _lengths(sums)
    empty = lengths <= CANCELLED * added
    sums[empty] = 0.0
    lengths[empty] = 1.0
    vector = (sums / lengths[:, None]).flatten()
    norm = torch.linalg.vector_norm(vector)
    return vector / norm if norm > 0 else torch.full_like(vector, len(vector) ** -0.5)
