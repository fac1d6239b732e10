"""Two coordinates for every global descriptor: principal components, or t-SNE.

Input: descriptors [N, D]. Output: points float64 [N, 2]. PCA needs numpy alone; t-SNE needs
scikit-learn, the extra `views`, of which this file is the one owner. Descriptors are taken as they
are, centred but not scaled; of a component, the entry that is largest in size is positive, and the
same seed gives the same points.
"""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput

Floats = npt.NDArray[np.floating[Any]]
Float64 = npt.NDArray[np.float64]

INSTALL = "pip install scikit-learn (the extra views of this project), or method=pca"
FEWEST_TSNE = 5  # images
TSNE_INPUT = 50  # principal components that t-SNE looks at
NEGLIGIBLE = 1e-12  # of the largest variance: below, rounding


class Components(NamedTuple):
    """points [N, n], and the share [n] of the whole variance that each has, 0 to 1, descending."""

    points: Float64
    explained: Float64


def pca(descriptors: Floats, num: int = 2) -> Components:
    """Principal components of descriptors [N, D], the first `num`; those that lack are zeros.

    Raises BadInput for other shapes, no row, NaN or infinity.
    """
    _check(descriptors)
    n, dim = descriptors.shape
    centred = descriptors.astype(np.float64)
    centred -= centred.mean(axis=0)
    # the eigenvectors of the smaller side: a VLAD vector has more entries than there are images
    small = centred @ centred.T if n <= dim else centred.T @ centred
    values, vectors = np.linalg.eigh(small)
    order = np.argsort(-values, kind="stable")[:num]
    values = np.maximum(values, 0)
    total = values.sum()
    used = order[values[order] > NEGLIGIBLE * values.max(initial=0)]
    found = vectors[:, used]
    found = found * np.sqrt(values[used]) if n <= dim else centred @ found
    points, explained = np.zeros((n, num)), np.zeros(num)
    points[:, : len(used)] = found * _signs(found)
    explained[: len(used)] = values[used] / total
    return Components(points, explained)


def _signs(points: Float64) -> Float64:
    """For each column 1 or -1: the sign of its entry that is largest in size."""
    rows = np.abs(points).argmax(axis=0)
    return np.where(points[rows, np.arange(points.shape[1])] < 0, -1.0, 1.0)


def tsne(descriptors: Floats, *, seed: int = 0, perplexity: float = 30.0) -> Float64:
    """t-SNE points [N, 2] of descriptors [N, D], from their first 50 principal components.

    perplexity: about how many neighbours count; at most (N - 1) / 3 is used. It runs on one thread,
    since the order of sums shows in the result. Raises BadInput where scikit-learn is not
    installed, for fewer than 5 rows, a perplexity that is not above 0, and as `pca`.
    Source: van der Maaten and Hinton, "Visualizing data using t-SNE", JMLR 2008.
    """
    check_tsne()
    _check(descriptors)
    if len(descriptors) < FEWEST_TSNE or not perplexity > 0:
        raise BadInput(
            f"t-SNE of {len(descriptors)} images with perplexity {perplexity}",
            expected=f"at least {FEWEST_TSNE} images and a perplexity above 0",
            remedy="method=pca",
        )
    components = pca(descriptors, min(TSNE_INPUT, *descriptors.shape)).points
    start = _start(components, np.random.default_rng(seed))
    manifold = importlib.import_module("sklearn.manifold")
    with importlib.import_module("threadpoolctl").threadpool_limits(1):
        model = manifold.TSNE(
            perplexity=min(perplexity, (len(descriptors) - 1) / 3),
            init=start,
            random_state=seed,
        )
        points: Float64 = model.fit_transform(components).astype(np.float64)
    return points


def _start(components: Float64, rng: np.random.Generator) -> Float64:
    """The first two components, small, with noise: from one place, two images that are equal (a
    query that is in the gallery too) would never part, and the tree of Barnes and Hut breaks."""
    start = np.zeros((len(components), 2))
    start[:, : components.shape[1]] = components[:, :2]
    spread = start[:, 0].std()
    noise = rng.normal(0, 0.1, start.shape)
    return 1e-4 * (start / (spread if spread > 0 else 1.0) + noise)


def check_tsne() -> None:
    """Raise BadInput where scikit-learn is not installed."""
    try:
        importlib.import_module("sklearn")
    except ImportError:
        raise BadInput("t-SNE needs the package scikit-learn", remedy=INSTALL) from None


def _check(descriptors: Floats) -> None:
    fine = descriptors.ndim == 2 and descriptors.size > 0 and descriptors.dtype.kind == "f"
    if not fine or not bool(np.isfinite(descriptors).all()):
        raise BadInput(
            f"descriptors are {descriptors.shape} ({descriptors.dtype})"
            + (", with NaN or infinite entries" if fine else ""),
            expected="finite floating-point numbers [N, D], at least one row",
        )
