"""Pair scorers without training, the baselines beside a head: a count of matches (mutual_nn,
lighterglue) or of matches that agree on one homography (ransac). An image without descriptors
scores 0, with lighterglue NO_EVIDENCE.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput, ConfigError
from ames_lite.records import LocalDescriptors
from ames_lite.reranking.lighterglue import Lighterglue

Places = npt.NDArray[np.floating[Any]]
BACK = 3  # times the threshold: where an image is larger than the other, so are its errors
ATTEMPTS = 3  # at a homography, each without the matches that made the last one degenerate


class Verifier(Protocol):
    """What scores one pair of images; `arguments` are its settings, JSON-able.

    needs_positions: whether it looks at xy. backbone: the only one whose descriptors it takes;
    None: any. rule: what tells its scores from those of an earlier rule with the same settings.
    """

    arguments: dict[str, Any]
    needs_positions: bool
    backbone: str | None

    @property
    def rule(self) -> str:
        """A text."""

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
    backbone: str | None = None
    rule = ""

    def __init__(self, threshold: float = 0.8) -> None:
        self.arguments = {"threshold": threshold}
        self.threshold = threshold

    def score(self, query: LocalDescriptors, gallery: LocalDescriptors) -> float:
        """The count, 0 to min(Q, T)."""
        return float((mutual_matches(query, gallery).cosine > self.threshold).sum())


class Ransac:
    """Counts places that one homography (OpenCV's MAGSAC++) maps onto each other, both ways.

    Errors in the gallery alone would accept a homography that presses the whole query into one spot
    there. Where most matches crowd in few spots of an image, the spots are counted: a homography
    through a spot explains all of it.
    """

    rule = "both ways"

    needs_positions = True
    backbone: str | None = None

    def __init__(
        self,
        threshold: float = 0.0125,  # largest error, as a share of the longer side of the gallery
        iterations: int = 1000,
        min_matches: int = 5,  # four always agree
    ) -> None:
        given = {"threshold": threshold, "iterations": iterations, "min_matches": min_matches}
        if threshold <= 0 or iterations < 1 or min_matches < 4:
            raise BadInput(
                ", ".join(f"{key} {value}" for key, value in given.items()),
                expected="threshold > 0, iterations >= 1, min_matches >= 4",
            )
        self.arguments: dict[str, Any] = given
        self.threshold, self.iterations, self.min_matches = threshold, iterations, min_matches

    def score(self, query: LocalDescriptors, gallery: LocalDescriptors) -> float:
        """The number of inliers; 0 below min_matches. The same pair gives the same number.

        Raises BadInput for an image whose positions are unknown.
        """
        if not (query.placed and gallery.placed):
            raise BadInput("positions are unknown", expected="x, y of every descriptor")
        matches = mutual_matches(query, gallery)
        sides = ((query, matches.query), (gallery, matches.gallery))
        places = [i.xy[rows] * np.array([i.size[1], i.size[0]], np.float32) for i, rows in sides]
        errors = [self.threshold * max(image.size) for image in (query, gallery)]
        inliers = self._inliers(places[0], places[1], *errors)
        spots = min(_spots(*part) for part in zip(inliers, errors, strict=True))
        count = spots if 2 * spots < len(inliers[0]) else len(inliers[0])
        return float(count) if count >= self.min_matches else 0.0

    def _inliers(
        self, query: Places, gallery: Places, query_error: float, gallery_error: float
    ) -> tuple[Places, Places]:
        """The places of matches that agree with one homography in both directions."""
        for _ in range(ATTEMPTS):
            if len(query) < self.min_matches:
                break
            cv2.setRNGSeed(0)
            homography, mask = cv2.findHomography(
                query,
                gallery,
                method=cv2.USAC_MAGSAC,
                ransacReprojThreshold=gallery_error,
                maxIters=self.iterations,
            )
            if homography is None:
                break
            forward = mask.ravel() > 0
            agree = forward.copy()
            agree[forward] = (
                _errors_back(homography, query[forward], gallery[forward]) < BACK * query_error
            )
            one_way = forward & ~agree
            if one_way.sum() <= max(agree.sum(), 2 * self.min_matches):
                return query[agree], gallery[agree]
            query, gallery = query[~one_way], gallery[~one_way]  # a degenerate homography
        return query[:0], gallery[:0]


def _errors_back(homography: Places, query: Places, gallery: Places) -> npt.NDArray[np.float64]:
    """How far from their query places [M, 2] the inverse maps gallery places [M, 2].

    Infinite beyond the horizon: on the side of it on which fewer are.
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


VERIFIERS: dict[str, Callable[..., Verifier]] = {
    "mutual_nn": MutualNearest,
    "ransac": Ransac,
    "lighterglue": Lighterglue,
}


def build_verifier(name: str, **arguments: Any) -> Verifier:
    """The verifier of that name. Raises ConfigError, with what exists, for an unknown one."""
    if name not in VERIFIERS:
        raise ConfigError(
            f"there is no pair scorer '{name}'", expected=f"one of {', '.join(VERIFIERS)}"
        )
    return VERIFIERS[name](**arguments)


def check_backbone(name: str, verifier: Verifier, made: Mapping[str, Any], place: object) -> None:
    """Raises BadInput for descriptors that the verifier of that name does not take.

    made: their provenance; place: where they are, for the message.
    """
    found = made.get("backbone", "unknown")
    if verifier.backbone not in (None, found):
        raise BadInput(
            f"model={name} takes descriptors of the backbone '{verifier.backbone}', these are of "
            f"'{found}'",
            where=str(place),
            expected=f"descriptors made with backbone={verifier.backbone}",
            remedy=f"desc_name={verifier.backbone}, or model=mutual_nn or ransac, which take any",
        )
