"""A cascade of two models: a cheap one scores all candidates, the head only those that may reach
the first places (Viola and Jones, CVPR 2001). How good a candidate must be by the cheap model is
learnt on a validation set and kept with the head (meta.json). Axes: Q queries, n candidates.
"""

import math
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ames_lite.errors import check_fields, explained, require
from ames_lite.reranking.ensemble import stable_descending

Floats = npt.NDArray[np.floating[Any]]
Flags = npt.NDArray[np.bool_]
TOP, RECALL = 10, 0.999
NONE, EXPECTED = "this is no cascade", "what tuning with a cheaper head learns"


@dataclass(frozen=True)
class Cascade:
    """What was learnt: of the images that the head puts on the first `top` places, a share of at
    least `recall` has a logit of `least` or more by the cheap model.
    """

    model: str  # the cheap one
    weights: str  # its digest, or settings
    least: float
    top: int = TOP
    recall: float = RECALL
    share: float = 1.0  # of pairs that the head saw there

    def __post_init__(self) -> None:
        names = isinstance(self.model, str) and isinstance(self.weights, str)
        shares = all(0 < value <= 1 for value in (self.recall, self.share))
        fits = {
            "model": (names, "the cheap model and its weights, as text"),
            "least": (math.isfinite(self.least), "a finite logit"),
            "top": (isinstance(self.top, int) and self.top >= 1, "a whole number from 1"),
            "recall": (shares, "shares in (0, 1]"),
        }
        check_fields(self, fits)

    def passes(self, cheap: Floats) -> Flags:
        """Which candidates the head scores, of logits [Q, n]; in any case the best `top`."""
        best = stable_descending(cheap.astype(np.float32))[:, : self.top]
        chosen: Flags = cheap >= self.least
        np.put_along_axis(chosen, best, True, axis=1)
        return chosen

    def as_json(self) -> dict[str, Any]:
        """What `from_json` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Any) -> Self:
        """Raises BadInput for what is no cascade."""
        with explained(NONE, (TypeError,), expected=EXPECTED):
            return cls(**content)


def fit_cascade(
    model: str,
    weights: str,
    cheap: Floats,
    scores: Floats,
    counted: Flags,
    top: int = TOP,
    recall: float = RECALL,
) -> Cascade:
    """From cheap logits and final scores [Q, n] of a validation set; BadInput if none counts."""
    require(counted.any(), "no candidate counts", "candidates that are no junk")
    order = stable_descending(np.where(counted, scores, -np.inf).astype(np.float32))
    first = np.zeros(counted.shape, np.bool_)
    np.put_along_axis(first, order[:, :top], True, axis=1)
    wanted = np.sort(cheap[first & counted])
    least = float(wanted[len(wanted) - math.ceil(recall * len(wanted))])
    found = Cascade(model, weights, least, top, recall)
    return replace(found, share=float(found.passes(cheap)[counted].mean()))
