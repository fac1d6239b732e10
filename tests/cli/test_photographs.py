"""Real photographs from end to end: sift and a DINOv2, floats and bits, whole and in shards.

Everything goes through the functions of the commands. The DINOv2 has random weights in the original
naming, so its figures mean nothing; that all its files fit together is what is shown.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from ames_lite.cli import (
    build_vocabulary,
    evaluate,
    extract_descriptors,
    extract_globals,
    fit_binarization,
    merge_hdf5,
    prepare_dataset,
    prepare_topk_global,
)
from ames_lite.cli.compose import compose
from ames_lite.extraction.backbones.dinov2 import VARIANTS, original_shapes
from ames_lite.stores.descriptor_store import DescriptorStore
from tests.helpers import main_of, shared_file
from tests.stores.files import read_globals

COUNTS = {"query": 12, "gallery": 16}  # six scenes in two pictures each, and four distractors
Given = Callable[..., list[str]]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of ViT-S/14 with registers, as the original file names them."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, shape in original_shapes(VARIANTS["vits14_reg"]).items():
        one = float("norm" in name and name.endswith("weight"))
        state[name] = one + 0.05 * torch.randn(shape, generator=generator)
    path = tmp_path_factory.mktemp("weights") / "dinov2_vits14_reg4_pretrain.pth"
    torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Given:
    """Overrides for the photographs as a data set; its data root is the first of them."""
    photos, root = shared_file("photos"), tmp_path_factory.mktemp("root")
    header, *lines = (photos / "labels.csv").read_text().splitlines()
    kept = lines[:12] + [line for line in lines if line.endswith("distractor")][:4]
    (root / "labels.csv").write_text("\n".join([header, *kept]))
    labels = f"labels={root / 'labels.csv'}"
    own = ["name=photos", f"data_root={root}"]
    prepare_dataset.run(compose("prepare_dataset", [f"images={photos}", labels, *own]))

    def overrides(desc_name: str, *more: str) -> list[str]:
        return ["dataset=folder", *own, f"desc_name={desc_name}", *more]

    return overrides


def extract(given: Given, weights: Path, desc_name: str, *more: str) -> None:
    photos = shared_file("photos")
    backbone = ["backbone=sift", "backbone.arguments.top_k=60", "backbone.arguments.image_size=240"]
    if not desc_name.startswith("sift"):
        backbone = ["backbone=dinov2_vits14_reg", f"backbone.arguments.weights={weights}"]
        backbone += [f"backbone.arguments.{key}" for key in ("image_size=98", "top_k=40")]
    options = [*backbone, f"images={photos}", "workers=1", "device=cpu", *more]
    extract_descriptors.run(compose("extract_descriptors", given(desc_name, *options)))


def folder(given: Given) -> Path:
    return Path(given("")[2].removeprefix("data_root=")) / "photos"


@pytest.fixture(scope="module")
def described(given: Given, weights: Path) -> Callable[[str], None]:
    """Describes the photographs, once: sift, dinov2, or the bits of one of them (sift_bits)."""

    @cache
    def describe(desc_name: str) -> None:
        kind, _, bits = desc_name.partition("_")
        more = []
        if bits:
            describe(kind)
            fitted = given(kind, "split=gallery", "bits=64", "iterations=5")
            fit_binarization.run(compose("fit_binarization", fitted))
            more = binarized(given, kind)
        extract(given, weights, desc_name, *more)

    return describe


def binarized(given: Given, kind: str) -> list[str]:
    return [f"binarization={folder(given).parent / f'itq_{kind}_photos.npz'}", "outputs=[local]"]


def evaluated(given: Given, desc_name: str, output: Path, *more: str) -> dict[str, float]:
    options = ["model=chamfer", "num_rerank=20", "lamb=0.3", "temp=1.0", "report_queries=0"]
    config = compose("evaluate", given(desc_name, *options, f"output_dir={output}", *more))
    metrics: dict[str, float] = evaluate.run(config)["rows"][0]["metrics"]
    return metrics


@pytest.mark.parametrize("kind", ["sift", pytest.param("dinov2", marks=pytest.mark.slow)])
def test_photographs_go_from_pixels_to_metrics(
    kind: str, given: Given, described: Callable[[str], None], tmp_path: Path
) -> None:
    root = folder(given)
    described(kind)
    for split, count in COUNTS.items():
        store = DescriptorStore.open(root / f"{kind}_{split}_local.hdf5")
        assert len(store) == count and store.count.min() > 0
    how = "cls" if kind == "dinov2" else "vlad"
    if kind == "sift":
        more = ["split=gallery", "num_clusters=8"]
        build_vocabulary.run(compose("build_vocabulary", given(kind, *more)))
        extract_globals.run(compose("extract_globals", given(kind)))
    prepare_topk_global.run(compose("prepare_topk_global", given(kind, f"global={how}")))
    assert main_of("check_store")(given(kind, f"neighbors={how}")) == 0
    floats = evaluated(given, kind, tmp_path / "floats", f"neighbors={how}")
    assert 0 < floats["map@100"] <= 1

    described(f"{kind}_bits")
    packed = DescriptorStore.open(root / f"{kind}_bits_gallery_local.hdf5")
    assert packed.packed and packed.dim == 64
    shutil.copy(root / f"nn_{kind}_{how}.hdf5", root / f"nn_{kind}_bits_{how}.hdf5")
    assert main_of("check_store")(given(f"{kind}_bits", f"neighbors={how}")) == 0
    binary = evaluated(given, f"{kind}_bits", tmp_path / "bits", f"neighbors={how}")
    assert 0 < binary["map@100"] <= 1 and binary != floats


@pytest.mark.parametrize("whole", ["sift", pytest.param("dinov2_bits", marks=pytest.mark.slow)])
def test_shards_of_photographs_join_to_the_whole(
    whole: str, given: Given, weights: Path, described: Callable[[str], None]
) -> None:
    root, parts = folder(given), f"{whole}_parts"
    described(whole)
    more = ["splits=[gallery]", "outputs=[local]"]
    if whole.endswith("_bits"):
        more += binarized(given, whole.removesuffix("_bits"))[:1]
    for part in (2, 3, 1):
        extract(given, weights, parts, *more, f"shard={part}/3")
    path = root / f"{parts}_gallery_local.hdf5"
    wanted = root / f"{whole}_gallery_local.hdf5"
    for how in ("virtual", "copy"):
        options = given(parts, "splits=[gallery]", f"how={how}", "overwrite=true")
        merge_hdf5.run(compose("merge_hdf5", options))
        assert main_of("check_store")([f"store={path}"]) == 0
        one, other = DescriptorStore.open(path), DescriptorStore.open(wanted)
        for name in ("descriptors", "xy", "scale", "weight", "count", "size", "name"):
            np.testing.assert_array_equal(
                one.stored(name, 0, len(one)), other.stored(name, 0, len(other))
            )
        one.close()
    assert path.read_bytes() == wanted.read_bytes()


def test_the_vector_of_a_photograph_is_of_unit_length_and_its_own(
    given: Given, weights: Path, described: Callable[[str], None]
) -> None:
    """That of the gallery comes beside its local descriptors, that of the queries alone."""
    described("dinov2")
    extract(given, weights, "dinov2_cls", "outputs=[global]", "splits=[query]")
    root = folder(given)
    assert not (root / "dinov2_cls_query_local.hdf5").exists()
    names, vectors, made = read_globals(root / "dinov2_gallery_cls.hdf5")
    queries, probes, _ = read_globals(root / "dinov2_cls_query_cls.hdf5")
    assert vectors.shape == (16, 384) and made["variant"] == "vits14_reg"
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    rows = [names.index(name) for name in queries]
    np.testing.assert_allclose(probes, vectors[rows], atol=1e-6)  # the same picture, whole
    apart = np.abs(vectors[:, None] - vectors[None]).max(axis=2) + np.eye(16)
    assert apart.min() > 1e-4
