"""VLAD: one vector for an image from its local descriptors and a vocabulary of centroids.

Each descriptor goes to its nearest centroid (Euclidean), each cluster sums the residuals
descriptor - centroid, every cluster's sum is brought to unit length (a cluster without descriptors
stays 0), and so is the whole. Source: Arandjelovic and Zisserman, "All about VLAD", CVPR 2013.

The conventions to know: descriptors are taken as they are, normalise them before where the
vocabulary was built from normalised ones; an image without descriptors gets the constant unit
vector 1/sqrt(C D), so that every row is a unit vector and a list keeps all its rows. Axis letters:
N images, K descriptors of an image, C clusters, D width.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput

Floats = npt.NDArray[np.floating[Any]]
Float64 = npt.NDArray[np.float64]

CANCELLED = 1e-12  # residuals that sum to less than this part of their lengths have cancelled


def vlad(descriptors: Floats, centroids: Floats) -> npt.NDArray[np.float32]:
    """The VLAD vector [C*D] float32, of unit length, of descriptors [K, D].

    K may be 0 (see above). Raises BadInput for NaN, infinity, or widths that differ.
    """
    if descriptors.ndim != 2:
        raise BadInput(f"descriptors have shape {descriptors.shape}", expected="[K, D]")
    count = np.array([len(descriptors)])
    return vlad_images(descriptors[None], count, centroids)[0]


def vlad_images(
    descriptors: Floats, count: npt.NDArray[np.integer], centroids: Floats
) -> npt.NDArray[np.float32]:
    """VLAD vectors [N, C*D] float32 of N images; descriptors [N, K, D], of which the first
    count[n] are real (what lies beyond is never looked at).

    Raises BadInput for NaN or infinity among the real ones, and for shapes that do not fit.
    """
    _check(descriptors, count, centroids)
    centers = centroids.astype(np.float64)
    vectors = np.empty((len(descriptors), centroids.size), np.float32)
    for n, real in enumerate(count.tolist()):
        # float64: neither the order of descriptors nor the batch shows in the result
        values = descriptors[n, :real].astype(np.float64)
        if not np.isfinite(values).all():
            raise BadInput(
                f"descriptors of image {n} have NaN or infinite entries",
                expected="finite numbers",
                remedy="extract that image again",
            )
        vectors[n] = aggregate_residuals(values, nearest(values, centers), centers)
    return vectors


def nearest(descriptors: Float64, centroids: Float64) -> npt.NDArray[np.intp]:
    """The row [K] of the nearest centroid (Euclidean) of each descriptor; ties: the first."""
    # |x - c|^2 = |x|^2 - 2 x.c + |c|^2, where |x|^2 is the same for every centroid
    distance = (centroids**2).sum(axis=1) - 2 * descriptors @ centroids.T
    return distance.argmin(axis=1)


def aggregate_residuals(
    descriptors: Float64, assigned: npt.NDArray[np.integer], centroids: Float64
) -> Float64:
    """The VLAD vector [C*D] of descriptors [K, D] that are assigned [K] to rows of centroids."""
    residuals = descriptors - centroids[assigned]
    member = assigned == np.arange(len(centroids))[:, None]  # [C, K]
    sums = member.astype(np.float64) @ residuals
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    total = member @ np.linalg.norm(residuals, axis=1)
    empty = lengths[:, 0] <= CANCELLED * total
    sums[empty] = 0.0
    lengths[empty] = 1.0
    vector: Float64 = (sums / lengths).ravel()
    norm = np.linalg.norm(vector)
    return vector / norm if norm > 0 else np.full(vector.shape, vector.size**-0.5)


def _check(descriptors: Floats, count: npt.NDArray[np.integer], centroids: Floats) -> None:
    floats = descriptors.dtype.kind == "f" and centroids.dtype.kind == "f"
    if descriptors.ndim != 3 or centroids.ndim != 2 or centroids.size == 0 or not floats:
        raise BadInput(
            f"descriptors are {descriptors.shape} ({descriptors.dtype}) and centroids "
            f"{centroids.shape} ({centroids.dtype})",
            expected="floating-point descriptors [N, K, D] and centroids [C, D]",
        )
    if descriptors.shape[2] != centroids.shape[1]:
        raise BadInput(
            f"descriptors have width {descriptors.shape[2]}, centroids {centroids.shape[1]}",
            expected="one width",
            remedy="use the vocabulary that was built from the same kind of descriptors",
        )
    if not np.isfinite(centroids).all():
        raise BadInput("centroids have NaN or infinite entries", expected="finite numbers")
    fits = count.shape == descriptors.shape[:1] and np.issubdtype(count.dtype, np.integer)
    if not fits or (count.size and (count.min() < 0 or count.max() > descriptors.shape[1])):
        raise BadInput(
            f"count is {count}",
            expected=f"{len(descriptors)} numbers from 0 to {descriptors.shape[1]}",
        )
