"""PCA-whitening of global descriptors: fitted exactly, in bounded memory, and applied.

x → (x - mean) · components / sqrt(variance), the definition of scikit-learn's PCA(whiten=True):
components are the directions of the largest variance, variance is divided by N - 1.

The conventions to know: the sign of a direction is such that its largest entry is positive; what
comes out is not of unit length. Axis letters: N images, D width, P width that is kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from scipy.linalg import eigh

from ames_lite.errors import BadInput

Floats = npt.NDArray[np.floating[Any]]
Float64 = npt.NDArray[np.float64]
BLOCK_BYTES = 1 << 27  # of descriptors in float64, at a time
LEAST = 1e-12  # variances below this part of the largest are rounding, not data
MAX_SIDE = 30_000  # of the matrix of inner products: 7 GB


class Matrix(Protocol):
    """What the fit reads: an array [N, D], or a file that gives parts of one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, D)."""

    def __getitem__(self, part: tuple[slice, slice]) -> npt.NDArray[Any]:
        """Rows and columns."""


@dataclass(frozen=True, eq=False)
class Whitening:
    """mean [D], components [P, D] (orthonormal rows), variance [P] (descending); float32."""

    mean: npt.NDArray[np.float32]
    components: npt.NDArray[np.float32]
    variance: npt.NDArray[np.float32]

    def __post_init__(self) -> None:
        p, d = self.components.shape if self.components.ndim == 2 else (0, 0)
        if min(p, d) < 1 or self.mean.shape != (d,) or self.variance.shape != (p,):
            raise BadInput(
                f"mean {list(self.mean.shape)}, components {list(self.components.shape)} and "
                f"variance {list(self.variance.shape)} do not fit",
                expected="[D], [P, D] and [P]",
            )
        finite = all(np.isfinite(a).all() for a in (self.mean, self.components, self.variance))
        if not finite or not (self.variance > 0).all():
            raise BadInput(
                "the whitening has NaN, infinite entries or a variance that is not above 0",
                expected="finite numbers, variances above 0",
            )

    @property
    def width(self) -> int:
        """D, of what goes in."""
        return self.components.shape[1]

    @property
    def dim(self) -> int:
        """P, of what comes out."""
        return self.components.shape[0]


def whiten(vectors: Floats, whitening: Whitening) -> Float64:
    """[N, P] of vectors [N, D]; not of unit length. Raises BadInput for another width."""
    if vectors.ndim != 2 or vectors.shape[1] != whitening.width:
        raise BadInput(
            f"the descriptors are {list(vectors.shape)}, the whitening takes width "
            f"{whitening.width}",
            expected="descriptors of the kind that it was fitted on",
        )
    centred = vectors.astype(np.float64) - whitening.mean
    out = np.zeros((len(vectors), whitening.dim))
    for part in _parts(whitening.width, whitening.dim):  # the components are never all in float64
        out += centred[:, part] @ whitening.components[:, part].T.astype(np.float64)
    whitened: Float64 = out / np.sqrt(whitening.variance.astype(np.float64))
    return whitened


def fit_whitening(source: Matrix, dim: int) -> Whitening:
    """The whitening of N descriptors of width D to `dim` dimensions.

    Exact: from the D × D covariance, or for D above N from the N × N inner products, of which the
    smaller one, and a block of descriptors, are in memory. Raises BadInput for a dim above N - 1 or
    D, for fewer directions in the data than dim, NaN or infinity, and where both sides are beyond
    what memory holds.
    """
    num, width = source.shape
    if not 1 <= dim <= min(num - 1, width):
        raise BadInput(
            f"dim is {dim}, for {num} descriptors of width {width}",
            expected=f"from 1 to {min(num - 1, width)}: fewer than descriptors, at most the width",
            remedy="a smaller dim=, or more images",
        )
    if min(num, width) > MAX_SIDE:
        raise BadInput(
            f"{num} descriptors of width {width} need a matrix of {min(num, width)} squared",
            expected=f"at most {MAX_SIDE} images, or a width of at most that",
            remedy="a smaller max_images=",
        )
    fit = _from_covariance if num > width else _from_products
    mean, components, variance = fit(source, dim)
    components *= np.sign(components[np.arange(dim), np.abs(components).argmax(axis=1)])[:, None]
    kinds = (mean, components, variance)
    return Whitening(*(values.astype(np.float32) for values in kinds))


def _from_covariance(source: Matrix, dim: int) -> tuple[Float64, Float64, Float64]:
    num, width = source.shape
    total = np.zeros(width)
    for rows in _parts(num, width):
        total += _read(source, rows, np.s_[:]).sum(axis=0)
    mean = total / num
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
    values, vectors = eigh(
        matrix, subset_by_index=[side - dim, side - 1], overwrite_a=True, check_finite=False
    )
    values, vectors = values[::-1] / (num - 1), vectors[:, ::-1].copy()
    found = int((values > LEAST * max(values[0], 0.0)).sum()) if values[0] > 0 else 0
    if found < dim:
        raise BadInput(
            f"the descriptors span {found} directions, dim is {dim}",
            expected=f"at least {dim} directions: more images, and images that differ",
            remedy=f"dim={found} at most" if found else "images that differ",
        )
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
        raise BadInput(
            f"descriptor {row} has NaN or infinite entries",
            expected="finite numbers",
            remedy="extract that image again",
        )
    return values
