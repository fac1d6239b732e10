"""SuperGlobal's reranking of global descriptors, without training: MDescAug, then RerankwMDA.

Of each query's first `num` images every vector is refined by its nearest among them, and the query
is expanded to the maximum over the refined vectors that come first. Vectors are of unit length; the
other images keep their places, equal scores (as float32) their order.
Source: Shao et al., "Global Features are All You Need for Image Retrieval and Reranking",
arXiv 2308.06954.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ames_lite.errors import at_least, check_fields, require
from ames_lite.records import Neighbors
from ames_lite.retrieval.compressed import Gallery
from ames_lite.retrieval.rerank_parts import Reranker, Search, falling, listed_rows
from ames_lite.retrieval.rows import Float32, Floats

NEAR_UNIT = 1e-2  # how far from 1 the length of a vector in half precision may be
SIMS = {"final": "final score, behind mda_num first-stage", "first": "first-stage"}
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Mda(Reranker):
    """The settings; the defaults are published. num is clamped to the lists.

    sims: what the first `num` images get: the final score, which falls along them, or the
    first-stage similarity, whose order is another.
    """

    name, told = "mda", ""

    num: int = 400  # images of a list that are reranked, M
    neighbors: int = 9  # images that refine another, K; and that expand the query, with the first
    beta: float = 0.15  # weight of a neighbour, times its similarity
    sims: str = "final"

    def __post_init__(self) -> None:
        others = {
            "neighbors": (self.neighbors >= 0, "from 0"),
            "beta": (0 <= self.beta < float("inf"), "a number from 0"),
            "sims": (self.sims in SIMS, " or ".join(SIMS)),
        }
        check_fields(self, at_least(1, num=self.num) | others)

    @property
    def provenance(self) -> dict[str, Any]:
        made = super().provenance
        return {**made, "sims": SIMS[made.pop("mda_sims")]}

    def depth(self, num_query: int, num_gallery: int, dim: int) -> int:
        return self.num

    def _lists(
        self, query: Float32, gallery: Floats | Gallery, neighbors: Neighbors, search: Search
    ) -> Neighbors:
        _check_unit(query, "query descriptors")
        ids, sims = neighbors.ids.copy(), neighbors.sims.copy()
        num = min(self.num, ids.shape[1])
        for q, near in listed_rows(gallery, ids[:, :num], query.shape[1]):
            _check_unit(near, "gallery descriptors")
            order, scores = mda_order(query[q], near, self.neighbors, self.beta)
            ids[q, :num] = ids[q, order]
            sims[q, :num] = scores if self.sims == "final" else sims[q, order]
        return Neighbors(ids, sims, neighbors.num_gallery)


def refined_vectors(vectors: Float64, neighbors: int, beta: float) -> Float64:
    """Refined vectors [M, D] of unit vectors [M, D] (MDescAug), not of unit length.

    Weighted mean of a vector (weight 1) and its `neighbors` nearest (weight beta · similarity).
    Raises BadInput where the weights do not sum to above 0.
    """
    sims = vectors @ vectors.T
    weights = beta * sims
    np.fill_diagonal(sims, np.inf)  # itself comes first, also before a copy
    np.fill_diagonal(weights, 1)
    # as float32: what is equal but for rounding keeps the order of the list
    near = np.argsort(-sims.astype(np.float32), axis=1, kind="stable")[:, : neighbors + 1]
    used = np.zeros_like(weights)
    np.put_along_axis(used, near, np.take_along_axis(weights, near, axis=1), axis=1)
    total = used.sum(axis=1, keepdims=True)
    require(
        (total > 0).all(),
        f"beta is {beta}: the weights of an image and its neighbors sum to {total.min():g}",
        expected="a sum above 0: a smaller beta, or fewer neighbors",
    )
    refined: Float64 = used @ vectors / total
    return refined


def mda_order(
    query: Floats, vectors: Floats, neighbors: int, beta: float
) -> tuple[npt.NDArray[np.intp], Float32]:
    """The order [M] of the places of a list, and their falling scores [M].

    query [D] and vectors [M, D] of unit length. With refined vectors r: s1 = query · r; expanded =
    maximum of the r of the first neighbors + 1 by s1; score = (s1 + expanded · r) / 2.
    """
    refined = refined_vectors(vectors.astype(np.float64), neighbors, beta)
    first = refined @ query.astype(np.float64)
    by_first = falling(first)
    second = refined @ refined[by_first[: neighbors + 1]].max(axis=0)
    scores = ((first + second) / 2)[by_first]
    best = falling(scores)
    return by_first[best], scores[best].astype(np.float32)


def _check_unit(rows: Float32, what: str) -> None:
    far = np.abs(np.linalg.norm(rows, axis=1) - 1).max()
    expected = "vectors of unit length"
    require(far <= NEAR_UNIT, f"{what} have lengths {far:.3g} off 1", expected=expected)
