"""Two coordinates for every global descriptor, and what else scikit-learn fits: its sole owner. PCA
needs numpy alone; all else needs the extra `views`. For coordinates descriptors [N, D] are centred
but not scaled; of a component, the entry that is largest in size is positive. The same seed gives
the same result.
"""

import importlib
from typing import NamedTuple

import numpy as np

from ames_lite.errors import BadInput, require
from ames_lite.retrieval.rows import Float64, Floats, Ids

FEWEST_TSNE = 5  # images
TSNE_INPUT = 50  # principal components that t-SNE looks at
NEGLIGIBLE = 1e-12  # of the largest variance: below, rounding


class Components(NamedTuple):
    """points [N, n], and the share [n] of the whole variance that each has, 0 to 1, descending."""

    points: Float64
    explained: Float64


def pca(descriptors: Floats, num: int = 2) -> Components:
    """Principal components of descriptors [N, D], the first `num`; missing ones are zeros."""
    n, dim = descriptors.shape
    centred = descriptors.astype(np.float64)
    centred -= centred.mean(axis=0)
    # the eigenvectors of the smaller side: a VLAD vector has more entries than there are images
    small = centred @ centred.T if n <= dim else centred.T @ centred
    values, vectors = np.linalg.eigh(small)  # ascending
    values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1]
    total, kept = values.sum(), values[:num] > NEGLIGIBLE * values[0]
    values, vectors = values[:num][kept], vectors[:, :num][:, kept]
    found = vectors * np.sqrt(values) if n <= dim else centred @ vectors
    largest = found[np.abs(found).argmax(axis=0), np.arange(len(values))]
    points, explained = np.zeros((n, num)), np.zeros(num)
    points[:, : len(values)] = found * np.where(largest < 0, -1.0, 1.0)
    explained[: len(values)] = values / total
    return Components(points, explained)


def tsne(descriptors: Floats, *, seed: int = 0, perplexity: float = 30.0) -> Float64:
    """t-SNE points [N, 2] of descriptors [N, D], from their first 50 principal components.

    perplexity: about how many neighbours count; at most (N - 1) / 3 is used. It runs on one thread,
    since the order of sums shows in the result. Raises BadInput where scikit-learn is not
    installed, for fewer than 5 rows and a perplexity that is not above 0.
    Source: van der Maaten and Hinton, "Visualizing data using t-SNE", JMLR 2008.
    """
    check_scikit("t-SNE", "method=pca")
    what = f"t-SNE of {len(descriptors)} images with perplexity {perplexity}"
    fits = len(descriptors) >= FEWEST_TSNE and perplexity > 0
    expected = f"at least {FEWEST_TSNE} images and a perplexity above 0"
    require(fits, what, expected, remedy="method=pca")
    components = pca(descriptors, TSNE_INPUT).points
    # Noise: from one place, two equal images (a query that is in the gallery too) would never part,
    # and the tree of Barnes and Hut breaks.
    start = components[:, :2] / (components[:, 0].std() or 1.0)
    start = 1e-4 * (start + np.random.default_rng(seed).normal(0, 0.1, start.shape))
    manifold = importlib.import_module("sklearn.manifold")
    with importlib.import_module("threadpoolctl").threadpool_limits(1):
        model = manifold.TSNE(
            perplexity=min(perplexity, (len(descriptors) - 1) / 3), init=start, random_state=seed
        )
        return model.fit_transform(components).astype(np.float64)


def mutual_information(values: Floats, labels: Ids, seed: int = 0) -> Float64:
    """What columns [N, C] tell of labels [N], in nats [C] (Ross, PLoS ONE 2014)."""
    chosen = importlib.import_module("sklearn.feature_selection")
    return chosen.mutual_info_classif(values, labels, random_state=seed)


def logistic_regression(values: Floats, labels: Ids, strength: float) -> tuple[Float64, Float64]:
    """Weights [C, D], biases [C] of values [N, D]; strength: inverse of the L2 penalty."""
    linear = importlib.import_module("sklearn.linear_model")
    with importlib.import_module("threadpoolctl").threadpool_limits(1):
        fitted = linear.LogisticRegression(C=strength, max_iter=1000).fit(values, labels)
    weights, biases = fitted.coef_, fitted.intercept_
    if len(weights) == 1:  # of two classes it keeps the difference
        weights, biases = (np.stack([-one[0] / 2, one[0] / 2]) for one in (weights, biases))
    return weights, biases


def check_scikit(what: str, otherwise: str) -> None:
    """Raise BadInput where scikit-learn is not installed; otherwise: what does without."""
    try:
        importlib.import_module("sklearn")
    except ImportError:
        remedy = f"pip install 'ames_lite[views]', or {otherwise}"
        raise BadInput(f"{what} needs the package scikit-learn", remedy=remedy) from None
