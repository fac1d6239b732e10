"""SuperGlobal's reranking: the published ranks, a plain referee, and the laws of a reranker."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from ames_lite.errors import BadInput
from ames_lite.records import Neighbors
from ames_lite.retrieval import rerank_parts
from ames_lite.retrieval.expansion import Mda, mda_order, refined_vectors
from ames_lite.retrieval.knn import exact_knn
from tests.helpers import shared_file

Vectors = npt.NDArray[np.float32]


def unit(num: int, dim: int, seed: int) -> Vectors:
    rows = np.random.default_rng(seed).standard_normal((num, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def slow_refined(vectors: list[list[float]], k: int, beta: float) -> list[list[float]]:
    """Image by image: itself, then the others by similarity."""
    found = []
    for i, own in enumerate(vectors):
        sims = [sum(a * b for a, b in zip(own, other, strict=True)) for other in vectors]
        others = sorted((j for j in range(len(vectors)) if j != i), key=lambda j: -sims[j])[:k]
        weights = {i: 1.0, **{j: beta * sims[j] for j in others}}
        total = sum(weights.values())
        found.append(
            [
                sum(weight * vectors[j][d] for j, weight in weights.items()) / total
                for d in range(len(own))
            ]
        )
    return found


def slow_order(query: Vectors, vectors: Vectors, k: int, beta: float) -> tuple[list[int], list]:
    """The places of a list, reranked, and their scores, in plain lists."""
    q = query.astype(float).tolist()
    refined = slow_refined(vectors.astype(float).tolist(), k, beta)
    first = [sum(a * b for a, b in zip(q, r, strict=True)) for r in refined]
    by_first = sorted(range(len(refined)), key=lambda m: -first[m])
    expanded = [max(refined[m][d] for m in by_first[: k + 1]) for d in range(len(q))]
    score = {
        m: (first[m] + sum(a * b for a, b in zip(expanded, refined[m], strict=True))) / 2
        for m in by_first
    }
    order = sorted(by_first, key=lambda m: -score[m])
    return order, [score[m] for m in order]


@pytest.mark.parametrize("beta", [0.15, 0.0, 1.0])
def test_published_ranks(beta: float) -> None:
    with np.load(shared_file("fixtures/superglobal.npz")) as fixture:
        gallery, queries = fixture["X"], fixture["Q"]
        num, k = int(fixture["M"]), int(fixture["K"])
        sims, ranks = fixture[f"beta{beta}/first_sims"], fixture[f"beta{beta}/ranks"]
    plain = exact_knn(queries, gallery, len(gallery))
    for q, query in enumerate(queries):
        refined = refined_vectors(gallery[plain.ids[q, :num]].astype(np.float64), k, beta)
        np.testing.assert_allclose(refined @ query, sims[q], atol=3e-7)
    found = Mda(num, k, beta).rerank(queries, gallery, plain)
    np.testing.assert_array_equal(found.ids, ranks)


@pytest.mark.parametrize("num, k", [(1, 9), (2, 0), (7, 3), (20, 9), (12, 40)])
@pytest.mark.parametrize("beta", [0.0, 0.15, 1.0])
def test_every_list_equals_the_referee(num: int, k: int, beta: float) -> None:
    vectors = np.abs(unit(num, 6, num))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    query = np.abs(unit(1, 6, 99))[0]
    order, scores = mda_order(query, vectors, k, beta)
    expected = slow_order(query, vectors, k, beta)
    assert order.tolist() == expected[0]
    np.testing.assert_allclose(scores, expected[1], atol=1e-6)


def lists(queries: int = 4, images: int = 50) -> tuple[Vectors, Vectors, Neighbors]:
    query, gallery = unit(queries, 8, 0), unit(images, 8, 1)
    return query, gallery, exact_knn(query, gallery, images)


def test_it_only_reorders_and_places_behind_num_stay() -> None:
    query, gallery, plain = lists()
    found = Mda(20, 3).rerank(query, gallery, plain)
    np.testing.assert_array_equal(np.sort(found.ids[:, :20]), np.sort(plain.ids[:, :20]))
    np.testing.assert_array_equal(found.ids[:, 20:], plain.ids[:, 20:])
    np.testing.assert_array_equal(found.sims[:, 20:], plain.sims[:, 20:])
    assert (found.ids[:, :20] != plain.ids[:, :20]).any()
    assert (np.diff(found.sims[:, :20]) <= 0).all()


def test_first_stage_similarities_move_with_their_images() -> None:
    query, gallery, plain = lists()
    final = Mda(20, 3).rerank(query, gallery, plain)
    first = Mda(20, 3, sims="first").rerank(query, gallery, plain)
    np.testing.assert_array_equal(final.ids, first.ids)
    rows = np.take_along_axis(query @ gallery.T, first.ids, axis=1)
    np.testing.assert_allclose(first.sims, rows, atol=1e-6)
    assert (np.diff(first.sims) > 0).any()  # their order is another


def test_blocks_of_queries_and_rows_read_by_the_range_change_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    query, gallery, plain = lists()

    class Rows:
        dim = 8

        def __len__(self) -> int:
            return len(gallery)

        def read(self, first: int, stop: int) -> Vectors:
            return gallery[first:stop].copy()

    whole = Mda(20, 3).rerank(query, gallery, plain)
    monkeypatch.setattr(rerank_parts, "BLOCK_BYTES", 1)  # a query at a time
    found = Mda(20, 3).rerank(query, Rows(), plain)
    np.testing.assert_array_equal(found.ids, whole.ids)
    np.testing.assert_array_equal(found.sims, whole.sims)


def test_copies_of_an_image_keep_the_order_of_the_list() -> None:
    gallery = np.repeat(unit(6, 8, 1), 4, axis=0)
    query = unit(3, 8, 0)
    found = Mda(24, 5).rerank(query, gallery, exact_knn(query, gallery, 24))
    for row in found.ids:
        for image in range(6):
            copies = row[row // 4 == image]
            assert copies.tolist() == sorted(copies)


def test_images_of_one_vector_keep_the_list() -> None:
    gallery = np.repeat(unit(1, 8, 1), 30, axis=0)
    plain = exact_knn(unit(2, 8, 0), gallery, 30)
    np.testing.assert_array_equal(Mda().rerank(unit(2, 8, 0), gallery, plain).ids, plain.ids)


def test_what_does_not_fit_is_refused() -> None:
    query, gallery, plain = lists()
    broken = gallery.copy()
    broken[plain.ids[0, 0], 0] = np.nan
    opposite = np.concatenate([unit(1, 8, 0), -unit(1, 8, 0).repeat(9, axis=0)])
    for call, what in [
        (lambda: Mda().rerank(unit(4, 7, 0), gallery, plain), "width 8"),
        (lambda: Mda().rerank(2 * query, gallery, plain), "unit length"),
        (lambda: Mda().rerank(query, 0.9 * gallery, plain), "unit length"),
        (lambda: Mda().rerank(query, broken, plain), "NaN"),
        (lambda: mda_order(query[0], opposite, 9, 1.0), "smaller beta"),
        (lambda: Mda(num=0), "at least 1"),
        (lambda: Mda(neighbors=-1), "from 0"),
        (lambda: Mda(beta=-0.1), "beta"),
        (lambda: Mda(beta=float("nan")), "beta"),
        (lambda: Mda(sims="both"), "final or first"),
    ]:
        with pytest.raises(BadInput, match=what):
            call()
