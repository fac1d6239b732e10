"""The most similar vectors of a gallery that is read in blocks of half precision, for few queries.

Input: query vectors [Q, V], blocks of gallery vectors with the ids of their rows. Output:
`Neighbors`. Products in float32 say who can be among the best, whatever their rounding; the
similarity of those few is computed again in float64, from the two vectors alone. Vectors are of
unit length; equal similarities (as float32) are ordered by id, so neither blocks nor the order of
rows show in the result.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ames_lite.errors import BadInput
from ames_lite.records import Neighbors

Floats = npt.NDArray[np.floating[Any]]
Ids = npt.NDArray[np.int64]
LONGEST = 1.1  # no vector of unit length, in half precision, is as long


def most_similar(
    query: Floats,
    blocks: Iterable[tuple[Floats, Ids]],
    count: int,
    num_gallery: int,
    left_out: Sequence[int | None] | None = None,
) -> Neighbors:
    """The `count` ids with the highest inner product for query vectors [Q, V], best first.

    blocks: vectors [n, V] and their ids [n], unique, below num_gallery; left_out [Q]: an id that
    is not in the query's list. count is clamped to what every query has. Raises BadInput for widths
    that differ, NaN or infinity, and where nothing is left to be found.
    """
    own = np.array([-1 if n is None else n for n in left_out or [None] * len(query)], np.int64)
    exact, probe = query.astype(np.float64), torch.from_numpy(query.astype(np.float32))
    best: list[tuple[Floats, Ids]] = [(np.empty(0, np.float32), np.empty(0, np.int64))] * len(query)
    for block, ids in blocks:
        _check(query, block)
        rough = probe @ torch.from_numpy(np.ascontiguousarray(block)).float().T
        if not bool(torch.isfinite(rough).all()):
            raise BadInput("vectors have NaN or infinity", expected="vectors of unit length")
        rough[torch.from_numpy(own[:, None] == ids)] = -torch.inf
        floors = _floors(rough, [sims for sims, _ in best], count) - _rounding(block.shape[1])
        for q, row in enumerate(rough.numpy()):
            near = np.flatnonzero(row >= max(floors[q], np.finfo(np.float32).min))
            sims = np.einsum("nd,d->n", block[near].astype(np.float64), exact[q])
            best[q] = _merged(best[q], (sims.astype(np.float32), ids[near]), count)
    width = min((len(sims) for sims, _ in best), default=0)
    if width == 0:
        raise BadInput("there is no vector to be found", expected="another image than the query")
    ids_of, sims_of = (np.stack([pair[side][:width] for pair in best]) for side in (1, 0))
    return Neighbors(ids_of.astype(np.int32), sims_of.astype(np.float32), num_gallery)


def _check(query: Floats, block: Floats) -> None:
    if block.ndim != 2 or query.ndim != 2 or block.shape[1] != query.shape[1]:
        raise BadInput(
            f"query vectors are {list(query.shape)}, gallery vectors {list(block.shape)}",
            expected="one width",
            remedy="use one vocabulary for both",
        )


def _floors(rough: torch.Tensor, before: Sequence[Floats], count: int) -> npt.NDArray[np.float64]:
    """For each query a similarity that `count` vectors reach, here or before; else -infinity."""
    floors = np.full(len(rough), -np.inf)
    if rough.shape[1] >= count:
        floors = rough.topk(count, dim=1).values[:, -1].numpy().astype(np.float64)
    filled = [sims[-1] if len(sims) == count else -np.inf for sims in before]
    return np.maximum(floors, filled)


def _rounding(width: int) -> float:
    """How far a float32 product may lie from the exact one, twice, and float32's own step.

    The classical bound for any order of summation (Higham, Accuracy and Stability of Numerical
    Algorithms, 3.1), for vectors no longer than LONGEST.
    """
    return 2 * (width + 2) * 2.0**-24 * LONGEST**2


def _merged(a: tuple[Floats, Ids], b: tuple[Floats, Ids], count: int) -> tuple[Floats, Ids]:
    sims, ids = (np.concatenate(pair) for pair in zip(a, b, strict=True))
    order = np.lexsort((ids, -sims))[:count]
    return sims[order], ids[order]
