"""What accuracy costs: a grid of heads, descriptors of an image and num_rerank, and its best rows.

Input: cells with a metric, bytes and milliseconds. Output: which of them nothing else beats. Bytes
are those of a gallery image as a head keeps it (its projected tokens in float16, or their bits; the
global descriptor, positions and weights not counted); milliseconds are those of a query with
num_rerank candidates at the rate at which the job ran.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ames_lite.models import AMES, ELViS, SimilarityHead

FLOAT_BITS = 16  # of an entry that is kept as float16
COSTS = ("bytes_per_image", "ms_per_query")


@dataclass(frozen=True)
class Cell:
    """One row of the grid. metrics: fractions in [0, 1], None where undefined.

    ms_measured: whether just this num_rerank was scored; else its time is a share, by pairs, of
    that of a larger one. reused: whether an earlier run scored it.
    """

    head: str
    descriptors: int
    query_descriptors: int
    num_rerank: int
    bytes_per_image: float
    ms_per_query: float | None
    ms_measured: bool
    timed_on: str
    reused: bool
    lamb: float
    temp: float
    tuned_on: str | None
    role: str
    metrics: dict[str, float | None]

    def plain(self) -> dict[str, Any]:
        """The cell, fit for JSON."""
        return asdict(self)


def kept_bits(head: SimilarityHead) -> int:
    """Bits of one gallery descriptor as the head keeps it between queries.

    >>> from ames_lite.models import build_head
    >>> [kept_bits(build_head("ames", dim_in=768, binary=binary)) for binary in (False, True)]
    [2048, 128]
    """
    if isinstance(head, AMES) and head.binary:
        return head.dim
    if isinstance(head, AMES | ELViS):
        return FLOAT_BITS * head.dim
    assert head.dim_in is not None, "a head without a projection keeps what comes in"
    return FLOAT_BITS * head.dim_in


def bytes_per_image(head: SimilarityHead, counts: npt.NDArray[np.integer], most: int) -> float:
    """Mean over the gallery of what an image takes with its `most` strongest descriptors.

    counts [N]: descriptors that the images have.
    """
    return float(np.minimum(counts, most).mean()) * kept_bits(head) / 8


def front(costs: Sequence[float | None], values: Sequence[float | None]) -> list[int]:
    """The numbers of the rows that no other beats: none is as good or better for less or as much.

    In order of rising cost (and value). Rows without a cost or a value are on no front; of equals
    the first one is.

    >>> front([1, 2, 3, 3, 9], [0.3, 0.5, 0.5, 0.7, 0.6])
    [0, 1, 3]
    """
    pairs = zip(costs, values, strict=True)
    known = [(c, -v, i) for i, (c, v) in enumerate(pairs) if c is not None and v is not None]
    best, chosen = float("inf"), []
    for _, negative, number in sorted(known):
        if negative < best:
            best = negative
            chosen.append(number)
    return chosen


def fronts(cells: Sequence[Cell], metric: str) -> dict[str, list[int]]:
    """The front of each of COSTS, as numbers of cells."""
    values = [cell.metrics[metric] for cell in cells]
    return {cost: front([getattr(cell, cost) for cell in cells], values) for cost in COSTS}
