"""Nearest neighbors through a compressed index (inverted lists, product quantization). It proposes
`refine` x k candidates of every query, whose similarities are then computed exactly; its recall
against the exact lists of some queries is measured every time.
"""

import logging
from dataclasses import asdict, replace
from typing import Any, NamedTuple

import numpy as np

from ames_lite.errors import BadInput, require
from ames_lite.io import remedies
from ames_lite.records import Neighbors
from ames_lite.retrieval import rows
from ames_lite.retrieval.faiss_calls import ivf_pq_index, similarities
from ames_lite.retrieval.knn import exact_knn
from ames_lite.retrieval.rows import Float32, Floats, Gallery, Ids, Ids32, float_range, ranges
from ames_lite.retrieval.settings import IvfPq

SEARCH_BYTES = 1 << 29  # of candidates, held at a time
SAMPLE_BYTES = 1 << 30  # of rows that the index is trained on
CODES = 256  # values of a byte: so many rows a part of the codes is trained from, at least
ROWS_PER_LIST = 40  # of the sample that centroids are trained on; faiss wants 39
CODE_SIZE = 96  # where none is given
logger = logging.getLogger(__name__)


class Found(NamedTuple):
    """recall: {k: share of the exact first k among the first k found}; settings: as used, flat."""

    neighbors: Neighbors
    recall: dict[int, float]
    settings: dict[str, int]


def compressed_knn(
    query: Floats,
    gallery: Gallery,
    k: int,
    options: IvfPq | None = None,
    *,
    own: Ids | None = None,
    device: str = "cpu",
) -> Found:
    """About the k gallery rows with the highest inner product, for each query; see `exact_knn`.

    Similarities are exact, ties ordered by id; only which ids are found is approximate. Where the
    nprobe lists hold fewer than k rows, more lists are searched. Memory: code_size + 8 bytes a
    gallery row, SAMPLE_BYTES, SEARCH_BYTES. device: of the exact lists. Raises BadInput as
    `exact_knn`, and where the gallery is too small or code_size does not divide its width.
    """
    require(k >= 1, f"k is {k}", "at least 1")
    queries, _, own = rows.search_sides(query, gallery, own)
    width = min(k, len(gallery) - int((own >= 0).any()))
    options = _settled(options or IvfPq(), gallery)
    ids, sims = _search(_filled(gallery, options), queries, gallery, own, width, options)
    neighbors = Neighbors(ids, sims, len(gallery))
    some = rows.sampled_points(len(queries), options.recall_queries, options.seed)
    exact = exact_knn(queries[some], gallery, width, own=own[some], device=device)
    used = asdict(options) | {"recall_queries": len(some)}
    return Found(neighbors, _recall(ids[some], exact.ids[:, :width]), used)


def _sample_limit(gallery: Gallery) -> int:
    return min(len(gallery), SAMPLE_BYTES // (4 * gallery.dim))


def _settled(options: IvfPq, gallery: Gallery) -> IvfPq:
    """The settings for one gallery. Raises BadInput where it cannot have such an index."""
    num, dim, most = len(gallery), gallery.dim, _sample_limit(gallery)
    wanted = 2 ** round(np.log2(4 * num**0.5))
    nlist = options.nlist or int(max(1, min(wanted, most // ROWS_PER_LIST)))
    if most < max(nlist, CODES):
        few, remedy = "gallery images are", "index=flat: an exact search of so few takes no time"
        if most < num:
            few = f"rows of width {dim} to train on are"
            remedy = f"fewer lists (nlist), or {remedies.WHITENED}"
        what = f"{most} {few} too few for {nlist} lists and codes of {CODES} values"
        raise BadInput(what, expected=f"{max(nlist, CODES)} or more", remedy=remedy)
    divisors = [n for n in range(1, dim + 1) if dim % n == 0]
    size = options.code_size or max(n for n in divisors if n <= CODE_SIZE)
    near = sorted(sorted(divisors, key=lambda n: abs(n - size))[:4])
    what = f"code_size {size} does not divide the width {dim}"
    require(dim % size == 0, what, f"a divisor, such as {', '.join(map(str, near))}")
    return replace(options, nlist=nlist, code_size=size)


def _filled(gallery: Gallery, options: IvfPq) -> Any:
    nlist, size, seed = options.nlist or 0, options.code_size or 0, options.seed
    sample = min(_sample_limit(gallery), ROWS_PER_LIST * max(nlist, CODES))
    index = ivf_pq_index(gallery.dim, nlist, size, seed)
    index.train(rows.rows_of(gallery, rows.sampled_points(len(gallery), sample, seed)))
    for first, stop in ranges(gallery):
        index.add(float_range(gallery, first, stop))
    return index


def _search(
    index: Any, query: Float32, gallery: Gallery, own: Ids, k: int, options: IvfPq
) -> tuple[Ids32, Float32]:
    """ids, sims [Q, k]."""
    wide = min(len(gallery), k * options.refine + 1)  # one of them may be the query itself
    ids, sims = np.empty((len(query), k), np.int32), np.empty((len(query), k), np.float32)
    step = max(1, SEARCH_BYTES // (24 * wide))
    for start in range(0, len(query), step):
        part = slice(start, start + step)
        near = _candidates(index, query[part], wide, k + 1, options.nprobe)
        near[near == own[part, None]] = -1
        ids[part], sims[part] = _refined(query[part], gallery, np.sort(near, axis=1), k)
    return ids, sims


def _candidates(index: Any, query: Float32, wide: int, least: int, nprobe: int) -> Ids:
    """Ids [Q, wide], or -1; at least `least` of each query, or the whole gallery."""
    index.nprobe = min(nprobe, index.nlist)
    ids: Ids = index.search(query, wide)[1]
    while index.nprobe < index.nlist:
        few = np.flatnonzero((ids >= 0).sum(axis=1) < min(least, wide))
        if len(few) == 0:
            break
        index.nprobe = min(2 * index.nprobe, index.nlist)
        told = len(few), index.nprobe
        logger.info("%d queries found too few neighbours: nprobe=%d for them", *told)
        ids[few] = index.search(query[few], wide)[1]
    return ids


def _refined(query: Float32, gallery: Gallery, near: Ids, k: int) -> tuple[Ids32, Float32]:
    """The best k of the candidates near [Q, m], which ascend, by their exact similarity."""
    sims = np.full(near.shape, -np.inf, np.float32)
    for first, stop in ranges(gallery):
        inside = (near >= first) & (near < stop)
        if inside.any():
            low, high = int(near[inside].min()), int(near[inside].max()) + 1
            block = float_range(gallery, low, high)
            sims[inside] = similarities(query, block, np.where(inside, near - low, -1))[inside]
    order = np.argsort(-sims, axis=1, kind="stable")[:, :k]  # near ascends: ties are by id
    found_ids = np.take_along_axis(near, order, axis=1).astype(np.int32)
    return found_ids, np.take_along_axis(sims, order, axis=1)


def _recall(found: Ids32, exact: Ids32) -> dict[int, float]:
    def share(k: int) -> float:
        pairs = zip(found[:, :k], exact[:, :k], strict=True)
        return float(np.mean([np.isin(b, a).mean() for a, b in pairs]))

    width = exact.shape[1]
    return {k: share(k) for k in sorted({1, 10, 100, width}) if k <= width}
