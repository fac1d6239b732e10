"""The command of vocabularies: one data set, several, AnyLoc's recipes, and what is missing."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from ames_lite.cli import build_vocabulary, extract_globals
from ames_lite.cli.build_vocabulary import parse_source
from ames_lite.cli.build_vocabulary import run as run_vocabulary
from ames_lite.cli.compose import compose, options_of
from ames_lite.errors import BadInput, ConfigError, MissingFile
from ames_lite.extraction.backbones import build_backbone
from ames_lite.retrieval.faiss_calls import lloyd
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.fitted import read_vocabulary, read_vocabulary_images
from tests.conftest import TinyWorld
from tests.extraction.test_vocabulary import images, store_of
from tests.helpers import in_process
from tests.retrieval.vlad_referee import published_loop
from tests.stores.files import open_vocabulary, read_globals

RECIPES = [name for name in options_of("recipe") if name != "own"]
VITB = {"backbone": "dinov2", "variant": "vitb14", "facet": "value", "layer": 11}


@pytest.fixture
def root(tiny_world: TinyWorld, tmp_path: Path) -> Path:
    for name in ("synthetic", "synthetic-val", "synthetic-train"):
        (tmp_path / name).mkdir()
        for path in tiny_world.folder(name).glob("*_local.hdf5"):
            shutil.copy(path, tmp_path / name)
    return tmp_path


def test_a_vocabulary_of_one_data_set_is_kmeans_of_its_tokens(root: Path) -> None:
    options = [f"data_root={root}", "dataset=synthetic-train", "num_clusters=16"]
    build_vocabulary.run(compose("build_vocabulary", options))
    path = root / "vlad_sift_synthetic-train.npz"
    store = DescriptorStore.open(root / "synthetic-train" / "sift_local.hdf5")
    descriptors, valid = store.read_descriptors(np.arange(len(store)))
    expected = lloyd(descriptors[valid].astype(np.float32), 16, 0, 20, 1000)
    centroids, made = read_vocabulary(path)
    assert centroids.tobytes() == expected.tobytes()
    assert (made["distance"], made["unit"], made["images"]) == ("euclidean", False, len(store))


def test_several_data_sets_come_with_steps(root: Path) -> None:
    options = [f"data_root={root}", "sources=[synthetic:1,synthetic-val:2]", "split=gallery"]
    options += ["num_clusters=8", "distance=cosine", "unit=true", "sample_per_cluster=0"]
    done = in_process(root, "extract/build_vocabulary.py", *options)
    assert done.returncode == 0, done.stderr
    path = root / "vlad_sift_synthetic+synthetic-val.npz"
    found = open_vocabulary(path)
    assert (found.distance, found.unit, len(found.centroids)) == ("cosine", True, 8)
    one, other = read_vocabulary_images(path)
    store = DescriptorStore.open(root / "synthetic-val" / "sift_gallery_local.hdf5")
    assert (one.dataset, other.dataset, other.step) == ("synthetic", "synthetic-val", 2)
    assert other.names == store.names[::2]


def test_a_size_without_a_recipe_is_refused(tmp_path: Path) -> None:
    options = ["dataset=nardo_air", "size=vitb", f"data_root={tmp_path}"]
    with pytest.raises(ConfigError, match="size=vitb(.|\n)*recipe=anyloc"):
        build_vocabulary.run(compose("build_vocabulary", options))


def test_a_source_is_a_name_and_a_step() -> None:
    assert parse_source("17places:1") == ("17places", 1) and parse_source(7) == ("7", 1)
    for wrong in ("", ":3", "a:0", "a:-1", "a:1.5", "a:b", "a:1:2", {"a": 1}):
        with pytest.raises(ConfigError, match="<data set>:<step>"):
            parse_source(wrong)


def test_unknown_data_sets_come_with_those_that_exist(root: Path) -> None:
    options = [f"data_root={root}", "sources=[synthetic:1,atlantis:2]"]
    with pytest.raises(ConfigError, match="no dataset 'atlantis'") as error:
        run_vocabulary(compose("build_vocabulary", options))
    assert "roxford" in str(error.value)
    done = in_process(root, "extract/build_vocabulary.py", *options)
    assert done.returncode == 1 and "atlantis" in done.stderr and "Traceback" not in done.stderr
    for wrong in (["sources=[gldv2:1,gldv2:2]"], ["split=val"]):
        with pytest.raises(ConfigError):
            run_vocabulary(compose("build_vocabulary", [*options[:1], *wrong]))
    with pytest.raises(ConfigError, match="list"):
        compose("build_vocabulary", ["sources=synthetic:1"])
    with pytest.raises(ConfigError, match="no recipe 'anyloc_moon'"):
        compose("build_vocabulary", ["recipe=anyloc_moon"])


def test_all_missing_stores_are_one_message_with_the_commands_that_make_them(root: Path) -> None:
    config = compose("build_vocabulary", ["recipe=anyloc", "size=vitb", f"data_root={root}"])
    config.sources = ["roxford:1", "rparis:2"]
    with pytest.raises(MissingFile) as error:
        run_vocabulary(config)
    for name in ("roxford", "rparis"):
        assert f"extract/extract_descriptors.py dataset={name}" in str(error.value)
    for part in ("anyloc_vitb_320", "backbone=dinov2_vitb14", "layer=11", "splits=[gallery]"):
        assert str(error.value).count(part) >= 2, part


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("size", ["vitg", "vitb"])
def test_every_recipe_composes_and_so_does_the_extraction_that_it_names(
    name: str, size: str
) -> None:
    config = compose("build_vocabulary", [f"recipe={name}", f"size={size}"])
    plain = compose("build_vocabulary")
    assert plain.expected is None and plain.extraction is None
    assert (config.num_clusters, config.distance, config.unit) == (32, "cosine", True)
    assert [parse_source(text) for text in config.sources] or name == "anyloc"
    given = [f"desc_name={config.stores}", *config.extraction]
    extraction = compose("extract_descriptors", given)
    backbone = build_backbone(extraction.backbone.name, **extraction.backbone.arguments)
    assert (backbone.variant, backbone.facet, backbone.layer) == tuple(config.expected.values())
    pixels = backbone.prepare(np.zeros((480, 640, 3), np.uint8)).shape
    assert pixels == ((308, 308),) and extraction.backbone.arguments["top_k"] == 22 * 22


def test_the_recipes_are_unions_as_published() -> None:
    sources = {name: compose("build_vocabulary", [f"recipe={name}"]).sources for name in RECIPES}
    of = {name.removeprefix("anyloc_"): listed for name, listed in sources.items()}
    assert of["structured"] == of["indoor"] + of["urban"]
    unstructured = of["aerial"] + of["hawkins"] + of["laurel"] + of["eiffel"]
    assert of["unstructured"] == unstructured
    assert of["global"] == of["structured"] + unstructured
    steps = dict(parse_source(text) for text in of["global"])
    assert len(steps) == 12
    assert {name: step for name, step in steps.items() if step > 1} == {"pitts30k": 4, "vpair": 2}


def test_a_recipe_builds_from_stores_of_its_making(root: Path) -> None:
    (root / "roxford5k").mkdir()
    store = root / "roxford5k" / "anyloc_vitb_320_gallery_local.hdf5"
    store_of(store, images(0, 40), VITB)
    options = ["recipe=anyloc", "size=vitb", "dataset=roxford", f"data_root={root}"]
    run_vocabulary(compose("build_vocabulary", [*options, "num_clusters=8"]))
    found = open_vocabulary(root / "vlad_anyloc_vitb_roxford5k.npz")
    assert found.centroids.shape == (8, 6) and (found.distance, found.unit) == ("cosine", True)
    store.unlink()
    store_of(store, images(0, 40), {**VITB, "facet": "key"})
    with pytest.raises(BadInput, match="facet is 'key' .* and 'value' in the recipe"):
        run_vocabulary(compose("build_vocabulary", [*options, "num_clusters=8", "overwrite=true"]))


def test_published_centroids_make_the_published_vlad(root: Path) -> None:
    store = DescriptorStore.open(root / "synthetic" / "sift_gallery_local.hdf5")
    centers = torch.rand(8, store.dim, generator=torch.Generator().manual_seed(0)) / 10
    torch.save(centers, root / "c_centers.pt")
    options = [f"data_root={root}", "dataset=synthetic", "desc_name=sift", "splits=[gallery]"]
    options += ["global=vlad", f"vocabulary={root / 'c_centers.pt'}"]
    extract_globals.run(compose("extract_globals", options))
    found = read_globals(root / "synthetic" / "sift_gallery_vlad.hdf5")[1]
    for row in (0, len(store) - 1):
        tokens = store.read(row).descriptors
        expected = published_loop(tokens, centers.numpy(), lean=False)
        np.testing.assert_allclose(found[row], expected, atol=1e-5)
    torch.save(centers[:, :100], root / "c_centers.pt")
    with pytest.raises(BadInput, match="100") as error:
        extract_globals.run(compose("extract_globals", [*options, "overwrite=true"]))
    assert str(store.dim) in str(error.value) and "c_centers.pt" in str(error.value)
