"""Diffusion on the manifold of the gallery: similarity spreads along the graph of mutual neighbors.

With s(x, y) = max(cos(x, y), 0)^gamma, the affinity A of two images is s where each is among the k
most similar of the other, else 0; S = D^(-1/2) A D^(-1/2) with D the sums of its rows. A query has
y = s for its most similar images, else 0; f = (1 - alpha) (I - alpha S)^(-1) y by conjugate
gradients ranks the images. One vector an image; a query is no node of the graph.
Source: Iscen, Tolias, Avrithis, Furon and Chum, "Efficient Diffusion on Region Manifolds:
Recovering Small Objects with Compact CNN Representations", CVPR 2017, arXiv 1611.05113.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse.linalg import cg

from ames_lite.errors import at_least, check_fields, require
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
    whole_rows,
)
from ames_lite.retrieval.rows import Float32, Floats

TOLERANCE = 1e-8  # of the residual, relative to y, where conjugate gradients end
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Diffusion(Reranker):
    """The first `num` images of every list by f, equal ones in the order they had; the rest get 0.

    num: None diffuses over the whole gallery; a number over the first `num` images of each list,
    with the graph cut down to them (its D is then of them alone). Cosines are compared; a row of
    zeros is like none.
    """

    name, told = "diffusion", "manifold similarity f, 0 where none arrives"
    more = {"diffusion_tolerance": TOLERANCE}

    num: int | None = None
    neighbors: int = 50  # k of the graph
    query_neighbors: int = 10  # images that y of a query has
    alpha: float = 0.99  # 0: the order by similarity
    gamma: float = 3.0  # power of a cosine

    def __post_init__(self) -> None:
        counts = {"neighbors": self.neighbors, "query_neighbors": self.query_neighbors}
        powers = {
            "alpha": (0 <= self.alpha < 1, "a number from 0, below 1"),
            "gamma": (0 < self.gamma < float("inf"), "a number above 0"),
        }
        check_fields(self, at_least(1, num=self.num, **counts) | powers)

    def depth(self, num_query: int, num_gallery: int, dim: int) -> int:
        listed = num_gallery if self.num is None else min(self.num, num_gallery)
        neighbors = min(self.neighbors, num_gallery)
        taken = num_gallery * (8 * dim + 64 * neighbors) + 24 * num_query * listed
        what = f"rerank=diffusion of {num_query} queries and {num_gallery} images of width {dim}"
        check_memory(taken, what, f"diffusion.num=1000, where queries are many; or {REMEDY}")
        return num_gallery if self.num is None else max(self.num, self.query_neighbors)

    def _lists(
        self, query: Float32, gallery: Floats | Gallery, neighbors: Neighbors, search: Search
    ) -> Neighbors:
        rows = directions(query)
        points = directions(whole_rows(gallery, rows.shape[1]))
        affinity = affinities(points, self.neighbors, self.gamma, search)
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
            order = falling(scores)
            ids[q, : len(listed)], sims[q, : len(listed)] = listed[order], scores[order]
        return Neighbors(ids, sims, neighbors.num_gallery)


def affinities(points: Float32, k: int, gamma: float, search: Search = NO_OWN) -> Any:
    """A, sparse [N, N], of points [N, D] of unit length."""
    near = search.among(points, k)
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
    require(
        not failed,
        f"conjugate gradients did not converge with alpha = {alpha}",
        expected="an alpha that is not so near to 1",
        remedy="diffusion.alpha=0.99",
    )
    f: Float64 = np.maximum((1 - alpha) * found, 0)
    return f
