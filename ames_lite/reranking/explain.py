"""Why two images are similar: which descriptors make the score, and where the object is."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ames_lite.errors import require
from ames_lite.models import SimilarityHead
from ames_lite.records import LocalDescriptors
from ames_lite.reranking.verification import Agreement, Places, Ransac, Verifier, pixels

Box = tuple[float, float, float, float]  # x1, y1, x2, y2 in pixels
Weights = npt.NDArray[np.float32]
Parts = tuple[Weights, Weights, Weights]  # of descriptor pairs, of the query, of the candidate
Scorer = SimilarityHead | Verifier
FITTED = 100  # heaviest matches that a homography is fitted to
MIDDLE = (0.05, 0.95)  # of the weight along an axis: what a box holds without a homography
LEAST_SIDE = 0.02  # of a box, as a share of the image's: below it the homography is degenerate


@dataclass(frozen=True, eq=False)
class PairExplanation:
    """Which descriptors make the score of a pair, and where the query is seen in the candidate.

    weights [Q, T] of descriptor pairs, query [Q] and candidate [T] of descriptors: what they are is
    the scorer's, see `_explain` of the heads; of a Verifier 1 for what its score counts. homography
    [3, 3]: pixels of the query → of the candidate, fitted to `matches`; None: none fits, or
    positions are unknown. box: of the query's region in the candidate; without a homography what
    holds most of the weight; None where there is none. Of both only ransac's score knows.
    """

    weights: Weights
    query: Weights
    candidate: Weights
    homography: Places | None
    box: Box | None

    def matches(self, count: int = FITTED) -> npt.NDArray[np.int64]:
        """Rows of query and candidate [M, 2] of each other's heaviest partners, heaviest first."""
        return heaviest(self.weights, count)


def heaviest(weights: Weights, count: int) -> npt.NDArray[np.int64]:
    """See `PairExplanation.matches`."""
    if not weights.size:
        return np.empty((0, 2), np.int64)
    there, back = weights.argmax(1), weights.argmax(0)
    rows = np.flatnonzero((back[there] == np.arange(len(weights))) & (weights.max(1) > 0))
    order = np.argsort(-weights[rows, there[rows]], kind="stable")[:count]
    return np.stack([rows[order], there[rows[order]]], axis=1)


@torch.no_grad()
def explain(
    scorer: Scorer, query: LocalDescriptors, candidate: LocalDescriptors, region: Box | None = None
) -> PairExplanation:
    """Which descriptors make the score of a pair, and where the query's region is in the candidate.

    region: of the query's image, in pixels; None: all of it. A head is set to eval mode. Raises
    BadInput where the scorer does not take the descriptors or has no explanation.

    >>> from ames_lite.reranking.verification import MutualNearest
    >>> xy, each = np.array([[0.1, 0.2], [0.6, 0.4], [0.5, 0.9]], np.float32), np.ones(3, np.uint8)
    >>> image = LocalDescriptors(np.eye(3, dtype=np.float32), xy, each, np.ones(3), (100, 200))
    >>> found = explain(MutualNearest(threshold=0.5), image, image)
    >>> found.matches().tolist(), [round(x) for x in found.box]
    ([[0, 0], [1, 1], [2, 2]], [20, 20, 120, 90])
    """
    if isinstance(scorer, Verifier):
        parts = _of_verifier(scorer, query, candidate)
    else:
        parts = _of_head(scorer, query, candidate)
    finite = all(np.isfinite(part).all() for part in parts)
    require(finite, "weights are NaN or infinite", "a head that gives finite ones")
    if not (query.placed and candidate.placed):
        return PairExplanation(*parts, homography=None, box=None)
    ransac = scorer if isinstance(scorer, Ransac) else Ransac()
    found = ransac.agreeing(query, candidate, heaviest(parts[0], FITTED))
    height, width = query.size
    box = _projected(found, region or (0.0, 0.0, float(width), float(height)), candidate)
    return PairExplanation(*parts, found.homography, box or _middle(parts[2], candidate))


def _of_verifier(verifier: Verifier, query: LocalDescriptors, candidate: LocalDescriptors) -> Parts:
    weights = np.zeros((query.count, candidate.count), np.float32)
    if query.descriptors.any() and candidate.descriptors.any():
        weights[tuple(verifier.match(query, candidate).T)] = 1
    return weights, weights.sum(1), weights.sum(0)


def _of_head(head: SimilarityHead, query: LocalDescriptors, candidate: LocalDescriptors) -> Parts:
    """Descriptors of zeros, which heads do not see, weigh nothing."""
    sizes = query.count, candidate.count
    weights = np.zeros(sizes, np.float32)
    of_query, of_candidate = np.zeros(sizes[0], np.float32), np.zeros(sizes[1], np.float32)
    rows, columns = (np.flatnonzero(i.descriptors.any(axis=1)) for i in (query, candidate))
    if len(rows) and len(columns):
        head = head.eval()
        sides = ((query, rows, False), (candidate, columns, True))
        encoded = [head.encode(_tensor(i.descriptors[at], head), gallery=g) for i, at, g in sides]
        found = [part[0].float().cpu().numpy() for part in head.explain(*encoded)]
        weights[np.ix_(rows, columns)], of_query[rows], of_candidate[columns] = found
    return weights, of_query, of_candidate


def _tensor(descriptors: npt.NDArray[Any], head: SimilarityHead) -> Tensor:
    packed = descriptors.dtype == np.uint8
    wide = np.array(descriptors) if packed else descriptors.astype(np.float32)
    return torch.from_numpy(wide)[None].to(head.device)


def _projected(found: Agreement, region: Box, candidate: LocalDescriptors) -> Box | None:
    """Around the corners of the region where the homography puts them, within the image."""
    if found.homography is None:
        return None
    x1, y1, x2, y2 = region
    corners = np.array([[x1, y1, 1], [x2, y1, 1], [x2, y2, 1], [x1, y2, 1]])
    mapped = corners @ found.homography.T
    if (mapped[:, 2] <= 0).any() and (mapped[:, 2] >= 0).any():  # the horizon crosses the region
        return None
    size = np.array(candidate.size[::-1])
    places = np.clip(mapped[:, :2] / mapped[:, 2:], 0, size)
    (x1, y1), (x2, y2) = places.min(axis=0).tolist(), places.max(axis=0).tolist()
    large = min((x2 - x1) / size[0], (y2 - y1) / size[1]) >= LEAST_SIDE
    return (x1, y1, x2, y2) if large else None


def _middle(weights: Weights, candidate: LocalDescriptors) -> Box | None:
    """The middle of the weight along both axes; None where nothing has any."""
    weights = np.clip(weights, 0, None)
    if not weights.any():
        return None
    ends = []
    for values in pixels(candidate).T:
        order = np.argsort(values, kind="stable")
        share = np.cumsum(weights[order]) / weights.sum()
        ends.append(values[order][np.searchsorted(share, MIDDLE).clip(max=len(order) - 1)])
    (x1, x2), (y1, y2) = ends
    return float(x1), float(y1), float(x2), float(y2)
