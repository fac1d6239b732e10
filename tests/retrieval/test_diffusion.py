"""Diffusion against a dense graph, built by loops, and a dense solution."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from ames_lite.errors import BadInput
from ames_lite.retrieval import graphs
from ames_lite.retrieval.graphs import Diffusion, affinities
from ames_lite.retrieval.knn import exact_knn
from tests.retrieval.test_rerankers import CLUSTERS, Vectors, made, unit

Dense = npt.NDArray[np.float64]


def slow_affinity(points: Vectors, k: int, gamma: float) -> Dense:
    cosines = points.astype(np.float64) @ points.astype(np.float64).T
    every = range(len(points))
    near = [sorted(set(every) - {i}, key=lambda j: -cosines[i, j])[:k] for i in every]
    found = np.zeros(cosines.shape)
    for i in every:
        for j in near[i]:
            if i in near[j]:
                found[i, j] = max(cosines[i, j], 0) ** gamma
    return found


def slow_diffused(affinity: Dense, start: Dense, alpha: float) -> Dense:
    degree = affinity.sum(axis=1)
    scaled = np.zeros_like(affinity)
    for i, j in np.argwhere(affinity > 0):
        scaled[i, j] = affinity[i, j] / np.sqrt(degree[i] * degree[j])
    return (1 - alpha) * np.linalg.solve(np.eye(len(affinity)) - alpha * scaled, start)


@pytest.mark.parametrize("k, gamma", [(50, 3.0), (8, 1.0), (1, 3.0), (500, 2.0)])
def test_the_graph_equals_that_of_loops(k: int, gamma: float) -> None:
    points = made().gallery
    found = affinities(points, k, gamma).toarray()
    np.testing.assert_allclose(found, slow_affinity(points, k, gamma), atol=1e-6)
    np.testing.assert_array_equal(found, found.T)


@pytest.mark.parametrize("num", [None, 30])
@pytest.mark.parametrize("k, begin, alpha, gamma", [(50, 10, 0.99, 3.0), (8, 4, 0.5, 1.0)])
def test_scores_equal_the_dense_solution(
    num: int | None, k: int, begin: int, alpha: float, gamma: float
) -> None:
    world = made()
    options = Diffusion(num, k, begin, alpha, gamma)
    found = options.rerank(world.query, world.gallery, world.plain)
    affinity = slow_affinity(world.gallery, k, gamma)
    for q in range(CLUSTERS):
        listed = world.plain.ids[q, :num]
        start = np.zeros(len(listed))
        start[:begin] = (world.gallery[listed[:begin]] @ world.query[q]) ** gamma
        scores = np.zeros(len(world.gallery))
        scores[listed] = slow_diffused(affinity[np.ix_(listed, listed)], start, alpha)
        np.testing.assert_allclose(found.sims[q], scores[found.ids[q]], atol=1e-6)
        order = listed[np.argsort(-scores[listed].astype(np.float32), kind="stable")]
        assert found.ids[q, 0] == order[0]


def test_similarity_runs_along_a_chain() -> None:
    """An arc of images: its far end is less similar than a stranger, and comes before it."""
    angles = np.linspace(0, 2.4, 25)
    arc = np.stack([np.cos(angles), np.sin(angles), np.zeros(25)], axis=1)
    stranger = np.array([[0.6, -0.1, 0.79]])
    gallery, query = unit(np.concatenate([arc, stranger])), unit(arc[:1])
    plain = exact_knn(query, gallery, 26)
    found = Diffusion(neighbors=4, query_neighbors=2).rerank(query, gallery, plain)
    place = {image: at for at, image in enumerate(plain.ids[0].tolist())}
    assert place[25] < place[24]
    assert found.ids[0, -1] == 25 and found.sims[0, -1] == 0 < found.sims[0, -2]


def test_what_nothing_arrives_at_keeps_its_order() -> None:
    world = made()
    found = Diffusion(None, 3, 2).rerank(world.query, world.gallery, world.plain)
    for q in range(CLUSTERS):
        rest = found.ids[q][found.sims[q] == 0]
        place = {image: at for at, image in enumerate(world.plain.ids[q].tolist())}
        assert len(rest) and [place[i] for i in rest] == sorted(place[i] for i in rest)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_gradients_that_do_not_end_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    world = made()
    monkeypatch.setattr(graphs, "TOLERANCE", 0.0)
    with pytest.raises(BadInput, match="diffusion.alpha"):
        Diffusion().rerank(world.query, world.gallery, world.plain)
