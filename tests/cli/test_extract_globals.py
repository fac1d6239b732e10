"""The commands of global descriptors, on the tiny world: every kind, whitened, from images."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from ames_lite.cli import (
    build_vocabulary,
    evaluate,
    extract_descriptors,
    extract_globals,
    fit_whitening,
    merge_hdf5,
    prepare_topk_global,
)
from ames_lite.cli.compose import compose
from ames_lite.errors import BadInput, ConfigError, MissingFile
from ames_lite.stores.fitted import read_whitening
from ames_lite.stores.global_store import GlobalStore
from tests.conftest import SIFT, TinyWorld
from tests.helpers import in_process
from tests.stores.files import read_globals


@pytest.fixture
def world(tiny_world: TinyWorld, tmp_path: Path) -> TinyWorld:
    """A copy to write into; its images are linked."""
    for name in ("synthetic", "synthetic-train"):
        (tmp_path / name).mkdir()
        for path in tiny_world.folder(name).iterdir():
            if path.is_file():
                shutil.copy(path, tmp_path / name)
            else:
                os.symlink(path, tmp_path / name / path.name)
    for path in tiny_world.root.glob("*.npz"):
        shutil.copy(path, tmp_path)
    return TinyWorld(tmp_path)


def given(world: TinyWorld, dataset: str = "synthetic") -> list[str]:
    return [f"dataset={dataset}", "desc_name=sift", f"data_root={world.root}"]


@pytest.mark.parametrize("kind", ["gem", "mean"])
def test_every_kind_goes_on_to_neighbours_and_results(world: TinyWorld, kind: str) -> None:
    done = in_process(world.root, "extract/extract_globals.py", *given(world), f"global={kind}")
    assert done.returncode == 0, done.stderr
    path = world.folder() / f"sift_gallery_{kind}.hdf5"
    assert f"gallery: {path}" in done.stdout and "they fit" in done.stdout + done.stderr
    prepare_topk_global.run(compose("prepare_topk_global", [*given(world), f"global={kind}"]))
    options = [*given(world), f"neighbors={kind}", "model=mutual_nn", "num_rerank=5"]
    more = ["lamb=0.5", "temp=0.1", f"output_dir={world.root / 'run'}", "report_queries=0"]
    results = evaluate.run(compose("evaluate", [*options, *more]))
    assert 0 < results["global"]["map"] <= 1


def test_a_whitening_goes_from_the_training_set_to_results(world: TinyWorld) -> None:
    options = [*given(world, "synthetic-train"), "dim=16"]
    done = in_process(world.root, "extract/fit_whitening.py", *options)
    assert done.returncode == 0, done.stderr
    path = world.root / "pca_sift_vlad_synthetic-train.npz"
    names = read_globals(world.folder("synthetic-train") / "sift_vlad.hdf5")[0]
    assert read_whitening(path)[1] == names
    with pytest.raises(MissingFile, match="source=globals global=vlad whitening="):
        prepare_topk_global.run(compose("prepare_topk_global", [*given(world), "global=vladw"]))
    extract_globals.run(compose("extract_globals", [*given(world), f"whitening={path}"]))
    prepare_topk_global.run(compose("prepare_topk_global", [*given(world), "global=vladw"]))
    options = [*given(world), "neighbors=vladw", "model=mutual_nn", "num_rerank=5"]
    more = ["lamb=0.5", "temp=0.1", f"output_dir={world.root / 'run'}", "report_queries=0"]
    assert evaluate.run(compose("evaluate", [*options, *more]))["global"]["map"] > 0
    made = world.folder() / "sift_gallery_vladw.hdf5"
    direct = read_globals(made)
    again = [*given(world), f"whitening={path}", "source=globals", "overwrite=true"]
    extract_globals.run(compose("extract_globals", again))
    found = read_globals(made)
    assert found[1].shape[1] == 16 and found[2] == direct[2]
    np.testing.assert_allclose(found[1], direct[1], atol=1e-5)


def test_a_whitening_of_another_vocabulary_is_refused(world: TinyWorld) -> None:
    train = given(world, "synthetic-train")
    fit_whitening.run(compose("fit_whitening", [*train, "dim=8"]))
    build_vocabulary.run(
        compose("build_vocabulary", [*train, "num_clusters=16", "seed=5", "overwrite=true"])
    )
    path = world.root / "pca_sift_vlad_synthetic-train.npz"
    with pytest.raises(BadInput, match="vocabulary is"):
        extract_globals.run(compose("extract_globals", [*given(world), f"whitening={path}"]))
    assert not (world.folder() / "sift_query_vladw.hdf5").exists()


def test_images_give_what_the_store_gives_where_nothing_was_left_out(world: TinyWorld) -> None:
    """Queries are cropped; of sift, described anew with the same number of keypoints."""
    common = ["global=gem", "overwrite=true"]
    extract_globals.run(compose("extract_globals", [*given(world), *common]))
    paths = [world.folder() / f"sift_{split}_gem.hdf5" for split in ("query", "gallery")]
    before = [read_globals(path) for path in paths]
    more = ["source=images", *SIFT]
    extract_globals.run(compose("extract_globals", [*given(world), *common, *more]))
    for path, (names, through, _) in zip(paths, before, strict=True):
        same, straight, made = read_globals(path)
        assert same == names and (straight * through).sum(axis=1).min() > 1 - 1e-5
        assert made["crop"] == ("query" in path.name) and "float16" not in str(made)


def test_shards_from_images_are_merged(world: TinyWorld) -> None:
    split = ["splits=[gallery]", "global=mean"]
    source = ["source=images", *SIFT]
    extract_globals.run(compose("extract_globals", [*given(world), *split, *source]))
    path = world.folder() / "sift_gallery_mean.hdf5"
    whole = path.read_bytes()
    path.unlink()
    for i in (1, 2, 3):
        shard = [*given(world), *split, *source, f"shard={i}/3"]
        extract_globals.run(compose("extract_globals", shard))
    assert not path.exists()
    merge_hdf5.run(compose("merge_hdf5", [*given(world), *split]))
    assert path.read_bytes() == whole
    (world.folder() / "sift_gallery_mean.2-of-3.hdf5").unlink()
    with pytest.raises(MissingFile, match=r"global=mean splits=\[gallery\] shard=2/3"):
        merge_hdf5.run(compose("merge_hdf5", [*given(world), *split]))
    with pytest.raises(ConfigError, match="how=copy"):
        merge_hdf5.run(compose("merge_hdf5", [*given(world), *split, "how=virtual"]))


def test_all_tokens_of_a_network_become_vlad_without_a_store(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from tests.extraction.test_descriptors import own_set

    own = [*own_set(tmp_path, 9), "desc_name=tiny_random"]
    extraction = ["device=cpu", "backbone.arguments.image_size=[60,80]"]
    extraction += ["backbone.arguments.method=center_crop", "backbone.arguments.facet=value"]
    extract_descriptors.run(compose("extract_descriptors", [*own, *extraction]))
    build_vocabulary.run(
        compose(
            "build_vocabulary",
            ["dataset=folder", "name=own", f"data_root={tmp_path}", *own[-1:], "num_clusters=4"],
        )
    )
    options = [*own, *extraction, "source=images", "backbone.arguments.top_k=0", "dtype=float16"]
    extract_globals.run(compose("extract_globals", options))
    with GlobalStore(tmp_path / "own" / "tiny_random_vlad.hdf5") as store:
        assert (len(store), store.dim, store.dtype) == (9, 4 * 32, np.float16)
        assert store.provenance["image_size"] == [60, 80] and store.provenance["top_k"] == 0
        assert store.provenance["method"] == "center_crop"


def test_what_does_not_exist_is_refused_before_any_work(world: TinyWorld, tmp_path: Path) -> None:
    for options, error, what in [
        (["global=cls"], ConfigError, "a backbone with a vector"),
        (["global=cls", "source=images"], ConfigError, "is no backbone|descriptors alone"),
        (["global=gem", "flip=true"], ConfigError, "flip=true source=store: no image is read"),
        (["global=bow"], ConfigError, "one of vlad, gem, mean"),
        (["source=web"], ConfigError, "one of store, images, network, globals or null"),
        (["source=globals"], ConfigError, "nothing to do"),
        (["whitening=absent.npz"], MissingFile, "absent.npz"),
        (["vocabulary=absent.npz"], MissingFile, "absent.npz"),
        (["desc_name=mine", "source=images", "global=gem"], ConfigError, "mine is no backbone"),
        (["desc_name=mine", "global=gem"], MissingFile, "mine_query_local.hdf5"),
        (["desc_name=mine"], MissingFile, "build_vocabulary.py"),
        (["global=gem", "power=-1"], BadInput, "power"),
        (["soft=often"], BadInput, "often"),
        (["dtype=float64", "global=gem"], ConfigError, "float32 or float16"),
    ]:
        words = [
            o for o in given(world) if o.split("=")[0] not in {x.split("=")[0] for x in options}
        ]
        with pytest.raises(error, match=what):
            extract_globals.run(compose("extract_globals", [*words, *options]))
    assert not list(world.folder().glob("*_gem.hdf5"))
    with pytest.raises(MissingFile, match="splits=.train. global=mean|global=mean splits=.train."):
        given_ = [*given(world, "synthetic-train"), "global=mean"]
        fit_whitening.run(compose("fit_whitening", given_))
