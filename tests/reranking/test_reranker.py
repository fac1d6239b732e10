"""Laws of the reranker on arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ames_lite.errors import BadInput
from ames_lite.io.descriptor_store import DescriptorStore
from ames_lite.models import AMES
from ames_lite.records import NO_EVIDENCE, LocalDescriptors
from ames_lite.reranking import Reranker


def a_model() -> AMES:
    torch.manual_seed(0)
    return AMES(dim_in=16, dim=32, num_layers=2, dim_feedforward=32)


def a_list(count: int = 9) -> tuple[np.ndarray, list[np.ndarray]]:
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 12, count)
    query = rng.normal(size=(7, 16)).astype(np.float32)
    return query, [rng.normal(size=(n, 16)).astype(np.float32) for n in lengths]


def test_it_only_reorders_and_follows_the_formula() -> None:
    query, candidates = a_list()
    sims = np.linspace(0.9, 0.1, 9)
    ranking = Reranker(a_model(), lamb=0.3, temp=2.0, batch_pairs=4).rerank(query, candidates, sims)
    assert sorted(ranking.ids[0].tolist()) == list(range(9))
    model, scores = a_model().eval(), []
    for candidate, sim in zip(candidates, sims, strict=True):
        with torch.inference_mode():
            logit = model(torch.tensor(query)[None], None, torch.tensor(candidate)[None]).item()
        scores.append(0.3 * sim + 0.7 / (1 + np.exp(-2.0 * logit)))
    assert ranking.ids[0].tolist() == np.argsort(-np.array(scores), kind="stable").tolist()
    assert np.allclose(ranking.sims[0], sorted(scores, reverse=True), atol=1e-5)


def test_lamb_1_keeps_the_given_order_and_no_sims_means_logits_alone() -> None:
    query, candidates = a_list()
    sims = np.linspace(0.9, 0.1, 9)
    assert Reranker(a_model(), lamb=1.0).rerank(query, candidates, sims).ids[0].tolist() == list(
        range(9)
    )
    reranker = Reranker(a_model(), lamb=1.0)
    alone = reranker.rerank(query, candidates).ids[0]
    assert alone.tolist() == np.argsort(-reranker.logits(query, candidates), kind="stable").tolist()


def test_one_array_equals_a_list_and_tensors_equal_arrays() -> None:
    rng = np.random.default_rng(2)
    query, stacked = rng.normal(size=(5, 16)), rng.normal(size=(4, 6, 16))
    reranker = Reranker(a_model())
    assert (reranker.lamb, reranker.temp) == (0.5, 0.2)
    model = a_model()
    model.ensemble = (0.35, 0.1)
    own, half = Reranker(model), Reranker(model, temp=1.0)
    assert [(one.lamb, one.temp) for one in (own, half)] == [(0.35, 0.1), (0.35, 1.0)]
    first = reranker.logits(query, stacked)
    assert np.allclose(first, reranker.logits(query, list(stacked)))
    assert np.allclose(first, reranker.logits(torch.tensor(query), torch.tensor(stacked)))


@pytest.mark.parametrize(
    "query, candidates, sims, message",
    [
        (np.zeros((3, 16)), [], None, "no candidates"),
        (np.zeros((3, 8)), [np.zeros((3, 8))], None, "16"),
        (np.ones((3, 16)), [np.ones((3, 16))], [0.1, 0.2], "sims"),
        (np.ones((3, 16)), [np.ones((3, 8))], None, "16"),
        (np.ones((3, 16), int), [np.ones((3, 16))], None, "float"),
        (np.ones(16), [np.ones((3, 16))], None, "query"),
        (np.full((3, 16), np.nan), [np.ones((3, 16))], None, "NaN"),
    ],
)
def test_what_does_not_fit_is_refused(
    query: np.ndarray, candidates: list[np.ndarray], sims: list[float] | None, message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        Reranker(a_model()).rerank(query, candidates, sims)


def kinds(values: np.ndarray) -> dict[str, np.ndarray]:
    """The same numbers, which float16 holds, in other types, byte orders and memory."""
    wide = np.repeat(values, 2, axis=1)[:, ::2]
    return {
        **{name: values.astype(name) for name in ("f2", "f8", ">f2", ">f4", ">f8", "longdouble")},
        "columns first": np.asfortranarray(values),
        "every second": wide,
        "backwards": values[::-1].copy()[::-1],
    }


def test_type_and_byte_order_of_descriptors_change_nothing() -> None:
    reranker, rng = Reranker(a_model()), np.random.default_rng(0)
    query, gallery = (rng.standard_normal((5, 16)).astype("f2").astype("f4") for _ in range(2))
    expected = reranker.logits(query, [gallery])
    for name, other in kinds(query).items():
        assert np.array_equal(reranker.logits(other, [gallery]), expected), name
    for name, other in kinds(gallery).items():
        assert np.array_equal(reranker.logits(query, [other]), expected), name
        assert np.array_equal(reranker.logits(query, other[None]), expected), name
    sims = np.array([0.5], ">f8")
    assert reranker.rerank(query, [gallery], sims).ids.tolist() == [[0]]


@pytest.mark.parametrize(
    "wrong",
    [
        np.array([["a", "b"]]),
        np.ones((3, 16), object),
        [[1.0, 2.0], [3.0]],
        np.ones((3, 16), bool),
        np.ones((3, 16), complex),
        np.full((3, 16), 1e300),
        np.full((3, 16), np.inf, ">f4"),
        np.ones((3, 16), ">u2"),
        None,
    ],
)
def test_what_is_no_array_of_numbers_is_refused(wrong: Any) -> None:
    good, reranker = np.ones((3, 16)), Reranker(a_model())
    for given in ((wrong, [good]), (good, [good, wrong])):
        with pytest.raises(BadInput):
            reranker.logits(*given)
    with pytest.raises(BadInput, match="sims"):
        reranker.rerank(good, [good], ["0.5"])


def a_store(path: Path, images: list[np.ndarray]) -> DescriptorStore:
    names = [f"{i}.jpg" for i in range(len(images))]
    with DescriptorStore.create(path, names, 12, 16, "float16", {"backbone": "test"}) as store:
        for name, found in zip(names, images, strict=True):
            n = len(found)
            weight = np.linspace(1, 0.5, n, dtype=np.float32)
            xy, scale = np.full((n, 2), 0.5, np.float32), np.zeros(n, np.uint8)
            store.append(name, LocalDescriptors(found, xy, scale, weight, (30, 40)))
    return DescriptorStore.open(path)


def test_rows_of_a_store_equal_their_arrays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    query, candidates = a_list()
    images = [image.astype(np.float16) for image in (query, *candidates)]
    images.insert(4, np.zeros((0, 16), np.float16))
    store, reranker = a_store(tmp_path / "s.hdf5", images), Reranker(a_model(), batch_pairs=4)
    rows = [7, 2, 4, 10, 1]
    wanted = reranker.rerank(images[0], [images[row] for row in rows], np.arange(5.0)[::-1])
    found = reranker.rerank((store, 0), (store, np.array(rows)), np.arange(5.0)[::-1])
    assert np.array_equal(found.ids, wanted.ids) and np.array_equal(found.sims, wanted.sims)
    assert reranker.logits(images[0], (store, rows))[2] == np.float32(NO_EVIDENCE)
    assert (reranker.logits((store, 4), (store, rows)) == np.float32(NO_EVIDENCE)).all()
    whole = reranker.logits((store, 0), (store, rows))
    monkeypatch.setattr("ames_lite.reranking.reranker.CHUNK", 2)
    assert np.allclose(reranker.logits((store, 0), (store, rows)), whole, atol=1e-6)


@pytest.mark.parametrize(
    "rows, said",
    [
        ([2, 1, 2], "candidates 0 and 2 are both row 2"),
        ([2, 11], "rows 0 to 9|row numbers from 0"),
        ([], "no candidates"),
    ],
)
def test_wrong_rows_of_a_store_are_named(rows: list[int], said: str, tmp_path: Path) -> None:
    query, candidates = a_list()
    store = a_store(tmp_path / "s.hdf5", [query, *candidates])
    with pytest.raises(BadInput, match=said):
        Reranker(a_model()).rerank((store, 0), (store, rows))


def test_sims_in_any_order_are_similarities_and_a_rising_list_is_asked_about() -> None:
    query, candidates = a_list()
    reranker = Reranker(a_model(), lamb=0.9)
    falling = np.linspace(0.9, 0.1, 9)
    wanted = reranker.rerank(query, candidates, falling)
    order = np.array([4, 0, 8, 2, 6, 1, 3, 5, 7])
    mixed = reranker.rerank(query, [candidates[i] for i in order], falling[order])
    assert order[mixed.ids[0]].tolist() == wanted.ids[0].tolist()
    distances = 1 - falling
    with pytest.raises(BadInput, match='kind="distance"'):
        reranker.rerank(query, candidates, distances)
    found = reranker.rerank(query, candidates, distances, kind="distance")
    squared = reranker.rerank(query, candidates, distances * 2, kind="squared_l2")
    for other in (found, squared):
        assert np.array_equal(other.ids, wanted.ids) and np.allclose(other.sims, wanted.sims)
    meant = reranker.rerank(query, candidates, distances, kind="similarity")
    assert meant.ids.tolist() != wanted.ids.tolist()
    for fine in (np.full(9, 0.5), distances[:4]):  # equal ones; few
        reranker.rerank(query, candidates[: len(fine)], fine)


def test_wrong_sims_are_named_before_anything_is_scored() -> None:
    query, candidates = a_list()
    reranker = Reranker(a_model())
    reranker.logits = None  # type: ignore[method-assign, assignment]
    sims = np.linspace(0.9, 0.1, 9)
    for bad in (np.nan, -np.inf):
        sims[3] = bad
        with pytest.raises(BadInput, match=f"candidate 3 is {bad}"):
            reranker.rerank(query, candidates, sims)
    with pytest.raises(BadInput, match="kind is 'l2'"):
        reranker.rerank(query, candidates, np.ones(9), kind="l2")
