"""Pair scorers without training: the floors that every table shows beside a head.

In: the `LocalDescriptors` of a query and a gallery image. Out: one number, higher = more similar:
a count of matches (mutual_nn) or of matches that agree on one homography (ransac). An image without
descriptors scores 0. VERIFIERS is the visible dict; its keys are values of `model=`.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput, ConfigError
from ames_lite.records import LocalDescriptors


class Verifier(Protocol):
    """What scores one pair of images; `arguments` are its settings, JSON-able."""

    arguments: dict[str, Any]
    needs_positions: bool

    def score(self, query: LocalDescriptors, gallery: LocalDescriptors) -> float:
        """Similarity of the pair, higher is better."""


class Matches(NamedTuple):
    """Mutual nearest neighbours: rows of the query [M], of the gallery [M], cosines [M]."""

    query: npt.NDArray[np.intp]
    gallery: npt.NDArray[np.intp]
    cosine: npt.NDArray[np.float32]


def mutual_matches(query: LocalDescriptors, gallery: LocalDescriptors) -> Matches:
    """Pairs of descriptors that are each other's nearest neighbour by inner product.

    Descriptors are unit length as stored. Raises BadInput for packed or unequally wide ones.
    """
    a, b = query.descriptors, gallery.descriptors
    if a.dtype == np.uint8 or b.dtype == np.uint8 or a.shape[1] != b.shape[1]:
        raise BadInput(
            f"query descriptors are {a.dtype} of width {a.shape[1]}, gallery {b.dtype} of "
            f"{b.shape[1]}",
            expected="float descriptors of one width",
        )
    if not (len(a) and len(b)):
        none = np.zeros(0, np.intp)
        return Matches(none, none, np.zeros(0, np.float32))
    cosines = a.astype(np.float32) @ b.astype(np.float32).T
    nearest, back = cosines.argmax(axis=1), cosines.argmax(axis=0)
    mutual = np.flatnonzero(back[nearest] == np.arange(len(a)))
    return Matches(mutual, nearest[mutual], cosines[mutual, nearest[mutual]])


class MutualNearest:
    """Counts mutual nearest neighbours with a cosine above a threshold."""

    needs_positions = False

    def __init__(self, threshold: float = 0.8) -> None:
        self.arguments = {"threshold": threshold}
        self.threshold = threshold

    def score(self, query: LocalDescriptors, gallery: LocalDescriptors) -> float:
        """The count, 0 to min(Q, T)."""
        return float((mutual_matches(query, gallery).cosine > self.threshold).sum())


class Ransac:
    """Counts mutual matches that one homography explains (OpenCV's MAGSAC++)."""

    needs_positions = True

    def __init__(
        self,
        threshold: float = 0.0125,  # largest error, as a share of the longer side of the gallery
        iterations: int = 1000,
        min_matches: int = 5,  # four always agree
    ) -> None:
        if threshold <= 0 or iterations < 1 or min_matches < 4:
            raise BadInput(
                f"threshold {threshold}, iterations {iterations}, min_matches {min_matches}",
                expected="threshold > 0, iterations >= 1, min_matches >= 4",
            )
        self.arguments = {
            "threshold": threshold,
            "iterations": iterations,
            "min_matches": min_matches,
        }
        self.threshold, self.iterations, self.min_matches = threshold, iterations, min_matches

    def score(self, query: LocalDescriptors, gallery: LocalDescriptors) -> float:
        """The number of inliers; 0 below min_matches. The same pair gives the same number.

        Raises BadInput for an image whose positions are unknown.
        """
        if not (query.placed and gallery.placed):
            raise BadInput("positions are unknown", expected="x, y of every descriptor")
        matches = mutual_matches(query, gallery)
        if len(matches.query) < self.min_matches:
            return 0.0
        places = [
            image.xy[rows] * np.array([image.size[1], image.size[0]], np.float32)
            for image, rows in ((query, matches.query), (gallery, matches.gallery))
        ]
        cv2.setRNGSeed(0)
        _, inliers = cv2.findHomography(
            *places,
            method=cv2.USAC_MAGSAC,
            ransacReprojThreshold=self.threshold * max(gallery.size),
            maxIters=self.iterations,
        )
        count = 0 if inliers is None else int(inliers.sum())
        return float(count) if count >= self.min_matches else 0.0


VERIFIERS: dict[str, type[MutualNearest] | type[Ransac]] = {
    "mutual_nn": MutualNearest,
    "ransac": Ransac,
}


def build_verifier(name: str, **arguments: Any) -> Verifier:
    """The verifier of that name. Raises ConfigError, with what exists, for an unknown one."""
    if name not in VERIFIERS:
        raise ConfigError(
            f"there is no pair scorer '{name}'", expected=f"one of {', '.join(VERIFIERS)}"
        )
    return VERIFIERS[name](**arguments)
