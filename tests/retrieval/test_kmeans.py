"""The laws of k-means in memory."""

import numpy as np
import pytest

from ames_lite.errors import BadInput
from ames_lite.retrieval.clustering import kmeans
from tests.retrieval.test_knn import broken, integers, units


def lloyd_step(points: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    nearest = [int(((centroids - p) ** 2).sum(1).argmin()) for p in points]
    rows = [points[[n == c for n in nearest]].mean(0) for c in range(len(centroids))]
    return np.array(rows)


def test_kmeans_ends_where_another_step_changes_nothing() -> None:
    points = integers(11, 4, 6, 20).repeat(50, axis=0) + units(12, 200, 6)
    centroids = kmeans(points, 4, seed=0)
    assert centroids.shape == (4, 6) and centroids.dtype == np.float32
    np.testing.assert_allclose(centroids, lloyd_step(points, centroids), atol=1e-4)


def test_kmeans_follows_from_its_seed() -> None:
    points = units(13, 3000, 8)
    for limit in (1000, 20):
        first = kmeans(points, 16, seed=0, points_per_cluster=limit)
        assert first.tobytes() == kmeans(points, 16, 0, points_per_cluster=limit).tobytes()
        assert first.tobytes() != kmeans(points, 16, 1, points_per_cluster=limit).tobytes()


def test_kmeans_of_as_many_points_as_clusters_is_the_points() -> None:
    points = integers(14, 7, 3, 50)
    found = kmeans(points, 7, seed=3)
    assert sorted(map(tuple, found.tolist())) == sorted(map(tuple, points.tolist()))


def test_kmeans_refuses_what_it_cannot_do() -> None:
    points = units(15, 10, 4)
    with pytest.raises(BadInput, match="10 points were given for 11 clusters"):
        kmeans(points, 11, seed=0)
    with pytest.raises(BadInput, match="row 3 has NaN"):
        kmeans(broken(3, np.nan), 2, seed=0)
    for bad in ({"num_clusters": 0}, {"seed": -1}, {"iterations": 0}, {"points_per_cluster": 0}):
        with pytest.raises(BadInput, match="at least 1"):
            kmeans(**{"points": points, "num_clusters": 2, "seed": 0, **bad})
