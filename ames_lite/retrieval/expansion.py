"""Query expansion and database-side augmentation: vectors joined by those of their neighbours.

Aqe and Dba: a vector x becomes x / |x| + the sum of c^alpha · y / |y| over its nearest neighbours
y, where c is the cosine of x and y (those at or below 0 do not count), with the length that x had.
Sources: Radenović, Tolias and Chum, "Fine-tuning CNN Image Retrieval with No Human Annotation",
TPAMI 2018, arXiv 1711.02512 (the weights; alpha = 0 is average query expansion); Turcot and Lowe,
"Better matching with fewer features", 2009, and Arandjelović and Zisserman, "Three things everyone
should know to improve object retrieval", CVPR 2012 (the gallery's side).

Mda, SuperGlobal's reranking (MDescAug, then RerankwMDA): of each query's first `num` images every
vector, of unit length, is refined by its nearest among them, and the query is expanded to the
maximum over the refined vectors that come first. The other images keep their places, equal scores
(as float32) their order. Source: Shao et al., "Global Features are All You Need for Image Retrieval
and Reranking", arXiv 2308.06954.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ames_lite.errors import require
from ames_lite.records import Neighbors
from ames_lite.retrieval import rerank_parts as parts
from ames_lite.retrieval.rows import Float32, Float64, Floats, Held
from ames_lite.retrieval.settings import AqeSettings, DbaSettings, MdaSettings

NEAR_UNIT = 1e-2  # how far from 1 the length of a vector in half precision may be
SIMS = {"final": "final score, behind mda_num first-stage", "first": "first-stage"}


class Aqe(AqeSettings, parts.Reranker):
    """α query expansion: a new search by every query, expanded by the first of its list."""

    name, told = "aqe", "inner product with the expanded query"

    def depth(self, num_query: int, num_gallery: int, dim: int) -> int:
        return max(1, self.neighbors)

    def _lists(self, search: parts.Search, neighbors: Neighbors) -> Neighbors:
        rows = search.query.copy()
        for q, near in search.listed(neighbors.ids[:, : self.neighbors]):
            rows[q] = expanded(rows[q], near, self.alpha)
        return search.lists(rows, search.gallery, neighbors.ids.shape[1])


class Dba(DbaSettings, parts.Reranker):
    """A new search among augmented images. Memory: three galleries in float32, as `exact_knn`."""

    name, told = "dba", "inner product with the augmented image"

    def depth(self, num_query: int, num_gallery: int, dim: int) -> int:
        taken = num_gallery * (12 * dim + 8 * min(self.neighbors, num_gallery))
        parts.check_memory(taken, f"rerank=dba of {num_gallery} images of width {dim}")
        return 1

    def _lists(self, search: parts.Search, neighbors: Neighbors) -> Neighbors:
        joined = augmented(search.whole(), self.neighbors, self.alpha, search.device)
        length = neighbors.ids.shape[1]
        found = search.lists(search.query, joined, max(length, self.query_neighbors))
        if self.query_neighbors:
            expansion = Aqe(self.query_neighbors, self.alpha)
            found = expansion._lists(replace(search, gallery=Held(joined)), found)
        return found.first(length)


def expanded(vector: Float32, near: Float32, alpha: float) -> Float32:
    """A vector [D] joined by its neighbours [n, D], as long as it was."""
    exact, others = vector.astype(np.float64), parts.directions(near).astype(np.float64)
    length = np.linalg.norm(exact)
    if length == 0 or len(near) == 0:
        return vector
    cosines = np.clip(others @ exact / length, 0, 1)
    weights = np.where(cosines > 0, cosines**alpha, 0)
    total = exact + length * (weights @ others)
    return (total * (length / np.linalg.norm(total))).astype(np.float32)


def augmented(gallery: Float32, neighbors: int, alpha: float, device: str = "cpu") -> Float32:
    """The gallery [N, D] with every row joined by its `neighbors` most similar others (cosine)."""
    if neighbors == 0:
        return gallery
    ids = parts.among(parts.directions(gallery), neighbors, device).ids
    joined = np.empty_like(gallery)
    for row, near in enumerate(ids):
        joined[row] = expanded(gallery[row], gallery[near], alpha)
    return joined


class Mda(MdaSettings, parts.Reranker):
    """SuperGlobal's reranking; the defaults are published. num is clamped to the lists."""

    name, told = "mda", ""

    @property
    def provenance(self) -> dict[str, Any]:
        made = super().provenance
        return {**made, "sims": SIMS[made.pop("mda_sims")]}

    def depth(self, num_query: int, num_gallery: int, dim: int) -> int:
        return self.num

    def _lists(self, search: parts.Search, neighbors: Neighbors) -> Neighbors:
        _check_unit(search.query, "query descriptors")
        ids, sims = neighbors.ids.copy(), neighbors.sims.copy()
        num = min(self.num, ids.shape[1])
        for q, near in search.listed(ids[:, :num]):
            _check_unit(near, "gallery descriptors")
            order, scores = mda_order(search.query[q], near, self.neighbors, self.beta)
            ids[q, :num] = ids[q, order]
            sims[q, :num] = scores if self.sims == "final" else sims[q, order]
        return Neighbors(ids, sims, neighbors.num_gallery)


def refined_vectors(vectors: Float64, neighbors: int, beta: float) -> Float64:
    """Means [M, D] of unit vectors [M, D], weight 1, and `neighbors` nearest, beta · similarity
    (MDescAug); not of unit length. Raises BadInput where the weights do not sum to above 0.
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
    what = f"beta is {beta}: the weights of an image and its neighbors sum to {total.min():g}"
    require((total > 0).all(), what, "a sum above 0: a smaller beta, or fewer neighbors")
    return used @ vectors / total


def mda_order(
    query: Floats, vectors: Floats, neighbors: int, beta: float
) -> tuple[npt.NDArray[np.intp], Float32]:
    """The order [M] of vectors [M, D] and their falling scores: (s1 + expanded · r) / 2 of refined
    r, s1 = query · r, expanded = maximum of the r of the first neighbors + 1 by s1.
    """
    refined = refined_vectors(vectors.astype(np.float64), neighbors, beta)
    first = refined @ query.astype(np.float64)
    by_first = parts.falling(first)
    second = refined @ refined[by_first[: neighbors + 1]].max(axis=0)
    scores = ((first + second) / 2)[by_first]
    best = parts.falling(scores)
    return by_first[best], scores[best].astype(np.float32)


def _check_unit(rows: Float32, what: str) -> None:
    far = np.abs(np.linalg.norm(rows, axis=1) - 1).max()
    require(far <= NEAR_UNIT, f"{what} have lengths {far:.3g} off 1", "vectors of unit length")
