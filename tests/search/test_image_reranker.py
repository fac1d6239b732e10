"""Laws of reranking images: a few lines, the numbers of the parts behind them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ames_lite.errors import BadInput, ConfigError, MissingFile
from ames_lite.extraction.backbones import build_backbone
from ames_lite.io.checkpoint import HeadMeta, load_head, save_head
from ames_lite.io.descriptor_store import DescriptorStore
from ames_lite.io.shipped import shipped
from ames_lite.models import AMES
from ames_lite.reranking import Reranker
from ames_lite.reranking.calibration import Calibration, Curve
from ames_lite.search.image_reranker import ImageReranker

LINE = Curve((0.0, 1.0), (0.25, 0.75))
CALIBRATION = Calibration(LINE, LINE, {"val": (0.5,)})


def picture(seed: int) -> np.ndarray:
    """Blocks of random grey, uint8 [90, 120, 3]."""
    small = np.random.default_rng(seed).integers(0, 256, (9, 12), np.uint8)
    return np.repeat(np.stack([np.kron(small, np.ones((10, 10), np.uint8))] * 3, -1), 1, 0)


def reranker(calibration: Calibration | None = CALIBRATION, lamb: float = 0.0) -> ImageReranker:
    torch.manual_seed(0)
    backbone = build_backbone("tiny_random", seed=0, registers=4, image_size=70, top_k=9)
    head = AMES(dim_in=backbone.dim, dim=16, num_layers=1, dim_feedforward=16)
    return ImageReranker(backbone, Reranker(head, lamb, 1.0), calibration)


def test_rank_is_the_reranked_list_in_the_form_of_a_cross_encoder() -> None:
    own = reranker(lamb=0.3)
    images, sims = [picture(seed) for seed in range(1, 6)], [0.9, 0.1, 0.7, 0.3, 0.5]
    local = [own.describe(image).local for image in (picture(0), *images)]
    wanted = own.reranker.rerank(local[0], local[1:], sims)
    ranked = own.rank(picture(0), images, sims=sims)
    assert [one["corpus_id"] for one in ranked] == wanted.ids[0].tolist()
    assert np.allclose([one["score"] for one in ranked], wanted.sims[0], atol=1e-6)
    assert own.rank(picture(0), images, 2, sims) == ranked[:2]
    assert set(map(type, ranked[0].values())) == {int, float}


def test_the_query_is_described_and_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    own, encoded, described = reranker(), [], []
    plain, describe = AMES.encode, own.backbone.describe
    monkeypatch.setattr(
        AMES,
        "encode",
        lambda self, d, valid=None, *, gallery=False: (
            encoded.append((len(d), gallery)) or plain(self, d, valid, gallery=gallery)
        ),
    )
    monkeypatch.setattr(own.backbone, "describe", lambda b: described.append(len(b)) or describe(b))
    own.rank(picture(0), [picture(seed) for seed in range(1, 71)])
    assert encoded == [(1, False), (64, True), (6, True)]
    assert sum(described) == 71


def test_paths_pictures_arrays_and_descriptions_give_one_ranking(tmp_path: Path) -> None:
    own, images = reranker(), [picture(seed) for seed in range(4)]
    paths = [tmp_path / f"{i}.png" for i in range(4)]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    described = own.describe_all(images)
    made = own.backbone.provenance
    with DescriptorStore.create(
        tmp_path / "s.hdf5", list("abcd"), 9, own.backbone.dim, "float16", made
    ) as store:
        for name, found in zip("abcd", described, strict=True):
            store.append(name, found.local)
    rows = DescriptorStore.open(tmp_path / "s.hdf5")
    wanted = own.rank(images[0], images[1:])
    forms: dict[str, tuple[Any, Any]] = {
        "paths": (paths[0], paths[1:]),
        "text": (str(paths[0]), [str(path) for path in paths[1:]]),
        "Pillow": (Image.fromarray(images[0]), [Image.fromarray(image) for image in images[1:]]),
        "floats": (images[0] / 255, [image / 255 for image in images[1:]]),
        "one array": (images[0], np.stack(images[1:])),
        "described": (described[0], described[1:]),
        "mixed": (images[0], [described[1], paths[2], images[3]]),
        "stored": ((rows, 0), (rows, [1, 2, 3])),
    }
    for name, (query, candidates) in forms.items():
        assert own.rank(query, candidates) == wanted, name


def test_similarity_is_the_score_with_its_probability() -> None:
    own, a, b = reranker(), picture(0), picture(1)
    found = own.similarity(a, b)
    assert found.score == pytest.approx(1 / (1 + np.exp(-found.logit)), abs=1e-6)
    assert found.probability == pytest.approx(0.25 + found.score / 2)
    assert own.rank(a, [b])[0]["score"] == pytest.approx(found.score, abs=1e-6)
    assert "explanation" not in vars(found)
    assert found.explanation.weights.shape == (found.a.count, found.b.count)
    assert found.explanation is found.explanation


def test_without_a_calibration_of_such_scores_there_is_no_probability() -> None:
    for own in (reranker(None), reranker(lamb=0.3)):
        assert own.similarity(picture(0), picture(1)).probability is None


@pytest.mark.parametrize(
    "candidates, said",
    [
        ([], "no candidates"),
        ("a.png", "single path"),
        (["a.png", "b.png", "a.png"], "candidates 0 and 2 are the same file"),
        ([picture(1), "gone.png"], "(?s)candidate 1.*missing.*gone.png"),
        ([picture(1), picture(2).astype(np.float32)], "candidate 1.*float32.*values from 1 to 254"),
        ([picture(1), picture(2)[:5]], "candidate 1.*too thin"),
    ],
)
def test_wrong_candidates_are_named(candidates: Any, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        reranker().rank(picture(0), candidates)


def test_wrong_sims_are_refused_before_anything_is_described() -> None:
    for sims, said in (([0.1], "sims have shape"), (np.arange(5.0), 'kind="distance"')):
        with pytest.raises(BadInput, match=said):
            reranker().rank("gone.png", ["gone.png"] * 5, sims=sims)


def test_distances_are_one_minus_similarities() -> None:
    own, images = reranker(lamb=0.9), [picture(seed) for seed in range(1, 6)]
    distances = np.linspace(0.1, 0.9, 5)
    wanted = own.rerank(picture(0), images, 1 - distances)
    found = own.rerank(picture(0), images, distances, kind="distance")
    assert np.array_equal(found.ids, wanted.ids) and np.allclose(found.sims, wanted.sims)


def test_top_k_and_a_missing_query_are_refused() -> None:
    with pytest.raises(BadInput, match="top_k is 0"):
        reranker().rank(picture(0), [picture(1)], top_k=0)
    with pytest.raises(MissingFile):
        reranker().rank("gone.png", [picture(1)])


def test_a_shipped_head_comes_with_its_backbone_and_settings(tmp_path: Path) -> None:
    own = ImageReranker.load("sift_elvis", device="cpu")
    assert (own.reranker.lamb, own.reranker.temp) == (0.0, 0.02) and own.backbone.top_k == 300
    wide = np.pad(picture(1), ((0, 0), (5, 5), (0, 0)), mode="edge")
    turned = np.ascontiguousarray(wide[:, ::-1])
    ranked = own.rank(picture(1), [picture(2), wide, turned, picture(3)])
    assert ranked[0]["corpus_id"] == 1
    assert own.similarity(picture(1), wide).explanation.box is not None
    head, meta = load_head(shipped("sift_elvis"))
    save_head(tmp_path, head, HeadMeta("sift", 0.4, 0.1, meta.provenance))
    assert ImageReranker.load(tmp_path, device="cpu").reranker.lamb == 0.4


@pytest.mark.parametrize(
    "meta, said",
    [
        (HeadMeta(), "which descriptors"),
        (HeadMeta("mine"), "no backbone 'mine'"),
        (HeadMeta("sift", provenance={"descriptors": {"backbone": "xfeat"}}), "xfeat"),
        (HeadMeta("sift", 0.0, 0.1, calibration={}), "no calibration"),
    ],
)
def test_a_head_without_its_backbone_is_refused(meta: HeadMeta, said: str, tmp_path: Path) -> None:
    save_head(tmp_path, AMES(dim_in=128, dim=16, num_layers=1, dim_feedforward=16), meta)
    with pytest.raises((BadInput, ConfigError), match=said):
        ImageReranker.load(tmp_path, device="cpu")
    with pytest.raises(MissingFile, match="sift_elvis"):
        ImageReranker.load("no_such_head")


def test_the_photo_head_knows_its_probabilities() -> None:
    assert load_head(shipped("photo_elvis"))[1].calibration is not None
    own = ImageReranker.load(device="cpu")
    assert own.calibration is not None and own.reranker.lamb == 0.0
    same = own.similarity(picture(1), picture(1)).probability
    other = own.similarity(picture(1), picture(2)).probability
    assert same is not None and other is not None and same > 0.5 > other
