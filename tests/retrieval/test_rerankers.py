"""Laws of all training-free rerankers of global descriptors, on a small clustered world."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest

from ames_lite.errors import BadInput
from ames_lite.evaluation.metrics import average_precision, find_hits
from ames_lite.records import Neighbors
from ames_lite.retrieval import rerank_parts
from ames_lite.retrieval.expansion import Aqe, Dba
from ames_lite.retrieval.graphs import Diffusion, Kreciprocal
from ames_lite.retrieval.knn import exact_knn
from ames_lite.retrieval.rerank_parts import Reranker
from ames_lite.retrieval.rerankers import RERANKERS

Vectors = npt.NDArray[np.float32]
CLUSTERS, EACH, LOOSE = 6, 12, 40
ALL: list[Reranker] = [
    Aqe(5),
    Dba(5),
    Dba(5, query_neighbors=4),
    Kreciprocal(k1=10, k2=4),
    Kreciprocal(60, k1=10, k2=4),
    Diffusion(neighbors=8, query_neighbors=4),
    Diffusion(60, neighbors=8, query_neighbors=4),
]
OFF: list[Reranker] = [
    Aqe(0),
    Aqe(5, 1e6),
    Dba(0),
    Dba(0, query_neighbors=0),
    Dba(5, 1e6, query_neighbors=5),
    Kreciprocal(lamb=1),
    Kreciprocal(30, lamb=1),
    Diffusion(alpha=0),
    Diffusion(30, alpha=0),
]
KEEPING = [one for one in ALL if getattr(one, "num", None)]


class World(NamedTuple):
    """Unit vectors; labels of the gallery, whose last are of no cluster; one query a cluster."""

    query: Vectors
    gallery: Vectors
    labels: npt.NDArray[np.int64]

    @property
    def plain(self) -> Neighbors:
        return exact_knn(self.query, self.gallery, len(self.gallery))


def unit(rows: npt.NDArray[Any]) -> Vectors:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def made(seed: int = 0, noise: float = 0.2, dim: int = 16) -> World:
    rng = np.random.default_rng(seed)
    centers = unit(rng.standard_normal((CLUSTERS, dim)))
    near = np.repeat(centers, EACH, axis=0)
    near = near + noise * rng.standard_normal(near.shape)
    gallery = np.concatenate([near, rng.standard_normal((LOOSE, dim))])
    query = centers + noise * rng.standard_normal(centers.shape)
    labels = np.concatenate([np.repeat(np.arange(CLUSTERS), EACH), np.full(LOOSE, -1)])
    return World(unit(query), unit(gallery), labels)


def mean_ap(world: World, ids: npt.NDArray[np.int32]) -> float:
    positives = [np.flatnonzero(world.labels == label) for label in range(CLUSTERS)]
    return float(average_precision(find_hits(ids, positives)).mean())


def same(found: Neighbors, expected: Neighbors) -> None:
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_array_equal(found.sims, expected.sims)


@pytest.mark.parametrize("options", ALL, ids=str)
def test_clusters_come_first_more_than_by_similarity(options: Reranker) -> None:
    worlds = [made(seed) for seed in range(8)]
    before = np.mean([mean_ap(world, world.plain.ids) for world in worlds])
    found = [options.rerank(world.query, world.gallery, world.plain) for world in worlds]
    after = np.mean([mean_ap(*pair) for pair in zip(worlds, (f.ids for f in found), strict=True)])
    assert before < after <= 1


@pytest.mark.parametrize("options", OFF, ids=str)
def test_switched_off_it_keeps_the_order(options: Reranker) -> None:
    world = made()
    found = options.rerank(world.query, world.gallery, world.plain)
    np.testing.assert_array_equal(found.ids, world.plain.ids)


@pytest.mark.parametrize("options", [Aqe(0), Aqe(5, 1e6), Dba(0), Dba(5, 1e6)], ids=str)
def test_without_weights_the_lists_are_those_to_the_bit(options: Reranker) -> None:
    world = made()
    same(options.rerank(world.query, world.gallery, world.plain), world.plain)


@pytest.mark.parametrize("options", ALL, ids=str)
def test_every_list_has_every_image_once_and_sims_that_fall(options: Reranker) -> None:
    world = made()
    found = options.rerank(world.query, world.gallery, world.plain)
    np.testing.assert_array_equal(np.sort(found.ids, axis=1)[0], np.arange(len(world.gallery)))
    assert found.ids.shape == world.plain.ids.shape and found.rising == 0
    assert (found.ids != world.plain.ids).any()


@pytest.mark.parametrize("options", KEEPING, ids=str)
def test_images_behind_num_keep_their_places(options: Reranker) -> None:
    world = made()
    found = options.rerank(world.query, world.gallery, world.plain)
    np.testing.assert_array_equal(found.ids[:, 60:], world.plain.ids[:, 60:])
    np.testing.assert_array_equal(
        np.sort(found.ids[:, :60]), np.sort(world.plain.ids[:, :60], axis=1)
    )


@pytest.mark.parametrize("options", ALL, ids=str)
def test_a_gallery_in_another_order_gives_the_same_images(options: Reranker) -> None:
    world, order = made(), np.random.default_rng(5).permutation(CLUSTERS * EACH + LOOSE)
    found = options.rerank(world.query, world.gallery, world.plain)
    moved = world.gallery[order]
    plain = exact_knn(world.query, moved, len(moved))
    again = options.rerank(world.query, moved, plain)
    positive = found.sims > 0  # what nothing arrives at is in the order of the list
    np.testing.assert_array_equal(order[again.ids][positive], found.ids[positive])
    np.testing.assert_allclose(again.sims, found.sims, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("options", ALL, ids=str)
def test_vectors_twice_as_long_give_the_same_images(options: Reranker) -> None:
    world = made()
    found = options.rerank(world.query, world.gallery, world.plain)
    plain = exact_knn(world.query, 2 * world.gallery, len(world.gallery))
    again = options.rerank(world.query, 2 * world.gallery, plain)
    np.testing.assert_array_equal(again.ids, found.ids)
    if not getattr(options, "num", None):
        scale = 2 if isinstance(options, Aqe | Dba) else 1  # inner products, or of directions
        np.testing.assert_array_equal(again.sims, scale * found.sims)


@pytest.mark.parametrize("options", ALL, ids=str)
def test_no_image_is_in_its_own_list(options: Reranker) -> None:
    world, own = made(), np.arange(CLUSTERS * EACH + LOOSE)
    plain = exact_knn(world.gallery, world.gallery, len(own), own=own)
    found = options.rerank(world.gallery, world.gallery, plain, own=own)
    assert found.ids.shape == (len(own), len(own) - 1)
    assert not (found.ids == own[:, None]).any()


@pytest.mark.parametrize("options", ALL, ids=str)
def test_some_queries_may_be_in_the_gallery(options: Reranker) -> None:
    world = made()
    query = np.concatenate([world.query[:2], world.gallery[[7, 30]]])
    own = np.array([-1, -1, 7, 30])
    plain = exact_knn(query, world.gallery, 50, own=own)
    found = options.rerank(query, world.gallery, plain, own=own)
    assert found.ids.shape == (4, 50)
    assert 7 not in found.ids[2] and 30 not in found.ids[3]


@pytest.mark.parametrize("options", ALL, ids=str)
def test_failed_images_and_rows_of_zeros_stay_finite(options: Reranker) -> None:
    world = made()
    gallery, query = world.gallery.copy(), world.query.copy()
    gallery[10:40] = 1 / 4  # failed images share a constant vector
    gallery[80:95] = 0
    query[0], query[1] = 1 / 4, 0
    found = options.rerank(query, gallery, exact_knn(query, gallery, len(gallery)))
    assert np.isfinite(found.sims).all() and found.rising == 0
    blank = np.zeros_like(gallery)
    plain = exact_knn(query, blank, len(blank))
    found = options.rerank(query, blank, plain)
    assert np.isfinite(found.sims).all()


@pytest.mark.parametrize("options", ALL, ids=str)
def test_rows_read_by_the_range_change_nothing(
    options: Reranker, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = made()

    class Rows:
        dim = 16

        def __len__(self) -> int:
            return len(world.gallery)

        def read(self, first: int, stop: int) -> Vectors:
            return world.gallery[first:stop].copy()

    whole = options.rerank(world.query, world.gallery, world.plain)
    monkeypatch.setattr(rerank_parts, "BLOCK_BYTES", 1)  # a query at a time
    monkeypatch.setattr("ames_lite.retrieval.rows.READ_BYTES", 4 * 16 * 7)
    same(options.rerank(world.query, Rows(), world.plain), whole)


@pytest.mark.parametrize("num", [1, 2, 3])
@pytest.mark.parametrize("options", ALL, ids=str)
def test_numbers_beyond_the_gallery_are_clamped(options: Reranker, num: int) -> None:
    world = made()
    gallery = world.gallery[:num]
    plain = exact_knn(world.query, gallery, 100)
    found = options.rerank(world.query, gallery, plain)
    np.testing.assert_array_equal(np.sort(found.ids, axis=1), np.sort(plain.ids, axis=1))
    own = np.arange(num)
    plain = exact_knn(gallery, gallery, 9, own=own)
    assert options.rerank(gallery, gallery, plain, own=own).ids.shape == (num, num - 1)


@pytest.mark.parametrize("name", RERANKERS)
def test_provenance_names_every_setting(name: str) -> None:
    options = RERANKERS[name]()
    said = options.provenance
    settings = {key: value for key, value in vars(options).items() if key != "sims"}
    assert said["rerank"] == name and isinstance(said["sims"], str)
    assert {key: said[f"{name}_{key}"] for key in settings} == settings


@pytest.mark.parametrize("options", ALL, ids=str)
def test_what_does_not_fit_is_refused(options: Reranker, monkeypatch: pytest.MonkeyPatch) -> None:
    world = made()
    query, gallery, plain = world.query, world.gallery, world.plain
    broken = gallery.copy()
    broken[plain.ids[0, 0], 0] = np.nan
    for rows, images, what in [
        (unit(np.ones((CLUSTERS, 7))), gallery, "width 16"),
        (query, broken, "NaN"),
    ]:
        with pytest.raises(BadInput, match=what):
            options.rerank(rows, images, plain)
    bounded = not isinstance(options, Aqe) and not (
        isinstance(options, Kreciprocal) and options.num
    )
    monkeypatch.setattr(rerank_parts, "HELD_BYTES", 1000)
    if bounded:
        with pytest.raises(BadInput, match="GiB(.|\n)*remedy"):
            options.rerank(query, gallery, plain)
    else:
        options.rerank(query, gallery, plain)


@pytest.mark.parametrize(
    "kind, wrong, what",
    [
        (Aqe, {"neighbors": -1}, "neighbors is -1"),
        (Aqe, {"alpha": -0.5}, "alpha is -0.5"),
        (Aqe, {"alpha": float("nan")}, "alpha is nan"),
        (Dba, {"neighbors": -2}, "neighbors is -2"),
        (Dba, {"query_neighbors": -1}, "query_neighbors is -1"),
        (Kreciprocal, {"num": 0}, "num is 0"),
        (Kreciprocal, {"k1": 0}, "k1 is 0"),
        (Kreciprocal, {"k2": -6}, "k2 is -6"),
        (Kreciprocal, {"lamb": 1.5}, "lamb is 1.5"),
        (Kreciprocal, {"lamb": float("nan")}, "lamb is nan"),
        (Diffusion, {"num": 0}, "num is 0"),
        (Diffusion, {"neighbors": 0}, "neighbors is 0"),
        (Diffusion, {"query_neighbors": -1}, "query_neighbors is -1"),
        (Diffusion, {"alpha": 1.0}, "alpha is 1.0"),
        (Diffusion, {"alpha": -0.1}, "alpha is -0.1"),
        (Diffusion, {"gamma": 0.0}, "gamma is 0.0"),
    ],
)
def test_settings_out_of_range_are_refused(
    kind: type[Any], wrong: dict[str, float], what: str
) -> None:
    with pytest.raises(BadInput, match=what):
        kind(**wrong)
