"""The laws of k-means in blocks: Lloyd's algorithm, whatever the blocks are."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest

from ames_lite.errors import BadInput
from ames_lite.retrieval import clustering
from ames_lite.retrieval.clustering import Blocks, check_clustering, kmeans_blocks

DISTANCES = ("euclidean", "cosine")


def tokens(seed: int, count: int, dim: int = 8, groups: int = 5) -> np.ndarray:
    """Groups of tokens around random centres, in random order."""
    rng = np.random.default_rng(seed)
    centers = rng.standard_normal((groups, dim)) * 3
    noise = rng.standard_normal((count, dim))
    return (centers[rng.integers(0, groups, count)] + noise).astype(np.float32)


def cut(points: np.ndarray, sizes: list[int]) -> Blocks:
    """Blocks of those sizes, in turn."""

    def blocks() -> Iterator[np.ndarray]:
        start = 0
        for size in itertools.cycle(sizes):
            if start >= len(points):
                return
            yield points[start : start + size]
            start += size

    return blocks


def lloyd(points: np.ndarray, centroids: np.ndarray, distance: str) -> np.ndarray:
    """One step, token by token, in float64."""
    points, centroids = points.astype(float), centroids.astype(float)
    chosen = []
    for point in points:
        if distance == "cosine":
            sims = [c @ point / np.linalg.norm(c) / np.linalg.norm(point) for c in centroids]
        else:
            sims = [-((c - point) ** 2).sum() for c in centroids]
        chosen.append(int(np.argmax(sims)))
    return np.array([points[np.array(chosen) == k].mean(axis=0) for k in range(len(centroids))])


def start_of(points: np.ndarray, num_clusters: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).choice(len(points), num_clusters, replace=False)
    return points[np.sort(rows)]


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("iterations", [1, 2, 6])
def test_it_is_the_algorithm_written_out(distance: str, iterations: int) -> None:
    points = tokens(0, 400)
    expected = start_of(points, 6, seed=3)
    for _ in range(iterations):
        expected = lloyd(points, expected, distance)
    options = {"iterations": iterations, "distance": distance, "tolerance": 0.0}
    found = kmeans_blocks(cut(points, [400]), 6, 3, **options)
    assert found.centroids.shape == (6, 8) and found.centroids.dtype == np.float32
    assert found.tokens == 400
    np.testing.assert_allclose(found.centroids, expected, atol=1e-6)


@pytest.mark.parametrize("distance", DISTANCES)
def test_the_blocks_do_not_show_in_a_single_bit(
    distance: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clustering, "CHUNK", 64)
    points = tokens(1, 1000)
    whole = kmeans_blocks(cut(points, [1000]), 7, 0, distance=distance)
    for sizes in ([1], [63], [64], [65], [5, 200, 1], [999, 1], [0, 30]):
        found = kmeans_blocks(cut(points, sizes), 7, 0, distance=distance)
        assert found.centroids.tobytes() == whole.centroids.tobytes() and found[1:] == whole[1:]


def test_the_chunk_shows_only_in_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    points = tokens(2, 1000)
    whole = kmeans_blocks(cut(points, [1000]), 7, 0)
    monkeypatch.setattr(clustering, "CHUNK", 33)
    found = kmeans_blocks(cut(points, [1000]), 7, 0)
    np.testing.assert_allclose(found.centroids, whole.centroids, atol=1e-6)


@pytest.mark.parametrize("distance", DISTANCES)
def test_it_ends_where_another_step_changes_nothing(distance: str) -> None:
    points = tokens(3, 600)
    found = kmeans_blocks(cut(points, [100]), 4, 0, distance=distance, tolerance=0.0)
    assert found.settled and found.iterations < 100
    again = lloyd(points, found.centroids, distance)
    np.testing.assert_allclose(found.centroids, again, atol=1e-5)
    sooner = kmeans_blocks(cut(points, [100]), 4, 0, distance=distance, tolerance=0.01)
    assert sooner.settled and sooner.iterations < found.iterations
    cut_off = kmeans_blocks(cut(points, [100]), 4, 0, distance=distance, iterations=1)
    assert not cut_off.settled and cut_off.iterations == 1


def test_centroids_of_cosine_are_plain_means() -> None:
    points = tokens(4, 500)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    found = kmeans_blocks(cut(points, [50]), 5, 0, distance="cosine").centroids
    assert (np.linalg.norm(found, axis=1) < 0.99).all()


def test_cosine_assigns_by_direction_alone() -> None:
    rng = np.random.default_rng(5)
    lengths = rng.uniform(1, 50, 300)
    angles = rng.normal(0, 0.05, 300) + np.where(np.arange(300) % 2, 1.2, 0.0)
    points = (np.stack([np.cos(angles), np.sin(angles)], axis=1) * lengths[:, None]).astype("f4")
    found = kmeans_blocks(cut(points, [300]), 2, 0, distance="cosine").centroids
    assert sorted(np.arctan2(found[:, 1], found[:, 0]).round(1)) == [0.0, 1.2]


def test_it_follows_from_its_seed() -> None:
    points = tokens(6, 900, groups=30)
    results = [kmeans_blocks(cut(points, [90]), 12, seed).centroids for seed in (0, 0, 1)]
    assert results[0].tobytes() == results[1].tobytes() != results[2].tobytes()


def test_float16_is_clustered_as_its_float32() -> None:
    points = tokens(7, 300).astype(np.float16)
    a = kmeans_blocks(cut(points, [40]), 5, 0).centroids
    b = kmeans_blocks(cut(points.astype(np.float32), [40]), 5, 0).centroids
    assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("distance", DISTANCES)
def test_no_cluster_stays_empty(distance: str) -> None:
    """Most of the start are copies of one token, so most clusters begin without tokens."""
    many = np.repeat(tokens(8, 1), 500, axis=0)
    points = np.concatenate([many, tokens(9, 20, groups=20)])
    found = kmeans_blocks(cut(points, [100]), 8, 0, distance=distance)
    again = kmeans_blocks(cut(points, [7]), 8, 0, distance=distance)
    assert found.centroids.tobytes() == again.centroids.tobytes()
    assert len(np.unique(found.centroids, axis=0)) == 8
    after = lloyd(points, found.centroids, distance)  # NaN where a cluster is empty
    assert np.isfinite(after).all()


def test_an_empty_cluster_takes_the_token_farthest_from_every_centroid() -> None:
    points = np.array([[0, 0]] * 50 + [[1, 0]] * 50 + [[9, 9]], np.float32)
    for seed in range(20):
        start = start_of(points, 2, seed)
        if (start[0] == start[1]).all():
            break
    found = kmeans_blocks(cut(points, [101]), 2, seed, iterations=1).centroids
    assert [9, 9] in found.tolist()


@pytest.mark.parametrize("distance", DISTANCES)
def test_as_many_clusters_as_distinct_tokens_are_the_tokens(distance: str) -> None:
    points = np.eye(6, dtype=np.float32)[np.arange(60) % 6]
    found = kmeans_blocks(cut(points, [13]), 6, 0, distance=distance).centroids
    assert sorted(map(tuple, found.tolist())) == sorted(map(tuple, np.eye(6).tolist()))


def test_what_it_cannot_do_is_refused() -> None:
    same = np.ones((50, 4), np.float32)
    for blocks, options, part in [
        (cut(same, [50]), {}, "fewer distinct tokens than the 2 clusters"),
        (cut(same, [50]), {"distance": "cosine"}, "distinct tokens"),
    ]:
        with pytest.raises(BadInput, match=part) as error:
            kmeans_blocks(**{"blocks": blocks, "num_clusters": 2, "seed": 0, **options})
        assert "expected" in str(error.value)
    right = {"num_clusters": 2, "seed": 0, "iterations": 9, "distance": "cosine"}
    for wrong, part in [
        ({"num_clusters": 0}, "at least 1"),
        ({"seed": -1}, "at least 1"),
        ({"iterations": 0}, "at least 1"),
        ({"distance": "manhattan"}, "euclidean or cosine"),
    ]:
        with pytest.raises(BadInput, match=part):
            check_clustering(**{**right, **wrong})
