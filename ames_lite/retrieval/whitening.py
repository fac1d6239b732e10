"""Whitening of global descriptors: fitted exactly, in bounded memory, and applied.

PCA: x → (x - mean) · components / sqrt(variance), as scikit-learn's PCA(whiten=True): components
are the directions of the largest variance, variance is divided by N - 1.

Within classes: x → S^(-1/2) (x - mean), where S is the covariance of images around the mean of
their class, so that what varies among images of one landmark counts less (Mikolajczyk and Matas,
"Improving descriptors for fast tree matching by optimal linear projection", ICCV 2007; Hatch et
al., "Within-class covariance normalization", Interspeech 2006). S is shrunk to a multiple of the
identity beyond its first directions, and the output keeps all D dimensions.

The largest entry of a direction is positive; outputs are not of unit length. Axis letters: N
images, D input width, P directions, C classes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from scipy.linalg import eigh

from ames_lite.errors import require
from ames_lite.retrieval.rows import Float32, Float64, Floats, not_finite

BLOCK_BYTES = 1 << 27  # of descriptors in float64, at a time
LEAST = 1e-12  # variances below this part of the largest are rounding, not data
MAX_SIDE = 30_000  # of the matrix of inner products: 7 GB


class Matrix(Protocol):
    """What the fit reads: an array [N, D], or a file that gives rows and columns of one."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, part: tuple[slice, slice]) -> npt.NDArray[Any]: ...


@dataclass(frozen=True, eq=False)
class Whitening:
    """remainder: variance of every direction outside the components, which then stay in the output,
    [N, D]; None: the output is [N, P], in coordinates of the components.
    """

    mean: Float32  # [D]
    components: Float32  # [P, D], orthonormal rows
    variance: Float32  # [P], descending
    remainder: float | None = None

    def __post_init__(self) -> None:
        p, d = self.components.shape if self.components.ndim == 2 else (0, 0)
        arrays = {"mean": self.mean, "components": self.components, "variance": self.variance}
        fits = min(p, d) >= 1 and self.mean.shape == (d,) and self.variance.shape == (p,)
        shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in arrays.items())
        require(fits, f"{shapes} do not fit", "[D], [P, D] and [P]")
        finite = all(np.isfinite(array).all() for array in arrays.values())
        least = np.append(self.variance, 1.0 if self.remainder is None else self.remainder).min()
        what = "the whitening has NaN, infinite entries or a variance that is not above 0"
        require(finite and 0 < least < np.inf, what, "finite numbers, variances above 0")

    @property
    def width(self) -> int:
        return self.components.shape[1]

    @property
    def dim(self) -> int:
        return self.components.shape[0 if self.remainder is None else 1]


def whiten(vectors: Floats, whitening: Whitening) -> Float64:
    """[N, P or D] of vectors [N, D]; not of unit length."""
    centred = vectors.astype(np.float64) - whitening.mean
    components, scale = whitening.components, 1 / np.sqrt(whitening.variance.astype(np.float64))
    out = np.zeros((len(vectors), len(components)))
    for part in _parts(*components.shape[::-1]):  # the components are never all in float64
        out += centred[:, part] @ components[:, part].T.astype(np.float64)
    if whitening.remainder is None:
        return out * scale
    rest = 1 / np.sqrt(whitening.remainder)
    out *= scale - rest
    centred *= rest
    for part in _parts(*components.shape[::-1]):
        centred[:, part] += out @ components[:, part].astype(np.float64)
    return centred


def fit_whitening(source: Matrix, dim: int) -> Whitening:
    """The whitening of N descriptors of width D to `dim` dimensions. Exact: from the D × D
    covariance, or for D above N from the N × N inner products, in memory. Raises BadInput for a dim
    that N, D or the data do not have, NaN, infinity, or too large a matrix.
    """
    num, width = source.shape
    most, side = min(num - 1, width), min(num, width)
    what = f"dim is {dim}, for {num} descriptors of width {width}"
    expected = f"from 1 to {most}: fewer than descriptors, at most the width"
    require(1 <= dim <= most, what, expected, remedy="a smaller dim=, or more images")
    what = f"{num} descriptors of width {width} need a matrix of {side} squared"
    expected = f"at most {MAX_SIDE} images, or a width of at most that"
    require(side <= MAX_SIDE, what, expected, remedy="a smaller max_images=")
    fit = _from_covariance if num > width else _from_products
    return _whitening(*fit(source, dim))


