"""The laws of k-means in memory."""

import numpy as np

from ames_lite.retrieval.faiss_calls import lloyd
from tests.retrieval.test_knn import integers, units


def lloyd_step(points: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    nearest = [int(((centroids - p) ** 2).sum(1).argmin()) for p in points]
    rows = [points[[n == c for n in nearest]].mean(0) for c in range(len(centroids))]
    return np.array(rows)


def test_kmeans_ends_where_another_step_changes_nothing() -> None:
    points = integers(11, 4, 6, 20).repeat(50, axis=0) + units(12, 200, 6)
    centroids = lloyd(points, 4, 0, 25, 1000)
    assert centroids.shape == (4, 6) and centroids.dtype == np.float32
    np.testing.assert_allclose(centroids, lloyd_step(points, centroids), atol=1e-4)


def test_kmeans_follows_from_its_seed() -> None:
    points = units(13, 3000, 8)
    for limit in (1000, 20):
        first = lloyd(points, 16, 0, 25, limit)
        assert first.tobytes() == lloyd(points, 16, 0, 25, limit).tobytes()
        assert first.tobytes() != lloyd(points, 16, 1, 25, limit).tobytes()


def test_kmeans_of_as_many_points_as_clusters_is_the_points() -> None:
    points = integers(14, 7, 3, 50)
    found = lloyd(points, 7, 3, 25, 1000)
    assert sorted(map(tuple, found.tolist())) == sorted(map(tuple, points.tolist()))
