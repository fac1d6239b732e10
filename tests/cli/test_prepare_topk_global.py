"""The commands around stores, on the tiny world: bits, shards joined, lists in both forms."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from ames_lite.cli import merge_hdf5, prepare_topk_global
from ames_lite.cli.compose import compose
from ames_lite.datasets.image_lists import read_image_list
from ames_lite.errors import BadInput, ConfigError, MissingFile, UserError
from ames_lite.retrieval.compressed import IvfPq
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.fitted import read_binarization
from ames_lite.stores.merging import Shard, shard_path, shard_rows
from ames_lite.stores.neighbor_lists import read_neighbors
from tests.conftest import TinyWorld
from tests.helpers import in_process


@pytest.fixture
def world(tiny_world: TinyWorld, tmp_path: Path) -> TinyWorld:
    """A copy without images, to write into."""
    for name in ("synthetic", "synthetic-train"):
        (tmp_path / name).mkdir()
        for path in tiny_world.folder(name).iterdir():
            if path.is_file():
                shutil.copy(path, tmp_path / name)
    return TinyWorld(tmp_path)


def given(world: TinyWorld, dataset: str = "synthetic") -> list[str]:
    return [f"dataset={dataset}", "desc_name=sift", f"data_root={world.root}"]


def split_store(path: Path, parts: int) -> DescriptorStore:
    """Write the shards of a store and take the store itself away; returns it as it was."""
    store = DescriptorStore.open(path.rename(path.with_suffix(".whole")))
    for i in range(1, parts + 1):
        rows = shard_rows(len(store), Shard(i, parts))
        names = [store.names[row] for row in rows]
        size = (store.max_count, store.dim, "float16", store.provenance)
        with DescriptorStore.create(shard_path(path, Shard(i, parts)), names, *size) as shard:
            for row in rows:
                shard.append(store.names[row], store.read(row))
    return store


@pytest.mark.parametrize("how", ["copy", "virtual"])
def test_shards_are_joined(world: TinyWorld, how: str) -> None:
    path = world.folder() / "sift_gallery_local.hdf5"
    whole = split_store(path, 3)
    options = [*given(world), "splits=[gallery]", f"how={how}"]
    merge_hdf5.run(compose("merge_hdf5", options))
    merged = DescriptorStore.open(path)
    assert merged.names == whole.names
    for part in ("descriptors", "weight", "xy", "status"):
        np.testing.assert_array_equal(
            merged.stored(part, 0, len(merged)), whole.stored(part, 0, len(whole))
        )
    if how == "copy":
        assert path.read_bytes() == whole.path.read_bytes()


def test_a_shard_that_is_missing_comes_with_the_command_that_makes_it(world: TinyWorld) -> None:
    path = world.folder() / "sift_gallery_local.hdf5"
    split_store(path, 3)
    shard_path(path, Shard(2, 3)).unlink()
    done = in_process(world.root, "extract/merge_hdf5.py", *given(world), "splits=[gallery]")
    assert done.returncode == 1 and "shard=2/3" in done.stderr and "Traceback" not in done.stderr
    with pytest.raises(MissingFile, match="no shards"):
        merge_hdf5.run(compose("merge_hdf5", given(world)))
    with pytest.raises(ConfigError, match="how=move"):
        merge_hdf5.run(compose("merge_hdf5", [*given(world), "how=move"]))


def test_a_projection_is_fitted_on_the_training_set(world: TinyWorld) -> None:
    options = [*given(world, "synthetic-train"), "bits=64"]
    done = in_process(world.root, "extract/fit_binarization.py", *options)
    assert done.returncode == 0, done.stderr
    projection, made = read_binarization(world.root / "itq_sift_synthetic-train.npz")
    assert projection.shape == (128, 64) and made["backbone"] == "sift"


def test_lists_are_written_and_rewritten_in_both_forms(world: TinyWorld) -> None:
    folder = world.folder()
    native = folder / "nn_sift_vlad.hdf5"
    kept = native.rename(folder / "kept.hdf5")
    prepare_topk_global.run(compose("prepare_topk_global", [*given(world), "form=published"]))
    prepare_topk_global.run(
        compose("prepare_topk_global", [*given(world), f"lists={folder / 'nn_sift_vlad.pkl'}"])
    )
    names = [read_image_list(folder / f"{split}.txt").names for split in ("query", "gallery")]
    files = (kept, native, native.with_suffix(".pkl"))
    a, b, c = (read_neighbors(path, *names) for path in files)
    for other in (b, c):
        np.testing.assert_array_equal(a.ids, other.ids)
        np.testing.assert_array_equal(a.sims, other.sims)
    with pytest.raises(ConfigError, match="form=pickle"):
        prepare_topk_global.run(compose("prepare_topk_global", [*given(world), "form=pickle"]))


def test_a_compressed_index_is_told_its_settings(
    world: TinyWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = []
    monkeypatch.setattr(
        prepare_topk_global, "prepare_topk", lambda *_, **more: told.append(more["index"])
    )
    for words in ([], ["index=ivf_pq"], ["index=ivf_pq", "ivf_pq.nlist=64", "ivf_pq.code_size=32"]):
        prepare_topk_global.run(compose("prepare_topk_global", [*given(world), *words]))
    assert told == [None, IvfPq(), IvfPq(nlist=64, code_size=32)]


@pytest.mark.parametrize(
    "word, kind, message",
    [
        ("index=hnsw", ConfigError, "index=hnsw.*flat or ivf_pq"),
        ("ivf_pq.nlist=many", ConfigError, "ivf_pq.nlist=many.*a whole number or null"),
        ("ivf_pq.nprobe=0", BadInput, "nprobe is 0"),
        ("index=ivf_pq", BadInput, "40 gallery images are too few.*index=flat"),
    ],
)
def test_an_index_that_cannot_be_is_refused(
    word: str, kind: type[UserError], message: str, world: TinyWorld
) -> None:
    words = ["overwrite=true", *({"index=ivf_pq": 0, word: 0} if "hnsw" not in word else [word])]
    with pytest.raises(kind, match=f"(?s){message}"):
        prepare_topk_global.run(compose("prepare_topk_global", [*given(world), *words]))
