"""Rerankers by the graph of mutual neighbours: k-reciprocal and diffusion.

k-reciprocal: images are alike that have the same mutual neighbours.

Points p have unit length; N(p, k) is p and its k most similar others, and
R(p, k) = {g in N(p, k) whose N(g, k) holds p}. R*(p) adds to R(p, k1) every R(g, k1 / 2) of a g in
R(p, k1) of which at least two thirds lie in R(p, k1). V(p) has e^(-d) for the images of R*(p), d
the cosine distance 1 - cos, and 0 elsewhere; it is replaced by the mean V of p and its k2 - 1 most
similar. With J = sum of minima / sum of maxima of two V, the score (one minus the final distance)
is (1 - λ) · J + λ · cos.
Source: Zhong, Zheng, Cao and Li, "Re-ranking Person Re-identification with k-reciprocal Encoding",
CVPR 2017, arXiv 1701.08398.

Diffusion on the manifold of the gallery: similarity spreads along the graph of mutual neighbors.

With s(x, y) = max(cos(x, y), 0)^gamma, the affinity A of two images is s where each is among the k
most similar of the other, else 0; S = D^(-1/2) A D^(-1/2) with D the sums of its rows. A query has
y = s for its most similar images, else 0; f = (1 - alpha) (I - alpha S)^(-1) y by conjugate
gradients ranks the images. One vector an image; a query is no node of the graph.
Source: Iscen, Tolias, Avrithis, Furon and Chum, "Efficient Diffusion on Region Manifolds:
Recovering Small Objects with Compact CNN Representations", CVPR 2017, arXiv 1611.05113.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse.linalg import cg

from ames_lite.errors import require
from ames_lite.records import Neighbors
from ames_lite.retrieval import rerank_parts as parts
from ames_lite.retrieval.faiss_calls import similarities
from ames_lite.retrieval.rows import Float32, Float64, Ids, Ids32
from ames_lite.retrieval.settings import DiffusionSettings, KreciprocalSettings

PAIRS = 1 << 14  # whose distance is computed at a time
TOLERANCE = 1e-8  # of the residual, relative to y, where conjugate gradients end


class Encoding(NamedTuple):
    """vectors: V, sparse [P, P]; transposed: V'; sums [P] of its rows."""

    vectors: Any
    transposed: Any
    sums: Float64


