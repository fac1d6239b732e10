"""The ensemble of global similarity and local logit, and the reordering that it causes.

score = lamb * sim + (1 - lamb) * sigmoid(temp * logit), in float32. Only the first num_rerank of
a ranking, those that have a logit, are reordered; the rest keeps its place, so scores need not
fall over the whole row. Equal scores keep their order. Axis letters: Q queries, K ranked images,
n = num_rerank.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from ames_lite.errors import BadInput

Array = npt.NDArray[np.generic]
Floats = npt.NDArray[np.float32]


class Reranked(NamedTuple):
    """A ranking [Q, K]: ids, and what they were sorted by (behind num_rerank: the sims)."""

    ids: npt.NDArray[np.integer]
    scores: Floats


def check_ensemble(lamb: float, temp: float) -> None:
    """Raises BadInput unless lamb is in [0, 1] and temp is positive and finite."""
    if not 0 <= lamb <= 1:
        raise BadInput(f"lamb is {lamb}", expected="a weight of the global similarity in [0, 1]")
    if not (temp > 0 and math.isfinite(temp)):
        raise BadInput(f"temp is {temp}", expected="a positive factor of the logit")


def ensemble_scores(sims: Array, logits: Array, lamb: float, temp: float) -> Floats:
    """Scores of any shape, float32; lamb = 1 gives the sims themselves, bit for bit.

    The logits become float32 before the sigmoid: half precision would tie the confident ones.
    """
    local = expit(np.float32(temp) * logits.astype(np.float32))
    scores: Floats = np.float32(lamb) * sims.astype(np.float32) + np.float32(1 - lamb) * local
    return scores


def stable_descending(scores: Floats) -> npt.NDArray[np.int64]:
    """The order that sorts each row of scores [Q, n], highest first, ties by position.

    Score and position are packed into one integer, and integers sort many times faster than a
    stable argsort of floats. Scores must not be NaN.

    >>> stable_descending(np.array([[0.5, 1.0, -2.0, 1.0]], np.float32))
    array([[1, 3, 0, 2]])
    """
    bits = (scores + np.float32(0)).view(np.int32)  # adding 0 turns -0.0 into 0.0: they are equal
    # the bits of a float, read as an integer, rise with it; below zero they fall
    rising = np.where(bits < 0, bits ^ np.int32(0x7FFFFFFF), bits).astype(np.int64)
    position = np.arange(scores.shape[-1], dtype=np.int64)
    packed: npt.NDArray[np.int64] = np.sort((-rising << 32) | position, axis=-1)
    return packed & 0xFFFFFFFF


def rerank(
    ids: npt.NDArray[np.integer], sims: Array, logits: Array, lamb: float, temp: float
) -> Reranked:
    """Reorder the first n of each row by the ensemble score.

    ids and sims [Q, K]; logits [Q, n], n <= K, logits[q, k] of image ids[q, k]. Raises BadInput
    for shapes that do not fit, NaN or infinite numbers, lamb outside [0, 1], temp not positive.

    >>> a = np.array
    >>> rerank(a([[7, 3, 5]]), a([[0.9, 0.8, 0.7]]), a([[-5.0, 5.0]]), lamb=0.5, temp=1.0).ids
    array([[3, 7, 5]])
    """
    check_ensemble(lamb, temp)
    _check_arrays(ids, sims, logits)
    n = logits.shape[1]
    head = ensemble_scores(sims[:, :n], logits, lamb, temp)
    order = stable_descending(head)
    assert (np.sort(order, axis=1) == np.arange(n)).all(), "a reranker may only reorder"
    new_ids, scores = ids.copy(), sims.astype(np.float32)
    new_ids[:, :n] = np.take_along_axis(ids[:, :n], order, axis=1)
    scores[:, :n] = np.take_along_axis(head, order, axis=1)
    return Reranked(new_ids, scores)


def _check_arrays(ids: Array, sims: Array, logits: Array) -> None:
    fits = ids.ndim == 2 and ids.shape == sims.shape and logits.ndim == 2
    if not fits or len(logits) != len(ids) or logits.shape[1] > ids.shape[1]:
        raise BadInput(
            f"ids {ids.shape}, sims {sims.shape} and logits {logits.shape} do not fit",
            expected="ids and sims [Q, K], logits [Q, num_rerank] with num_rerank <= K",
        )
    for name, values in (("sims", sims), ("logits", logits)):
        if not np.isfinite(values.astype(np.float32, copy=False)).all():
            raise BadInput(f"{name} have NaN or infinity", expected="finite numbers")
