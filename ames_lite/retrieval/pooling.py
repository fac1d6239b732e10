"""Pooling: one vector for an image from its local descriptors, without a vocabulary.

gem: in every dimension the signed power, its mean, and the signed root (Radenović et al.,
"Fine-tuning CNN Image Retrieval with No Human Annotation", TPAMI 2018, there for positive entries).
weighted_mean: by the weights of the detector. N images, K descriptors of an image, D width.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput, require
from ames_lite.retrieval.rows import Floats, not_finite, real_descriptors

Float64 = npt.NDArray[np.float64]


def gem(
    descriptors: Floats, count: npt.NDArray[np.integer], power: float = 3.0
) -> npt.NDArray[np.float32]:
    """GeM vectors [N, D] float32 of descriptors [N, K, D], of which the first count[n] are real.

    power: above 0; 1 is the mean, a large one the entry of the largest magnitude. Raises BadInput
    for other powers, NaN or infinity among the real ones, and shapes that do not fit.
    """
    fine = 0 < power < float("inf")
    require(fine, f"the power of GeM is {power}", expected="a number above 0")
    vectors = np.empty((len(descriptors), descriptors.shape[-1]))
    for n, values in _real(descriptors, count):
        # scaled, so that no power of a large number is infinite
        largest = np.abs(values).max(initial=0.0) or 1.0
        mean = _signed_power(values / largest, power).sum(axis=0) / max(1, len(values))
        vectors[n] = _signed_power(mean, 1 / power)
    return unit_rows(vectors)


def weighted_mean(
    descriptors: Floats, weight: Floats, count: npt.NDArray[np.integer]
) -> npt.NDArray[np.float32]:
    """Averages [N, D] float32 of descriptors [N, K, D] by their weights [N, K], from 0.

    Of each image the first count[n] are real. Raises BadInput for NaN, infinity, negative weights
    or only zeros among the real ones, and for shapes that do not fit.
    """
    what = f"weights {list(weight.shape)} for descriptors {list(descriptors.shape)}"
    require(weight.shape == descriptors.shape[:2], what, expected="one weight per descriptor")
    vectors = np.empty((len(descriptors), descriptors.shape[-1]))
    for n, values in _real(descriptors, count):
        shares = weight[n, : len(values)].astype(np.float64)
        if len(values) and not (shares.min() >= 0 and 0 < shares.sum() < np.inf):
            raise BadInput(
                f"the weights of image {n} lie in [{shares.min():g}, {shares.max():g}]",
                expected="weights from 0, not all of them 0",
            )
        vectors[n] = shares @ values / max(shares.sum(), np.finfo(np.float64).tiny)
    return unit_rows(vectors)


def unit_rows(vectors: Floats) -> npt.NDArray[np.float32]:
    """Rows [N, D] brought to unit length; a row of zeros becomes the constant unit vector.

    >>> unit_rows(np.array([[3.0, 4.0], [0.0, 0.0]])).round(3).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.7070000171661377, 0.7070000171661377]]
    """
    exact = vectors.astype(np.float64)
    length = np.linalg.norm(exact, axis=1, keepdims=True)
    unit = np.divide(
        exact, length, out=np.full_like(exact, exact.shape[1] ** -0.5), where=length > 0
    )
    return unit.astype(np.float32)


def _signed_power(values: Float64, power: float) -> Float64:
    if power == 1:
        return values
    if power == 3:  # of a float exponent a power takes many times as long
        return values * values * values
    signed: Float64 = np.copysign(np.abs(values) ** power, values)
    return signed


def _real(
    descriptors: Floats, count: npt.NDArray[np.integer]
) -> Iterator[tuple[int, npt.NDArray[np.float64]]]:
    """The real descriptors of every image, in float64."""
    for n, real in enumerate(real_descriptors(descriptors, count)):
        values = real.astype(np.float64)
        if not np.isfinite(values).all():
            raise not_finite(f"a descriptor of image {n}")
        yield n, values
