"""Images without descriptors: there is nothing to go by, whatever a head would say of them."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from ames_lite.models import AMES, Chamfer, ELViS, SimilarityHead
from ames_lite.records import NO_EVIDENCE, LocalDescriptors, Neighbors
from ames_lite.reranking import Reranker
from ames_lite.reranking.ensemble import ensemble_scores, rerank
from ames_lite.reranking.scorer import PairScorer, ScoringOptions
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.published.store import open_store

DIM, MOST = 16, 6
EMPTY = (1, 4)  # rows of seven
ALL = [(q, g) for q in range(7) for g in range(7)]


def heads() -> dict[str, SimilarityHead]:
    """Of AMES one that calls every pair a match; it is sure of two empty images too."""
    torch.manual_seed(0)
    ames = AMES(dim_in=DIM, dim=32, num_layers=2, dim_feedforward=32)
    torch.nn.init.constant_(ames.classifier.bias, 9.0)
    return {"ames": ames.eval(), "elvis": ELViS(dim_in=DIM, dim=8).eval(), "chamfer": Chamfer()}


def images(zeros: bool) -> list[np.ndarray]:
    """Descriptors of seven images; those of EMPTY are none, or zeros."""
    rng = np.random.default_rng(0)
    found = [rng.normal(size=(n, DIM)).astype(np.float16) for n in (3, 5, 1, 6, 2, 4, 6)]
    for row in EMPTY:
        found[row] = np.zeros((2 if zeros else 0, DIM), np.float16)
    return found


def native(path: Path, zeros: bool) -> DescriptorStore:
    names = [f"{row}.jpg" for row in range(7)]
    with DescriptorStore.create(path, names, MOST, DIM, "float16", {}) as writer:
        for name, one in zip(names, images(zeros), strict=True):
            n = len(one)
            places, scale = np.zeros((n, 2), np.float32), np.zeros(n, np.uint8)
            weight = np.ones(n, np.float32)
            writer.append(name, LocalDescriptors(one, places, scale, weight, (9, 9)))
    return DescriptorStore.open(path)


def published(path: Path) -> DescriptorStore:
    features = np.zeros((7, MOST, 5 + DIM), np.float16)
    features[..., 3] = 1  # padding
    for row, one in enumerate(images(zeros=False)):
        features[row, : len(one), 3], features[row, : len(one), 5:] = 0, one
    with h5py.File(path, "w") as file:
        file["features"] = features
    return open_store(path, [f"{row}.jpg" for row in range(7)])


@pytest.mark.parametrize("name", ["ames", "elvis", "chamfer"])
@pytest.mark.parametrize("form", ["native", "zeros", "published"])
@pytest.mark.parametrize("block_images", [1, 3, None])
def test_an_empty_image_never_outranks_by_the_head(
    name: str, form: str, block_images: int | None, tmp_path: Path
) -> None:
    store = published(tmp_path / "a.hdf5")
    if form != "published":
        store = native(tmp_path / "b.hdf5", zeros=form == "zeros")
    query, gallery = np.array(ALL).T
    options = ScoringOptions(MOST, MOST, block_images=block_images)
    logits = PairScorer(heads()[name]).score(store, store, query, gallery, options)[0].logit
    for (q, g), logit in zip(ALL, logits, strict=True):
        empty = q in EMPTY or g in EMPTY
        assert (logit == np.float32(NO_EVIDENCE)) == empty
    assert ensemble_scores(np.zeros(49), logits, 0.0, 1e-3)[logits < -1e20].max() == 0


@pytest.mark.parametrize("name", ["ames", "chamfer"])  # ELViS depends on padding
def test_the_reranker_on_arrays_has_the_logits_of_the_stores(name: str, tmp_path: Path) -> None:
    head, store = heads()[name], native(tmp_path / "a.hdf5", zeros=False)
    query, gallery = np.array(ALL).T
    stored = PairScorer(head).score(store, store, query, gallery, ScoringOptions(MOST, MOST))[0]
    for zeros in (False, True):
        for q, one in enumerate(images(zeros)):
            found = Reranker(head).logits(one, images(zeros))
            np.testing.assert_allclose(found, stored.logit[stored.query == q], atol=1e-4)


def test_zero_descriptors_change_nothing_wherever_they_stand() -> None:
    with_zeros = [np.insert(one, [0, len(one)], 0, axis=0) for one in images(zeros=False)]
    for head in heads().values():
        plain = Reranker(head).logits(images(zeros=False)[0], images(zeros=False))
        np.testing.assert_allclose(
            Reranker(head).logits(with_zeros[0], with_zeros), plain, atol=1e-4
        )


@pytest.mark.parametrize("lamb", [0.0, 0.3, 1.0])
def test_an_empty_query_keeps_the_order_that_was_given(lamb: float) -> None:
    reranker = Reranker(heads()["ames"], lamb=lamb, temp=0.2)
    order = reranker.rerank(np.zeros((0, DIM)), images(zeros=True), np.linspace(0.9, 0.3, 7))
    assert order.ids[0].tolist() == list(range(7))
    assert order.sims[0] == pytest.approx(lamb * np.linspace(0.9, 0.3, 7))


def test_an_empty_image_stands_behind_all_that_are_as_similar_globally() -> None:
    logits = np.array([[NO_EVIDENCE, -50.0, NO_EVIDENCE, -80.0]])
    found = rerank(Neighbors(np.arange(4)[None], np.full((1, 4), 0.5), 4), logits, 0.5, 0.2)
    assert found.ids.tolist() == [[1, 3, 0, 2]]
