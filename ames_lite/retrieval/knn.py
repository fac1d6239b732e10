"""Exact nearest neighbours by inner product, in blocks of the gallery. Candidates are proposed by
matrix products, whose last bits depend on the blocks; every candidate's similarity is computed
again by one function of the two rows alone, and where rounding could have hidden a candidate the
whole row is. The result equals a stable sort of all similarities.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch

from ames_lite.errors import require
from ames_lite.records import Neighbors
from ames_lite.retrieval import rows
from ames_lite.retrieval.faiss_calls import flat_candidates, similarities
from ames_lite.retrieval.rows import Float32, Float64, Floats, Gallery, Ids, float_rows
from ames_lite.runtime import pick_device

Finder = Callable[[Float32, Float32, int], tuple[Ids, Float32]]  # candidates of a block
Exact = Callable[[Float32, Float32, Ids], Float32]  # as `faiss_calls.similarities`

BLOCK_BYTES = 1 << 29  # of gallery rows in float32 that are searched at a time
QUERY_ROWS = 1 << 12  # query rows that are searched at a time
DEVICE_ROWS = 1 << 10  # of them on a device
MARGIN = 32  # candidates beyond k, so that rounding seldom reaches the k-th


def exact_knn(
    query: Floats, gallery: Floats | Gallery, k: int, *, own: Ids | None = None, device: str = "cpu"
) -> Neighbors:
    """The k gallery rows with the highest inner product, for each query, ties by ascending id.

    query [Q, D] and gallery [N, D], float16 or float32 (computed in float32). own [Q]: the gallery
    row of the query's own image (`own_rows`), which is left out of its list, or -1. k is clamped to
    what every query has. device: where candidates are searched, cpu by faiss, cuda by torch; the
    result is the same. Memory: the result, a block of BLOCK_BYTES as it is read and in float32, and
    QUERY_ROWS x (k + MARGIN) candidates. Raises BadInput for NaN, infinity, widths that differ.
    """
    require(k >= 1, f"k is {k}", "at least 1")
    queries, searched, own = rows.search_sides(query, gallery, own)
    find = flat_candidates if device == "cpu" else _on_device(device)
    best = _Best(queries, min(k, len(searched)), own, find, similarities)
    for first, stop in rows.ranges(searched, BLOCK_BYTES):
        best.search(rows.float_range(searched, first, stop), np.arange(first, stop))
    width = min(k, len(searched) - int((own >= 0).any()))
    return Neighbors(best.ids[:, :width], best.sims[:, :width], len(searched))


def most_similar(
    query: Floats,
    blocks: Iterable[tuple[Floats, Ids]],
    k: int,
    num_gallery: int,
    left_out: Sequence[int | None] | None = None,
) -> Neighbors:
    """As `exact_knn`, of a gallery whose rows come in any order, with their ids.

    Similarities are computed in float64 and rounded to float32. blocks: rows [n, D] and their
    unique ids [n]; left_out [Q]: an id that is not in the query's list. Raises BadInput also where
    nothing is left to be found.
    """
    queries = float_rows(query, "query vectors")
    own = np.array([-1 if n is None else n for n in left_out or [None] * len(queries)], np.int64)
    best = _Best(queries, min(k, num_gallery), own, flat_candidates, _in_float64)
    for block, ids in blocks:
        order = np.argsort(ids)
        values = float_rows(block, "gallery vectors", queries.shape[1])
        best.search(values[order], ids[order])
    width = int((best.sims > -np.inf).sum(axis=1).min())
    require(width, "there is no vector to be found", "another image than the query")
    return Neighbors(best.ids[:, :width], best.sims[:, :width], num_gallery)


def _in_float64(query: Float32, block: Float32, ids: Ids) -> Float32:
    sims = np.empty(ids.shape, np.float32)
    for q, near in enumerate(ids):
        sims[q] = np.einsum("nd,d->n", block[near].astype(np.float64), query[q].astype(np.float64))
    return sims


class _Best:
    """The k best of the blocks so far: ids int32 and sims [Q, k], -1 and -infinity where fewer."""

    def __init__(self, query: Float32, k: int, own: Ids, find: Finder, exact: Exact) -> None:
        self.query, self.own, self.find, self.exact = query, own, find, exact
        self.num_seen = 0
        self.ids = np.full((len(query), k), -1, np.int32)
        self.sims = np.full((len(query), k), -np.inf, np.float32)

    def search(self, block: Float32, block_ids: Ids) -> None:
        """Merge the neighbors in a block, whose ids [n] ascend."""
        self.num_seen += len(block)
        longest = float(norms(block).max())
        for start in range(0, len(self.query), QUERY_ROWS):
            self._merge(slice(start, start + QUERY_ROWS), block, block_ids, longest)

    def _merge(self, part: slice, block: Float32, block_ids: Ids, longest: float) -> None:
        query, k, own = self.query[part], self.ids.shape[1], self.own[part]
        candidates, weakest = self.find(query, block, min(len(block), k + 1 + MARGIN))
        ids, sims = self._sorted(query, block, block_ids, candidates, own, k)
        if candidates.shape[1] < len(block):
            # no row outside the candidates is more similar than the weakest of them, but for
            # rounding; nor does one matter that other blocks have left behind
            reach = weakest + _rounding(query, longest)
            for q in np.flatnonzero((reach >= sims[:, -1]) & (reach >= self.sims[part, -1])):
                every, one = np.arange(len(block))[None], slice(q, q + 1)
                ids[q], sims[q] = self._sorted(query[one], block, block_ids, every, own[one], k)
        if self.num_seen > len(block) or len(block) < k:
            ids = np.concatenate([self.ids[part], ids], axis=1)
            sims = np.concatenate([self.sims[part], sims], axis=1)
            order = np.lexsort((ids, -sims), axis=1)[:, :k]
            ids = np.take_along_axis(ids, order, axis=1)
            sims = np.take_along_axis(sims, order, axis=1)
        self.ids[part], self.sims[part] = ids, sims

    def _sorted(
        self, query: Float32, block: Float32, block_ids: Ids, candidates: Ids, own: Ids, k: int
    ) -> tuple[Ids, Float32]:
        """Ids and similarities of the best k of the candidates [Q, m], rows that ascend."""
        sims, ids = self.exact(query, block, candidates), block_ids[candidates]
        sims[ids == own[:, None]] = -np.inf
        order = np.argsort(-sims, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(ids, order, axis=1), np.take_along_axis(sims, order, axis=1)


def _on_device(device: str) -> Finder:
    """`flat_candidates` by torch on a device: float32, whose rounding has the same bound."""
    place = pick_device(device)
    held: list[Any] = [None, None]  # the block that is on the device

    def find(query: Float32, block: Float32, wide: int) -> tuple[Ids, Float32]:
        if held[0] is not block:
            held[:] = [block, torch.from_numpy(block).to(place)]
        ids = np.empty((len(query), wide), np.int64)
        weakest = np.empty(len(query), np.float32)
        for start in range(0, len(query), DEVICE_ROWS):
            part = slice(start, start + DEVICE_ROWS)
            sims = torch.from_numpy(query[part]).to(place) @ held[1].T
            best, found = sims.topk(wide, dim=1)
            ids[part] = found.sort(dim=1).values.cpu().numpy()
            weakest[part] = best[:, -1].cpu().numpy()
        return ids, weakest

    return find


def norms(values: Float32) -> Float64:
    """Euclidean norms [N]; float64, where no square overflows or vanishes."""
    squares: Float64 = np.einsum("nd,nd->n", values, values, dtype=np.float64)
    return np.sqrt(squares)


def _rounding(query: Float32, longest: float) -> Float64:
    """How far two float32 inner products may lie apart, 2 D u |q| |g|, in any order of summation
    (Higham, Accuracy and Stability of Numerical Algorithms, 3.1), and what D products lose below
    tiny.
    """
    steps = query.shape[1] + 2
    return 2 * steps * (2.0**-24 * norms(query) * longest + np.finfo(np.float32).tiny)