def fit_class_whitening(
    source: Matrix, labels: npt.NDArray[Any], dim: int, shrinkage: float = 0.3
) -> Whitening:
    """The whitening within classes of N descriptors of width D, by the first `dim` directions.

    labels [N]: classes of two images or more count alike, those of one only for the mean.
    shrinkage: part of the mean variance that is added to every direction. Memory: D × D and C × D.
    Raises BadInput without two images of a class, and as `fit_whitening`.
    """
    num, width = source.shape
    _, classes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    what = f"{len(labels)} labels of {num} descriptors, {(counts > 1).sum()} of them shared"
    fine = len(labels) == num and (counts > 1).any()
    require(fine, what, "a label each, and classes of two images or more")
    what = f"dim is {dim}, shrinkage {shrinkage}, for descriptors of width {width}"
    expected = f"dim from 1 to the width, a width of at most {MAX_SIDE}, shrinkage above 0"
    require(1 <= dim <= width <= MAX_SIDE and 0 < shrinkage < np.inf, what, expected)
    sums = np.zeros((len(counts), width))
    for rows in _parts(num, width):
        np.add.at(sums, classes[rows], _read(source, rows, np.s_[:]))
    means = sums / counts[:, None]
    weight = (counts > 1) / np.maximum(counts - 1, 1) / (counts > 1).sum()
    covariance = np.zeros((width, width))
    for rows in _parts(num, width):
        of = classes[rows]
        centred = _read(source, rows, np.s_[:]) - means[of]
        covariance += centred.T @ (centred * weight[of, None])
    remainder = shrinkage * float(np.trace(covariance)) / width
    variance, directions = _largest(covariance, dim, 2)
    return _whitening(sums.sum(axis=0) / num, directions.T, variance + remainder, remainder)


def _whitening(
    mean: Float64, components: Float64, variance: Float64, remainder: float | None = None
) -> Whitening:
    largest = np.abs(components).argmax(axis=1)
    signs = np.sign(components[np.arange(len(components)), largest])
    components = components * signs[:, None]
    fitted = [x.astype(np.float32) for x in (mean, components, variance)]
    return Whitening(fitted[0], fitted[1], fitted[2], remainder)


def _from_covariance(source: Matrix, dim: int) -> tuple[Float64, Float64, Float64]:
    num, width = source.shape
    mean = sum(_read(source, rows, np.s_[:]).sum(axis=0) for rows in _parts(num, width)) / num
    covariance = np.zeros((width, width))
    for rows in _parts(num, width):
        centred = _read(source, rows, np.s_[:]) - mean
        covariance += centred.T @ centred
    variance, directions = _largest(covariance, dim, num)
    return mean, np.ascontiguousarray(directions.T), variance


def _from_products(source: Matrix, dim: int) -> tuple[Float64, Float64, Float64]:
    """By columns of all rows at a time, so that a block has the whole of its mean."""
    num, width = source.shape
    products, mean = np.zeros((num, num)), np.empty(width)
    for columns in _parts(width, num):
        values = _read(source, np.s_[:], columns)
        mean[columns] = values.mean(axis=0)
        values -= mean[columns]
        products += values @ values.T
    variance, left = _largest(products, dim, num)
    left /= np.sqrt(variance * (num - 1))
    components = np.empty((dim, width))
    for columns in _parts(width, num):
        components[:, columns] = left.T @ (_read(source, np.s_[:], columns) - mean[columns])
    return mean, components, variance


def _largest(matrix: Float64, dim: int, num: int) -> tuple[Float64, Float64]:
    """The dim largest variances, descending, and their eigenvectors as columns."""
    side = len(matrix)
    last = [side - dim, side - 1]
    values, vectors = eigh(matrix, subset_by_index=last, overwrite_a=True, check_finite=False)
    values, vectors = values[::-1] / (num - 1), vectors[:, ::-1].copy()
    found = int((values > LEAST * max(values[0], 0.0)).sum()) if values[0] > 0 else 0
    what = f"the descriptors span {found} directions, dim is {dim}"
    expected = f"at least {dim} directions: more images, and images that differ"
    remedy = f"dim={found} at most" if found else "images that differ"
    require(found >= dim, what, expected, remedy=remedy)
    return values, vectors


def _parts(length: int, other: int) -> Iterator[slice]:
    """Slices of `length`, of as many entries as a block of width `other` has room for."""
    step = max(1, BLOCK_BYTES // (8 * max(1, other)))
    for start in range(0, length, step):
        yield slice(start, min(start + step, length))


def _read(source: Matrix, rows: slice, columns: slice) -> Float64:
    values = source[rows, columns].astype(np.float64)
    if not np.isfinite(values).all():
        row = (rows.start or 0) + int((~np.isfinite(values)).any(axis=1).argmax())
        raise not_finite(f"descriptor {row}")
    return values
