"""Exact nearest neighbours by inner product, and k-means.

Input: query [Q, D], gallery [N, D] or an iterable of its blocks; out: `Neighbors`, higher is
better. faiss proposes candidates with matrix products, whose last bits depend on how the rows were
blocked. Every candidate's similarity is therefore computed again by one function of the two rows
alone, and where rounding could have hidden a candidate the whole row is computed. The result equals
a stable sort of all similarities, whatever the block size.

Inner products of the rows as they are (normalise before for cosine); equal similarities are ordered
by id; an image is excluded from its own list by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ames_lite.errors import BadInput
from ames_lite.records import Neighbors
from ames_lite.retrieval.faiss_calls import flat_candidates, lloyd, similarities
from ames_lite.retrieval.rows import (
    Float32,
    Floats,
    Ids,
    check_count,
    float_rows,
    own_rows,
    row_blocks,
)
from ames_lite.runtime import pick_device

Finder = Callable[[Float32, Float32, int], tuple[Ids, Float32]]

BLOCK_BYTES = 1 << 29  # of gallery rows in float32 that are searched at a time
QUERY_ROWS = 1 << 12  # query rows that are searched at a time
DEVICE_ROWS = 1 << 10  # of them on a device
MARGIN = 32  # candidates beyond k, so that rounding seldom reaches the k-th
POINTS_PER_CLUSTER = 1000  # k-means learns nothing from more


def exact_knn(
    query: Floats,
    gallery: Floats | Iterable[Floats],
    k: int,
    *,
    query_names: Sequence[str] | None = None,
    gallery_names: Sequence[str] | None = None,
    block_rows: int | None = None,
    device: str = "cpu",
) -> Neighbors:
    """The k gallery rows with the highest inner product, for each query, ties by ascending id.

    query [Q, D], gallery [N, D] or an iterable of blocks [n, D], float16 or float32 (computed in
    float32). With both name lists, a query that is itself in the gallery is left out of its own
    list. k is clamped to what every query has. block_rows: gallery rows that are searched at a
    time; None is BLOCK_BYTES of them. device: where candidates are searched, cpu by faiss, cuda by
    torch; what comes out is the same. Memory beside the arguments: the result, one block in
    float32, and QUERY_ROWS x (k + MARGIN) candidates.

    Raises BadInput for NaN or infinity, widths that differ, names that do not fit, and k < 1.
    """
    if k < 1 or (block_rows is not None and block_rows < 1):
        raise BadInput(f"k is {k} and block_rows {block_rows}", expected="both at least 1")
    find = flat_candidates if device == "cpu" else _on_device(device)
    rows = float_rows(query, "query descriptors")
    block_rows = block_rows or max(1, BLOCK_BYTES // (4 * rows.shape[1]))
    own = own_rows(query_names, gallery_names, len(rows))
    if isinstance(gallery, np.ndarray):  # all of it is at hand: refuse it before the work
        check_count(len(gallery), gallery_names)
        for start in range(0, len(gallery), block_rows):
            part = gallery[start : start + block_rows]
            float_rows(part, f"gallery descriptors from row {start}", rows.shape[1])
    ids, sims = np.empty((len(rows), 0), np.int32), np.empty((len(rows), 0), np.float32)
    num_gallery = 0
    for block in row_blocks(gallery, rows.shape[1], block_rows):
        ids, sims = _widen(ids, sims, min(k, num_gallery + len(block)))
        _search_block(rows, block, num_gallery, own, ids, sims, find)
        num_gallery += len(block)
        del block  # the next one is made before the name is taken anew
    check_count(num_gallery, gallery_names)
    width = min(k, num_gallery - int((own >= 0).any()))
    return Neighbors(ids[:, :width], sims[:, :width], num_gallery)


def _widen(
    ids: npt.NDArray[np.int32], sims: Float32, width: int
) -> tuple[npt.NDArray[np.int32], Float32]:
    """Room for `width` neighbours; empty places are id -1 with similarity -infinity."""
    missing = width - ids.shape[1]
    if missing == 0:
        return ids, sims
    pad = ((0, 0), (0, missing))
    return (
        np.pad(ids, pad, constant_values=-1),
        np.pad(sims, pad, constant_values=-np.inf),
    )


def _search_block(
    query: Float32,
    block: Float32,
    first: int,
    own: Ids,
    ids: npt.NDArray[np.int32],
    sims: Float32,
    find: Finder,
) -> None:
    """Merge the neighbours in one block, whose rows count from `first`, into ids and sims."""
    k = ids.shape[1]
    longest = float(norms(block).max())
    for start in range(0, len(query), QUERY_ROWS):
        part = slice(start, start + QUERY_ROWS)
        near = find(query[part], block, min(len(block), k + 1 + MARGIN))
        found, found_sims = _top(
            query[part], block, k, own[part] - first, longest, sims[part, -1], near
        )
        if first == 0:
            ids[part], sims[part] = found, found_sims
            continue
        # ids rise from block to block, so a stable sort leaves equal similarities in their order
        all_ids = np.concatenate([ids[part], found + first], axis=1)
        all_sims = np.concatenate([sims[part], found_sims], axis=1)
        order = _descending(all_sims)[:, :k]
        ids[part] = np.take_along_axis(all_ids, order, axis=1)
        sims[part] = np.take_along_axis(all_sims, order, axis=1)


def _top(
    query: Float32,
    block: Float32,
    k: int,
    own: Ids,
    longest: float,
    floor: Float32,
    near: tuple[Ids, Float32],
) -> tuple[Ids, Float32]:
    """Ids and similarities [Q, min(k, n)] of the best in a block, ties by id.

    own [Q]: the block row of the query itself (similarity -infinity here). longest: the largest
    norm in the block. floor [Q]: similarities up to which another block has filled the list.
    near: what `flat_candidates` gives.
    """
    candidates, weakest = near
    ids, sims = _sorted_by_similarity(query, block, candidates, own, k)
    if candidates.shape[1] < len(block):
        # no row outside the candidates is more similar than the weakest of them, but for rounding
        reach = weakest + _rounding(query, longest)
        doubtful = np.flatnonzero((reach >= sims[:, -1]) & (reach >= floor))
        for q in doubtful:
            ids[q], sims[q] = _top_of_full_row(query[q], block, k, int(own[q]))
    return ids, sims


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


def norms(rows: Float32) -> npt.NDArray[np.float64]:
    """Euclidean norms [N]; float64, where no square overflows or vanishes."""
    squares: npt.NDArray[np.float64] = np.einsum("nd,nd->n", rows, rows, dtype=np.float64)
    return np.sqrt(squares)


def _rounding(query: Float32, longest: float) -> npt.NDArray[np.float64]:
    """How far two float32 evaluations of an inner product may lie apart: 2 D u |q| |g|.

    The classical bound for any order of summation (Higham, Accuracy and Stability of Numerical
    Algorithms, 3.1), and what D products may lose below the smallest normal number.
    """
    steps = query.shape[1] + 2
    return 2 * steps * (2.0**-24 * norms(query) * longest + np.finfo(np.float32).tiny)


def _descending(sims: Float32) -> npt.NDArray[np.intp]:
    return np.argsort(-sims, axis=1, kind="stable")


def _sorted_by_similarity(
    query: Float32, block: Float32, candidates: Ids, own: Ids, k: int
) -> tuple[Ids, Float32]:
    """The best k of the candidates [Q, m], which ascend, without the query itself."""
    sims = similarities(query, block, candidates)
    sims[candidates == own[:, None]] = -np.inf
    order = _descending(sims)[:, :k]
    return np.take_along_axis(candidates, order, axis=1), np.take_along_axis(sims, order, axis=1)


def _top_of_full_row(query: Float32, block: Float32, k: int, own: int) -> tuple[Ids, Float32]:
    """The best k of a whole block for one query [D]."""
    row = query[None]
    sims = similarities(row, block, np.arange(len(block))[None])[0]
    if 0 <= own < len(block):
        sims[own] = -np.inf
    weakest = np.partition(sims, len(sims) - k)[len(sims) - k]
    candidates = np.flatnonzero(sims >= weakest)  # k of them, and those that tie with the k-th
    order = np.argsort(-sims[candidates], kind="stable")[:k]
    return candidates[order], sims[candidates[order]]


def sampled_points(num_points: int, limit: int, seed: int) -> Ids:
    """Which of num_points points `kmeans` looks at, ascending: at most `limit`, at random."""
    if num_points <= limit:
        return np.arange(num_points)
    return np.sort(np.random.default_rng(seed).choice(num_points, limit, replace=False))


def kmeans(
    points: Floats,
    num_clusters: int,
    seed: int,
    iterations: int = 25,
    points_per_cluster: int = POINTS_PER_CLUSTER,
) -> Float32:
    """Centroids [num_clusters, D] float32 of points [M, D] by Lloyd's algorithm (Euclidean).

    Of more than num_clusters * points_per_cluster points a random sample of that size is used;
    it and the start follow from seed, so equal arguments give equal centroids. Put all arguments
    into the vocabulary's provenance.
    Raises BadInput for fewer points than clusters, and for NaN or infinity.
    """
    if min(num_clusters, iterations, points_per_cluster) < 1 or not 0 <= seed < 2**31:
        raise BadInput(
            f"num_clusters {num_clusters}, iterations {iterations}, "
            f"points_per_cluster {points_per_cluster}, seed {seed}",
            expected="counts of at least 1 and a seed from 0 to 2147483647",
        )
    if len(points) < num_clusters:
        raise BadInput(
            f"{len(points)} points were given for {num_clusters} clusters",
            expected="at least one point per cluster",
            remedy="take descriptors of more images, or fewer clusters",
        )
    limit = num_clusters * points_per_cluster
    if len(points) > limit:
        points = points[sampled_points(len(points), limit, seed)]
    rows = float_rows(points, "points")
    return lloyd(rows, num_clusters, seed, iterations, points_per_cluster)
