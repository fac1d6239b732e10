"""Query expansion and database-side augmentation: vectors joined by those of their neighbours.

A vector x becomes x / |x| + the sum of c^alpha · y / |y| over its nearest neighbours y, where c is
the cosine of x and y (those at or below 0 do not count), with the length that x had.
Sources: Radenović, Tolias and Chum, "Fine-tuning CNN Image Retrieval with No Human Annotation",
TPAMI 2018, arXiv 1711.02512 (the weights; alpha = 0 is average query expansion); Turcot and Lowe,
"Better matching with fewer features", 2009, and Arandjelović and Zisserman, "Three things everyone
should know to improve object retrieval", CVPR 2012 (the gallery's side).
"""

from dataclasses import dataclass

import numpy as np

from ames_lite.errors import at_least, check_fields
from ames_lite.records import Neighbors
from ames_lite.retrieval.compressed import Gallery
from ames_lite.retrieval.rerank_parts import (
    NO_OWN,
    Reranker,
    Search,
    check_memory,
    directions,
    listed_rows,
    whole_rows,
)
from ames_lite.retrieval.rows import Float32, Floats


@dataclass(frozen=True)
class Aqe(Reranker):
    """α query expansion: a new search by every query, expanded by the first of its list."""

    name, told = "aqe", "inner product with the expanded query"

    neighbors: int = 10  # images that expand a query; 0: none
    alpha: float = 3.0  # power of their cosine

    def __post_init__(self) -> None:
        alpha = {"alpha": (0 <= self.alpha < float("inf"), "a number from 0")}
        check_fields(self, at_least(0, neighbors=self.neighbors) | alpha)

    def depth(self, num_query: int, num_gallery: int, dim: int) -> int:
        return max(1, self.neighbors)

    def _lists(
        self, query: Float32, gallery: Floats | Gallery, neighbors: Neighbors, search: Search
    ) -> Neighbors:
        rows, first = query.copy(), neighbors.ids[:, : self.neighbors]
        for q, near in listed_rows(gallery, first, rows.shape[1]):
            rows[q] = expanded(rows[q], near, self.alpha)
        return search.lists(rows, gallery, neighbors.ids.shape[1])


@dataclass(frozen=True)
class Dba(Reranker):
    """Database-side augmentation: a new search among the augmented images.

    Memory beside the arguments: three times the gallery in float32 and as `exact_knn`.
    """

    name, told = "dba", "inner product with the augmented image"

    neighbors: int = 10  # images that augment a gallery image; 0: none
    alpha: float = 3.0  # power of their cosine
    query_neighbors: int = 0  # augmented images that expand a query; 0: none

    def __post_init__(self) -> None:
        Aqe(self.neighbors, self.alpha)
        check_fields(self, at_least(0, query_neighbors=self.query_neighbors))

    def depth(self, num_query: int, num_gallery: int, dim: int) -> int:
        taken = num_gallery * (12 * dim + 8 * min(self.neighbors, num_gallery))
        check_memory(taken, f"rerank=dba of {num_gallery} images of width {dim}")
        return 1

    def _lists(
        self, query: Float32, gallery: Floats | Gallery, neighbors: Neighbors, search: Search
    ) -> Neighbors:
        whole = whole_rows(gallery, query.shape[1])
        joined = augmented(whole, self.neighbors, self.alpha, search)
        length = neighbors.ids.shape[1]
        found = search.lists(query, joined, max(length, self.query_neighbors))
        if self.query_neighbors:
            expansion = Aqe(self.query_neighbors, self.alpha)
            found = expansion.rerank(query, joined, found, search)
        return Neighbors(found.ids[:, :length], found.sims[:, :length], len(joined))


def expanded(vector: Float32, near: Float32, alpha: float) -> Float32:
    """A vector [D] joined by its neighbours [n, D], as long as it was."""
    exact, others = vector.astype(np.float64), directions(near).astype(np.float64)
    length = np.linalg.norm(exact)
    if length == 0 or len(near) == 0:
        return vector
    cosines = np.clip(others @ exact / length, 0, 1)
    weights = np.where(cosines > 0, cosines**alpha, 0)
    total = exact + length * (weights @ others)
    joined: Float32 = (total * (length / np.linalg.norm(total))).astype(np.float32)
    return joined


def augmented(gallery: Float32, neighbors: int, alpha: float, search: Search = NO_OWN) -> Float32:
    """The gallery [N, D] with every row joined by its `neighbors` most similar others (cosine)."""
    if neighbors == 0:
        return gallery
    ids = search.among(directions(gallery), neighbors).ids
    joined = np.empty_like(gallery)
    for row, near in enumerate(ids):
        joined[row] = expanded(gallery[row], gallery[near], alpha)
    return joined
