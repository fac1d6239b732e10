"""k-reciprocal reranking against sets and loops."""

from __future__ import annotations

from math import exp

import numpy as np
import pytest

from ames_lite.retrieval.graphs import Kreciprocal, encoded, jaccard
from ames_lite.retrieval.knn import exact_knn
from tests.retrieval.test_rerankers import CLUSTERS, Vectors, made

Sets = list[set[int]]


def slow_vectors(points: Vectors, k1: int, k2: int) -> list[dict[int, float]]:
    """V of every point, as {point: weight}."""
    cosines = points.astype(np.float64) @ points.astype(np.float64).T
    every = range(len(points))
    ranked = [[p, *sorted(set(every) - {p}, key=lambda g: -cosines[p, g])] for p in every]

    def mutual(p: int, k: int) -> set[int]:
        return {g for g in ranked[p][: k + 1] if p in ranked[g][: k + 1]}

    grown: Sets = []
    for p in every:
        found = set(mutual(p, k1))
        for g in mutual(p, k1):
            half = mutual(g, round(k1 / 2))
            if len(mutual(p, k1) & half) >= 2 / 3 * len(half):
                found |= half
        grown.append(found)
    vectors = [{g: exp(cosines[p, g] - 1) for g in grown[p]} for p in every]
    means = []
    for p in every:
        mates = ranked[p][:k2]
        total: dict[int, float] = {}
        for mate in mates:
            for g, weight in vectors[mate].items():
                total[g] = total.get(g, 0) + weight / len(mates)
        means.append(total)
    return means


def slow_jaccard(a: dict[int, float], b: dict[int, float]) -> float:
    both = set(a) | set(b)
    smaller = sum(min(a.get(g, 0), b.get(g, 0)) for g in both)
    return smaller / sum(max(a.get(g, 0), b.get(g, 0)) for g in both)


@pytest.mark.parametrize("k1, k2", [(20, 6), (10, 1), (7, 3), (1, 1), (3, 9), (500, 200)])
def test_similarities_equal_those_of_sets(k1: int, k2: int) -> None:
    points = made(3).gallery[::2]
    vectors = slow_vectors(points, k1, k2)
    encoding = encoded(points, k1, k2)
    for probe in (0, 11, len(points) - 1):
        expected = [slow_jaccard(vectors[probe], other) for other in vectors]
        np.testing.assert_allclose(jaccard(encoding, probe), expected, atol=1e-6)


@pytest.mark.parametrize("lamb", [0.0, 0.3, 1.0])
def test_the_published_form_takes_all_queries_and_images(lamb: float) -> None:
    world = made()
    found = Kreciprocal(lamb=lamb).rerank(world.query, world.gallery, world.plain)
    points = np.concatenate([world.gallery, world.query])
    vectors, num = slow_vectors(points, 20, 6), len(world.gallery)
    for q in range(CLUSTERS):
        alike = np.array([slow_jaccard(vectors[num + q], vectors[g]) for g in range(num)])
        scores = (1 - lamb) * alike + lamb * (world.gallery @ world.query[q])
        np.testing.assert_allclose(found.sims[q], scores[found.ids[q]], atol=1e-6)
        assert found.ids[q, 0] == scores.argmax()


def test_with_num_every_list_is_a_world_of_its_own() -> None:
    world, num = made(), 40
    found = Kreciprocal(num, 10, 4).rerank(world.query, world.gallery, world.plain)
    for q in range(CLUSTERS):
        query, listed = world.query[q : q + 1], world.plain.ids[q, :num]
        alone = world.gallery[listed]
        plain = exact_knn(query, alone, num)
        whole = Kreciprocal(None, 10, 4).rerank(query, alone, plain)
        np.testing.assert_array_equal(found.ids[q, :num], listed[whole.ids[0]])
        np.testing.assert_allclose(found.sims[q, :num], whole.sims[0], atol=1e-6)


def test_a_query_in_the_gallery_is_one_point() -> None:
    world, own = made(), np.arange(0, 30, 3)
    query = world.gallery[own]
    plain = exact_knn(query, world.gallery, 200, own=own)
    options = Kreciprocal(k1=10, k2=4, lamb=0)
    found = options.rerank(query, world.gallery, plain, own=own)
    vectors = slow_vectors(world.gallery, 10, 4)
    for q, row in enumerate(own):
        expected = [slow_jaccard(vectors[row], vectors[image]) for image in found.ids[q]]
        np.testing.assert_allclose(found.sims[q], expected, atol=1e-6)
