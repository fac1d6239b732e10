"""k-reciprocal reranking: images are alike that have the same mutual neighbours.

Points p have unit length; N(p, k) is p and its k most similar others, and
R(p, k) = {g in N(p, k) whose N(g, k) holds p}. R*(p) adds to R(p, k1) every R(g, k1 / 2) of a g in
R(p, k1) of which at least two thirds lie in R(p, k1). V(p) has e^(-d) for the images of R*(p), d
the cosine distance 1 - cos, and 0 elsewhere; it is replaced by the mean V of p and its k2 - 1 most
similar. With J = sum of minima / sum of maxima of two V, the score (one minus the final distance)
is (1 - λ) · J + λ · cos.
Source: Zhong, Zheng, Cao and Li, "Re-ranking Person Re-identification with k-reciprocal Encoding",
CVPR 2017, arXiv 1701.08398.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse

from ames_lite.errors import at_least, check_fields
from ames_lite.records import Neighbors
from ames_lite.retrieval.compressed import Gallery
from ames_lite.retrieval.faiss_calls import similarities
from ames_lite.retrieval.rerank_parts import (
    NO_OWN,
    REMEDY,
    Reranker,
    Search,
    check_memory,
    directions,
    falling,
    listed_rows,
    whole_rows,
)
from ames_lite.retrieval.rows import Float32, Floats, Ids, checked_own

PAIRS = 1 << 14  # whose distance is computed at a time
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Kreciprocal(Reranker):
    """The first `num` images of every list by the final score; the defaults are published.

    num: None is the published form, where neighborhoods are among all queries and gallery images
    together; a number takes them among the query and the first `num` images of its list alone, and
    images behind them score λ · similarity, at most the last one's. Cosines are compared; a row of
    zeros is like none. A query that is in the gallery is that point, not a second one.
    """

    name, told = "kreciprocal", "1 - final distance"
    more = {"kreciprocal_distance": "1 - cosine"}

    num: int | None = None
    k1: int = 20  # of the mutual neighbourhoods
    k2: int = 6  # vectors that are averaged, the own one among them; 1: none
    lamb: float = 0.3  # λ, weight of the similarity; 1: the order by similarity

    def __post_init__(self) -> None:
        lamb = {"lamb": (0 <= self.lamb <= 1, "a number from 0 to 1")}
        check_fields(self, at_least(1, num=self.num, k1=self.k1, k2=self.k2) | lamb)

    @property
    def provenance(self) -> dict[str, Any]:
        among = "all queries and gallery images" if self.num is None else "the query and its list"
        return {**super().provenance, "kreciprocal_among": among}

    def depth(self, num_query: int, num_gallery: int, dim: int) -> int:
        if self.num is not None:
            return self.num
        points = num_query + num_gallery
        entries = min(points, self.k2 * (self.k1 + 1) * (self.k1 // 2 + 3))
        taken = points * (12 * dim + 24 * entries) + 24 * num_query * num_gallery
        what = f"rerank=kreciprocal of {num_query} queries and {num_gallery} images of width {dim}"
        check_memory(taken, what, f"kreciprocal.num=400: the first of each list alone; or {REMEDY}")
        return num_gallery

    def _lists(
        self, query: Float32, gallery: Floats | Gallery, neighbors: Neighbors, search: Search
    ) -> Neighbors:
        ids, sims = neighbors.ids.copy(), neighbors.sims.copy()
        if self.num is None:
            points, probes = _all_points(query, gallery, search)
            encoding = encoded(points, self.k1, self.k2, search)
            for q, probe in enumerate(probes):
                _put(ids[q], sims[q], points, encoding, int(probe), ids[q], self.lamb)
            return Neighbors(ids, sims, neighbors.num_gallery)
        for q, near in listed_rows(gallery, ids[:, : self.num], query.shape[1]):
            points = directions(np.concatenate([query[q : q + 1], near]))
            encoding = encoded(points, self.k1, self.k2, search)
            _put(ids[q], sims[q], points, encoding, 0, np.arange(1, len(points)), self.lamb)
        return Neighbors(ids, sims, neighbors.num_gallery)


class Encoding(NamedTuple):
    """vectors: V, sparse [P, P]; transposed: V'; sums [P] of its rows."""

    vectors: Any
    transposed: Any
    sums: Float64