class Kreciprocal(KreciprocalSettings, parts.Reranker):
    """The first `num` images of every list by the final score; the defaults are published.

    num: None is the published form, neighborhoods among all queries and gallery images together; a
    number takes them among the query and the first `num` images of its list, and images behind them
    score λ · similarity, at most the last one's. A query that is in the gallery is that point.
    """

    name, told = "kreciprocal", "1 - final distance"
    more = {"kreciprocal_distance": "1 - cosine"}

    @property
    def provenance(self) -> dict[str, Any]:
        where = "all queries and gallery images" if self.num is None else "the query and its list"
        return {**super().provenance, "kreciprocal_among": where}

    def depth(self, num_query: int, num_gallery: int, dim: int) -> int:
        if self.num is not None:
            return self.num
        points = num_query + num_gallery
        entries = min(points, self.k2 * (self.k1 + 1) * (self.k1 // 2 + 3))
        taken = points * (12 * dim + 24 * entries) + 24 * num_query * num_gallery
        what = f"rerank=kreciprocal of {num_query} queries and {num_gallery} images of width {dim}"
        remedy = f"kreciprocal.num=400: the first of each list alone; or {parts.REMEDY}"
        parts.check_memory(taken, what, remedy)
        return num_gallery

    def _lists(self, search: parts.Search, neighbors: Neighbors) -> Neighbors:
        ids, sims = neighbors.ids.copy(), neighbors.sims.copy()
        if self.num is None:
            probes, outside = search.own.copy(), np.flatnonzero(search.own < 0)
            probes[outside] = len(search.gallery) + np.arange(len(outside))
            points = np.concatenate([search.whole(), search.query[outside]])
            points = parts.directions(points)  # the gallery, and the queries that are not in it
            encoding = encoded(points, self.k1, self.k2, search.device)
            for q, probe in enumerate(probes.tolist()):
                self._reorder(ids[q], sims[q], points, encoding, probe, ids[q].astype(np.int64))
        else:
            for q, near in search.listed(ids[:, : self.num]):
                points = parts.directions(np.concatenate([search.query[q : q + 1], near]))
                encoding = encoded(points, self.k1, self.k2, search.device)
                self._reorder(ids[q], sims[q], points, encoding, 0, np.arange(1, len(points)))
        return Neighbors(ids, sims, neighbors.num_gallery)

    def _reorder(
        self, ids: Ids32, sims: Float32, points: Float32, v: Encoding, probe: int, others: Ids
    ) -> None:
        """A list [K] in place, whose first images are the points `others`."""
        num = len(others)
        cosines = similarities(points[[probe]], points, others[None])[0].astype(np.float64)
        scores = (1 - self.lamb) * jaccard(v, probe)[others] + self.lamb * cosines
        order = parts.falling(scores)
        ids[:num] = ids[order]
        sims[num:] = np.minimum(self.lamb * sims[num:], scores.min(initial=1))
        sims[:num] = scores[order]


def encoded(points: Float32, k1: int, k2: int, device: str = "cpu") -> Encoding:
    """V of points [P, D] of unit length. k1 and k2 are clamped to the points."""
    near = parts.among(points, max(k1, k2 - 1), device).ids
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
        vectors = (_neighborhoods(near, k2 - 1) @ vectors) / (1 + near[:, : k2 - 1].shape[1])
    return Encoding(vectors, vectors.T.tocsr(), np.asarray(vectors.sum(axis=1)))


def _neighborhoods(near: Ids32, k: int) -> Any:
    """N(p, k) as a sparse matrix [P, P] of 0 and 1."""
    own = np.arange(len(near))[:, None]
    columns = np.concatenate([own, near[:, :k]], axis=1)
    rows = np.broadcast_to(own, columns.shape)
    ones = np.ones(columns.size, np.int32)
    return sparse.coo_array((ones, (rows.ravel(), columns.ravel())), (len(near), len(near))).tocsr()


def _mutual(near: Ids32, k: int) -> Any:
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
    return smaller / (sums[probe] + sums - smaller)


class Diffusion(DiffusionSettings, parts.Reranker):
    """The first `num` of every list by f, equal ones in their order; the rest get 0. num: None:
    over the whole gallery; a number: the graph is cut down to so many (D is of them alone).
    """

    name, told = "diffusion", "manifold similarity f, 0 where none arrives"
    more = {"diffusion_tolerance": TOLERANCE}

    def depth(self, num_query: int, num_gallery: int, dim: int) -> int:
        listed = num_gallery if self.num is None else min(self.num, num_gallery)
        neighbors = min(self.neighbors, num_gallery)
        taken = num_gallery * (8 * dim + 64 * neighbors) + 24 * num_query * listed
        what = f"rerank=diffusion of {num_query} queries and {num_gallery} images of width {dim}"
        remedy = f"diffusion.num=1000, where queries are many; or {parts.REMEDY}"
        parts.check_memory(taken, what, remedy)
        return num_gallery if self.num is None else max(self.num, self.query_neighbors)

    def _lists(self, search: parts.Search, neighbors: Neighbors) -> Neighbors:
        rows, points = parts.directions(search.query), parts.directions(search.whole())
        affinity = affinities(points, self.neighbors, self.gamma, search.device)
        whole: Any = system(affinity, self.alpha) if self.num is None else None
        ids, sims = neighbors.ids.copy(), np.zeros_like(neighbors.sims)
        first = ids[:, : self.query_neighbors].astype(np.int64)
        starts = np.clip(similarities(rows, points, first).astype(np.float64), 0, 1) ** self.gamma
        for q, begin in enumerate(starts):
            nodes = listed = ids[q, : self.num]
            matrix = whole
            if self.num is not None:
                nodes = np.arange(len(listed), dtype=np.int32)
                matrix = system(affinity[listed][:, listed], self.alpha)
            start = np.zeros(matrix.shape[0])
            start[nodes[: len(begin)]] = begin[: len(nodes)]
            scores = diffused(matrix, start, self.alpha)[nodes]
            order = parts.falling(scores)
            ids[q, : len(listed)], sims[q, : len(listed)] = listed[order], scores[order]
        return Neighbors(ids, sims, neighbors.num_gallery)


def affinities(points: Float32, k: int, gamma: float, device: str = "cpu") -> Any:
    """A, sparse [N, N], of points [N, D] of unit length."""
    near = parts.among(points, k, device)
    rows = np.repeat(np.arange(len(points)), near.ids.shape[1])
    weights = np.clip(near.sims.ravel().astype(np.float64), 0, 1) ** gamma
    shape = (len(points), len(points))
    one_way = sparse.coo_array((weights, (rows, near.ids.ravel())), shape).tocsr()
    mutual = one_way.minimum(one_way.T).tocsr()  # 0 where one of them is not there
    mutual.eliminate_zeros()
    return mutual


def system(affinity: Any, alpha: float) -> Any:
    """I - alpha S, sparse [N, N]; an image without neighbors keeps its own y."""
    degree = np.asarray(affinity.sum(axis=1))
    scale = np.where(degree > 0, degree, 1) ** -0.5
    left = sparse.diags_array(scale)
    return (sparse.eye_array(len(degree)) - alpha * (left @ affinity @ left)).tocsr()


def diffused(matrix: Any, start: Float64, alpha: float) -> Float64:
    """f [N] of y [N]."""
    found, failed = cg(matrix, start, rtol=TOLERANCE, atol=0)
    what = f"conjugate gradients did not converge with alpha = {alpha}"
    require(not failed, what, "an alpha that is not so near to 1", remedy="diffusion.alpha=0.99")
    return np.maximum((1 - alpha) * found, 0)
