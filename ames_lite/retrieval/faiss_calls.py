"""All calls of faiss: inner products of contiguous float32 rows; id -1: too few were found."""

from typing import Any

import faiss
import numpy as np

from ames_lite.retrieval.rows import Float32, Ids

CODE_ROWS = 64  # a value of a code is trained from at most so many rows: more cost time alone


def flat_candidates(query: Float32, block: Float32, wide: int) -> tuple[Ids, Float32]:
    """Ids [Q, wide], ascending, of the best up to rounding, and the weakest similarity [Q]."""
    sims, ids = faiss.knn(query, block, wide, metric=faiss.METRIC_INNER_PRODUCT)
    return np.sort(ids, axis=1), sims[:, -1]


def similarities(query: Float32, block: Float32, ids: Ids) -> Float32:
    """Inner products [Q, m] with block rows ids [Q, m], each of two rows alone; -inf for id -1."""
    sims: Float32 = np.empty(ids.shape, np.float32)
    query, ids = np.ascontiguousarray(query), np.ascontiguousarray(ids, np.int64)
    pointers = [faiss.swig_ptr(array) for array in (sims, query, block, ids)]
    inner_products = faiss.fvec_inner_products_by_idx  # type: ignore[attr-defined]
    inner_products(*pointers, query.shape[1], len(query), ids.shape[1])
    return sims


def lloyd(rows: Float32, num_clusters: int, seed: int, iterations: int, most: int) -> Float32:
    """Centroids [num_clusters, D] by Lloyd's algorithm; most: of rows of a cluster."""
    points = {"min_points_per_centroid": 1, "max_points_per_centroid": most}
    sizes = (rows.shape[1], num_clusters)
    clustering = faiss.Kmeans(*sizes, niter=iterations, seed=seed, **points)
    clustering.train(rows)
    return np.array(clustering.centroids, np.float32).reshape(num_clusters, -1)


def ivf_pq_index(dim: int, nlist: int, code_size: int, seed: int) -> Any:
    """faiss' index of rows in `nlist` lists, their residuals as `code_size` bytes, to be trained.
    dim must be a multiple of code_size; memory: code_size + 8 bytes a row. Source: Jégou, Douze and
    Schmid, "Product quantization for nearest neighbor search", 2011.
    """
    index: Any = faiss.index_factory(dim, f"IVF{nlist},PQ{code_size}x8", faiss.METRIC_INNER_PRODUCT)
    for clustering in (index.cp, index.pq.cp):
        clustering.seed = seed
        clustering.min_points_per_centroid = 1
    index.pq.cp.max_points_per_centroid = CODE_ROWS
    index.do_polysemous_training = False  # it would take 50 times the rest
    return index