def encoded(points: Float32, k1: int, k2: int, search: Search = NO_OWN) -> Encoding:
    """V of points [P, D] of unit length. k1 and k2 are clamped to the points."""
    near = search.among(points, max(k1, k2 - 1)).ids
    wide, half = _mutual(near, k1), _mutual(near, round(k1 / 2))
    shared = wide.multiply(wide @ half.T).tocoo()  # |R(p, k1) ∩ R(g, k1 / 2)| for g in R(p, k1)
    size = half.sum(axis=1)
    taken = 3 * shared.data >= 2 * size[shared.col]
    places = (shared.row[taken], shared.col[taken])
    grown = sparse.coo_array((np.ones(int(taken.sum()), np.int32), places), wide.shape).tocsr()
    sets = (wide + grown @ half).tocoo()
    weights = np.exp(_cosines(points, sets.row, sets.col) - 1)
    vectors = sparse.coo_array((weights, (sets.row, sets.col)), wide.shape).tocsr()
    if k2 > 1:
        mates = _neighborhoods(near, k2 - 1)
        vectors = (mates @ vectors) / (1 + near[:, : k2 - 1].shape[1])
    return Encoding(vectors, vectors.T.tocsr(), np.asarray(vectors.sum(axis=1)))


def _neighborhoods(near: npt.NDArray[np.int32], k: int) -> Any:
    """N(p, k) as a sparse matrix [P, P] of 0 and 1."""
    own = np.arange(len(near))[:, None]
    columns = np.concatenate([own, near[:, :k]], axis=1)
    rows = np.broadcast_to(own, columns.shape)
    ones = np.ones(columns.size, np.int32)
    places = (rows.ravel(), columns.ravel())
    return sparse.coo_array((ones, places), (len(near), len(near))).tocsr()


def _mutual(near: npt.NDArray[np.int32], k: int) -> Any:
    """R(p, k) as a sparse matrix [P, P] of 0 and 1."""
    both = _neighborhoods(near, k)
    return both.multiply(both.T).tocsr()


def _cosines(points: Float32, rows: npt.NDArray[Any], columns: npt.NDArray[Any]) -> Float64:
    """Cosines [E] of the pairs of points."""
    found = np.empty(len(rows))
    for start in range(0, len(rows), PAIRS):
        part = slice(start, start + PAIRS)
        pairs = points[rows[part]], points[columns[part]]
        found[part] = np.einsum("ed,ed->e", *pairs, dtype=np.float64)
    return found


def jaccard(encoding: Encoding, probe: int) -> Float64:
    """Jaccard similarities [P] of one point to all."""
    vectors, transposed, sums = encoding
    begin, end = vectors.indptr[probe : probe + 2]
    met = transposed[vectors.indices[begin:end]]
    own = np.repeat(vectors.data[begin:end], np.diff(met.indptr))
    smaller = np.bincount(met.indices, np.minimum(met.data, own), minlength=len(sums))
    found: Float64 = smaller / (sums[probe] + sums - smaller)
    return found


def _all_points(rows: Float32, gallery: Floats | Gallery, search: Search) -> tuple[Float32, Ids]:
    """Gallery and queries that are not in it, of unit length, and the point of each query."""
    probes = checked_own(search.own, len(rows)).copy()
    outside = np.flatnonzero(probes < 0)
    probes[outside] = len(gallery) + np.arange(len(outside))
    points = np.concatenate([whole_rows(gallery, rows.shape[1]), rows[outside]])
    return directions(points), probes


def _put(
    ids: npt.NDArray[np.int32],
    sims: Float32,
    points: Float32,
    encoding: Encoding,
    probe: int,
    others: npt.NDArray[np.integer[Any]],
    lamb: float,
) -> None:
    """Reorder a list [K] in place, whose first images are the points `others`."""
    near = others[None].astype(np.int64)
    cosines = similarities(points[probe : probe + 1], points, near)[0].astype(np.float64)
    scores = (1 - lamb) * jaccard(encoding, probe)[others] + lamb * cosines
    order, num = falling(scores), len(others)
    ids[:num] = ids[order]
    sims[num:] = np.minimum(lamb * sims[num:], scores.min(initial=1))
    sims[:num] = scores[order]
