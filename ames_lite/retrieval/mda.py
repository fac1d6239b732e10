"""SuperGlobal's reranking of global descriptors, without training: MDescAug, then RerankwMDA.

Of each query's first `num` images every vector is refined by its nearest among them, and the query
is expanded to the maximum over the refined vectors that come first. Vectors are of unit length;
images behind the first `num` keep their places. Equal scores (as float32) keep the order they had.
Source: Shao et al., "Global Features are All You Need for Image Retrieval and Reranking",
arXiv 2308.06954.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput, at_least, check_fields
from ames_lite.records import Neighbors
from ames_lite.retrieval.compressed import Gallery
from ames_lite.retrieval.rerank_parts import (
    NO_OWN,
    Search,
    Settings,
    checked_queries,
    falling,
    list_blocks,
)
from ames_lite.retrieval.rows import Float32, Floats

NEAR_UNIT = 1e-2  # how far from 1 the length of a vector in half precision may be
SIMS = {"final": "final score, behind mda_num first-stage", "first": "first-stage"}
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Mda(Settings):
    """The settings; the defaults are published.

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


def refined_vectors(vectors: Float64, neighbors: int, beta: float) -> Float64:
    """Refined vectors [M, D] of unit vectors [M, D] (MDescAug).

    Weighted mean of a vector (weight 1) and its `neighbors` nearest (weight beta · similarity);
    divided by the sum of weights, not brought to unit length. Raises BadInput where that is not
    above 0, as for opposite vectors and a large beta.
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
    if not (total > 0).all():
        raise BadInput(
            f"beta is {beta}: the weights of an image and its neighbours sum up to {total.min():g}",
            expected="a sum above 0: a smaller beta, or fewer neighbors",
        )
    refined: Float64 = used @ vectors / total
    return refined


def mda_order(
    query: Floats, vectors: Floats, neighbors: int, beta: float
) -> tuple[npt.NDArray[np.intp], Float32]:
    """The order [M] of the places of a list, and their scores [M], which fall along it.

    query [D] and the vectors [M, D] of a list, of unit length. With refined vectors r:
    s1 = query · r; expanded = maximum of the r of the first neighbors + 1 by s1;
    score = (s1 + expanded · r) / 2.
    """
    refined = refined_vectors(vectors.astype(np.float64), neighbors, beta)
    first = refined @ query.astype(np.float64)
    by_first = falling(first)
    second = refined @ refined[by_first[: neighbors + 1]].max(axis=0)
    scores = ((first + second) / 2)[by_first]
    best = falling(scores)
    return by_first[best], scores[best].astype(np.float32)


def rerank_mda(
    query: Floats,
    gallery: Floats | Gallery,
    neighbors: Neighbors,
    options: Mda | None = None,
    search: Search = NO_OWN,
) -> Neighbors:
    """The lists with their first `num` images reranked, the others as they were.

    query [Q, D]; gallery [N, D], or rows that are read by the range; unit vectors. num is clamped
    to the lists; nothing is searched again. Memory beside the arguments: BLOCK_BYTES of rows, a
    few num x num and num x D.
    Raises BadInput for widths and counts that differ, other lengths than 1, NaN and infinity.
    """
    options = options or Mda()
    rows = _unit_rows(checked_queries(query, gallery, neighbors), "query descriptors")
    ids, sims = neighbors.ids.copy(), neighbors.sims.copy()
    num = min(options.num, ids.shape[1])
    for part, held, near in list_blocks(gallery, ids[:, :num], rows.shape[1]):
        _unit_rows(held, "gallery descriptors")
        for q, places in zip(range(part.start, part.stop), near, strict=True):
            order, scores = mda_order(rows[q], held[places], options.neighbors, options.beta)
            ids[q, :num] = ids[q, order]
            sims[q, :num] = scores if options.sims == "final" else sims[q, order]
    return Neighbors(ids, sims, neighbors.num_gallery)


def _unit_rows(rows: Float32, what: str) -> Float32:
    """The rows. Raises BadInput for other lengths than 1."""
    far = np.abs(np.linalg.norm(rows, axis=1) - 1).max()
    if far > NEAR_UNIT:
        raise BadInput(f"{what} have lengths {far:.3g} off 1", expected="vectors of unit length")
    return rows
