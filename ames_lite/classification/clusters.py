"""Which clusters of a VLAD vocabulary tell classes apart, and where they are in an image."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from ames_lite.classification.data import Ids
from ames_lite.classification.scikit import mutual_information
from ames_lite.errors import check_config
from ames_lite.extraction.aggregators import Vlad
from ames_lite.records import LocalDescriptors
from ames_lite.retrieval.vlad import assign

IMAGE, TINT = 0.6, 0.4  # shares of a picture with its clusters drawn over it
REACH = 0.75  # of the usual distance between descriptors: how far from one a pixel is still its own
Picture = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]


def cluster_shares(images: Iterable[LocalDescriptors], vlad: Vlad) -> Floats:
    """How much of the descriptors of each image is in each cluster, [N, C]; zeros without any."""
    found = []
    for local in images:
        counts = np.bincount(assigned(local, vlad), minlength=len(vlad.centroids))
        found.append(counts / max(local.count, 1))
    return np.array(found)


def assigned(local: LocalDescriptors, vlad: Vlad) -> Ids:
    """The cluster [K] of each descriptor of an image."""
    return assign(local.descriptors, vlad.centroids, vlad.form)


def choose_clusters(shares: Floats, labels: Ids, wanted: int | list[int], seed: int) -> list[int]:
    """Those given, or the `wanted` ones whose share tells most of the class, best first. shares [N,
    C], labels [N]: of the training images. Raises ConfigError for clusters out of range.
    """
    total = shares.shape[1]
    if not isinstance(wanted, int):
        fine = wanted and all(0 <= one < total for one in wanted) and len({*wanted}) == len(wanted)
        check_config(fine, f"clusters={wanted}", f"numbers from 0 to {total - 1}, each once")
        return wanted
    check_config(0 < wanted <= total, f"clusters={wanted}", f"1 to {total} clusters")
    return np.argsort(-mutual_information(shares, labels, seed), kind="stable")[:wanted].tolist()


def tinted(image: Picture, xy: npt.NDArray[np.float32], own: Ids, colours: Floats) -> Picture:
    """An image [H, W, 3] with the patches of some clusters in colours over it. xy [K, 2] in [0, 1]
    and own [K]: places and clusters of its descriptors; colours [C, 3] in [0, 1], NaN for clusters
    that are not drawn.
    """
    size = np.array(image.shape[1::-1])
    if len(xy) < 2:
        return image
    tree = cKDTree(xy * size)
    reach = REACH * float(np.median(tree.query(xy * size, k=[2])[0]))
    y, x = np.mgrid[: size[1], : size[0]]
    away, near = tree.query(np.stack([x, y], axis=-1) + 0.5)
    tint = colours[own[near]]
    drawn = (away <= max(reach, 1.0)) & ~np.isnan(tint).any(axis=-1)
    out = image.copy()
    out[drawn] = (IMAGE * image[drawn] + TINT * 255 * tint[drawn]).round().astype(np.uint8)
    return out
