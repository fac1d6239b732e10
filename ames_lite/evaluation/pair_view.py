"""What a page draws of an explanation: lines between matches, heat maps, the box of the object."""

import base64
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from ames_lite.errors import BadInput
from ames_lite.records import LocalDescriptors
from ames_lite.reranking.explain import Box, Scorer, explain
from ames_lite.reranking.verification import pixels
from ames_lite.runtime import cpu_threads

CELLS = 32  # of a heat map, along the longer side of the image
WHOLE = 1000  # places are in thousandths of an image's width and height
NOTE = (
    "Lines join the pairs of descriptors that weigh most in the score, the brighter the more; heat "
    "is the weight of each descriptor. The box is where a homography of these lines puts the "
    "query’s region; where none fits, where most of the weight is. Of box and homography only "
    "RANSAC’s score knows."
)
Read = Callable[[int], LocalDescriptors]  # the descriptors of a row, as many as were scored


@dataclass(frozen=True)
class Heat:
    """The weight of an image's descriptors, spread over cells; data: base64 of uint8 [h, w]."""

    data: str
    width: int
    height: int


@dataclass(frozen=True)
class PairView:
    """matches: x1, y1, x2, y2, weight of 0 to WHOLE, heaviest first; trouble: why none."""

    matches: list[list[int]]
    heat: list[Heat]
    box: list[int] | None
    trouble: str = ""


class Pair(NamedTuple):
    """Rows of a query and of a candidate; region: see `explain`."""

    query: int
    candidate: int
    region: Box | None


@dataclass(frozen=True)
class PairViews:
    """Explains pairs of rows to a page."""

    scorer: Scorer
    query: Read
    candidate: Read
    lock: Lock = field(default_factory=Lock, repr=False)  # of the stores

    def of(self, pairs: Sequence[Pair]) -> dict[int, dict[int, PairView]]:
        """By query and candidate. A thread a pair is faster than all threads on one."""
        found: dict[int, dict[int, PairView]] = {}
        with cpu_threads(1), ThreadPoolExecutor(os.cpu_count()) as pool:
            for pair, view in zip(pairs, pool.map(self._view, pairs), strict=True):
                found.setdefault(pair.query, {})[pair.candidate] = view
        return found

    def _view(self, pair: Pair) -> PairView:
        try:
            with self.lock:
                images = self.query(pair.query), self.candidate(pair.candidate)
            return pair_view(self.scorer, *images, pair.region)
        except BadInput as error:
            return PairView([], [], None, str(error).split("\n")[0])


def pair_view(
    scorer: Scorer, query: LocalDescriptors, candidate: LocalDescriptors, region: Box | None = None
) -> PairView:
    """Raises BadInput as `explain`."""
    found = explain(scorer, query, candidate, region)
    if not (query.placed and candidate.placed):
        return PairView([], [], None, "the store has no positions of the descriptors")
    if not (query.count and candidate.count):
        without = "the query" if candidate.count else "the image"
        return PairView([], [], None, f"{without} has no descriptors")
    matches = found.matches()
    weights = found.weights[tuple(matches.T)]
    ends = np.concatenate([query.xy[matches[:, 0]], candidate.xy[matches[:, 1]]], axis=1)
    share = weights / max(float(weights.max(initial=0)), 1e-30)
    lines = np.rint(WHOLE * np.column_stack([ends, share])).astype(int).tolist()
    sides = (query, found.query), (candidate, found.candidate)
    heat = [_heat(image, weights) for image, weights in sides]
    box, (height, width) = found.box, candidate.size
    if box is not None:
        scale = WHOLE / np.array([width, height, width, height])
        return PairView(lines, heat, np.rint(np.array(box) * scale).astype(int).tolist())
    return PairView(lines, heat, None)


def _heat(image: LocalDescriptors, weights: npt.NDArray[np.float32]) -> Heat:
    """Negative weights, of what speaks against the pair, are none."""
    height, width = image.size
    cell = max(image.size) / CELLS
    shape = max(1, round(height / cell)), max(1, round(width / cell))
    x, y = (pixels(image) / cell).T.astype(int)
    cells = np.zeros(shape)
    np.add.at(cells, (y.clip(max=shape[0] - 1), x.clip(max=shape[1] - 1)), weights.clip(min=0))
    smooth = gaussian_filter(cells, 1.0)
    levels = np.rint(255 * smooth / max(float(smooth.max()), 1e-30)).astype(np.uint8)
    return Heat(base64.b64encode(levels.tobytes()).decode("ascii"), shape[1], shape[0])
