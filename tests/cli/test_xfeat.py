"""XFeat through the commands: a store, and baselines on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ames_lite.cli import evaluate, extract_descriptors, search
from ames_lite.cli.compose import compose
from ames_lite.errors import BadInput, ConfigError
from ames_lite.stores.descriptor_store import DescriptorStore
from tests.conftest import TinyWorld


@pytest.fixture(scope="module")
def root(tiny_world: TinyWorld, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root in which XFeat stores lie beside those of SIFT."""
    root = tmp_path_factory.mktemp("xfeat")
    (root / "synthetic").mkdir()
    for entry in tiny_world.folder().iterdir():
        (root / "synthetic" / entry.name).symlink_to(entry)
    given = ["dataset=synthetic", "backbone=xfeat", "workers=1", "device=cpu"]
    given += ["backbone.arguments.top_k=60", "backbone.arguments.image_size=240"]
    extract_descriptors.run(compose("extract_descriptors", [*given, f"data_root={root}"]))
    return root


def config_of(root: Path, folder: Path, *more: str) -> dict[str, object]:
    given = ["dataset=synthetic", "num_rerank=4", "lamb=0.5", "temp=0.1", "report_queries=0"]
    given += [f"neighbors={root / 'synthetic' / 'nn_sift_vlad.hdf5'}", f"data_root={root}"]
    return compose("evaluate", [*given, f"output_dir={folder}", *more])


def test_the_store_says_what_it_is_of(root: Path) -> None:
    for side in ("query", "gallery"):
        store = DescriptorStore.open(root / "synthetic" / f"xfeat_{side}_local.hdf5")
        assert store.dim == 64 and store.max_count == 60
        assert store.provenance["backbone"] == "xfeat"
        assert store.provenance["precision"] == "fp32, float16 store"
        assert len(store.empty_rows()) == 0


@pytest.mark.parametrize("model", ["mutual_nn", "ransac", "lighterglue"])
def test_baselines_rerank_by_xfeat(model: str, root: Path, tmp_path: Path) -> None:
    config = config_of(root, tmp_path / "run", "desc_name=xfeat", f"model={model}")
    results = evaluate.run(config)
    assert results["model"] == model
    assert 0 < results["rows"][0]["metrics"]["map_medium"] <= 1


def test_lighterglue_refuses_other_descriptors_before_any_scoring(
    root: Path, tmp_path: Path
) -> None:
    config = config_of(root, tmp_path / "run", "desc_name=sift", "model=lighterglue")
    with pytest.raises(BadInput, match="(?s)'xfeat'.*'sift'.*sift_query_local.hdf5.*mutual_nn"):
        evaluate.run(config)
    images = f"images={root / 'synthetic' / 'jpg'}"
    query = f"query={next((root / 'synthetic' / 'jpg').iterdir())}"
    given = [images, query, "model=lighterglue", f"data_root={tmp_path}", "temp=0.1"]
    with pytest.raises(BadInput, match="(?s)'xfeat'.*'sift'.*this run"):
        search.run(compose("search", [*given, "lamb=0.5", "backbone=sift"]))
    with pytest.raises(ConfigError, match="λ and γ are unknown"):
        search.run(compose("search", [*given, "backbone=xfeat"]))
    assert not (tmp_path / "search").exists()
