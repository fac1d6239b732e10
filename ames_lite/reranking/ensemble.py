"""The ensemble of global similarity and local logit, and the reordering that it causes. score =
lamb * sim + (1 - lamb) * sigmoid(temp * logit), in float32. Only the first num_rerank of a ranking,
those that have a logit, are reordered; the rest keeps its place, so scores need not fall over the
whole row. Equal scores keep their order. Axes: Q queries, K ranked images, n num_rerank.
"""

import math

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from ames_lite.errors import require
from ames_lite.records import Neighbors

Array = npt.NDArray[np.generic]
Floats = npt.NDArray[np.float32]


def check_ensemble(lamb: float, temp: float) -> None:
    """Raises BadInput unless lamb is in [0, 1] and temp is positive and finite."""
    require(0 <= lamb <= 1, f"lamb is {lamb}", "a weight of the global similarity in [0, 1]")
    require(temp > 0 and math.isfinite(temp), f"temp is {temp}", "a positive factor of the logit")


def ensemble_scores(sims: Array, logits: Array, lamb: float, temp: float) -> Floats:
    """Scores of any shape, float32 before the sigmoid; lamb = 1 gives the sims bit for bit."""
    local = expit(np.float32(temp) * logits.astype(np.float32))
    return np.float32(lamb) * sims.astype(np.float32) + np.float32(1 - lamb) * local


def stable_descending(scores: Floats) -> npt.NDArray[np.int64]:
    """The order that sorts rows of scores [Q, n], none NaN, highest first, ties by position: packed
    into integers, which sort many times faster than a stable argsort of floats.
    """
    bits = (scores + np.float32(0)).view(np.int32)  # adding 0 turns -0.0 into 0.0: they are equal
    # the bits of a float, read as an integer, rise with it; below zero they fall
    rising = np.where(bits < 0, bits ^ np.int32(0x7FFFFFFF), bits).astype(np.int64)
    position = np.arange(scores.shape[-1], dtype=np.int64)
    packed: npt.NDArray[np.int64] = np.sort((-rising << 32) | position, axis=-1)
    return packed & 0xFFFFFFFF


def rerank(neighbors: Neighbors, logits: Array, lamb: float, temp: float) -> Neighbors:
    """Reorder the first n of each list by the ensemble score; behind them scores are the sims.
    logits [Q, n], n <= K. Raises BadInput where they do not fit or are not finite, and as
    `check_ensemble`.
    """
    check_ensemble(lamb, temp)
    ids, sims = neighbors.ids.astype(np.int32), neighbors.sims.astype(np.float32)  # copies
    fits = logits.ndim == 2 and len(logits) == len(ids) and logits.shape[1] <= ids.shape[1]
    expected = "logits [Q, num_rerank] for ids [Q, K], with num_rerank <= K"
    require(fits, f"logits {logits.shape} do not fit ids {ids.shape}", expected)
    finite = np.isfinite(logits.astype(np.float32, copy=False)).all()
    require(finite, "logits have NaN or infinity", "finite numbers")
    n = logits.shape[1]
    scores = ensemble_scores(sims[:, :n], logits, lamb, temp)
    order = stable_descending(scores)
    ids[:, :n] = np.take_along_axis(ids[:, :n], order, axis=1)
    sims[:, :n] = np.take_along_axis(scores, order, axis=1)
    return Neighbors(ids, sims, neighbors.num_gallery)
