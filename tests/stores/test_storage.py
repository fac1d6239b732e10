"""The laws of compressed stores: the same rows in less space, and a clear word about filters."""

import importlib.util
from pathlib import Path

import h5py
import numpy as np
import pytest

from ames_lite.errors import BadInput
from ames_lite.stores import storage
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.merging import join_stores
from tests.stores.test_descriptor_store import create, fill

PLUGIN = importlib.util.find_spec("hdf5plugin") is not None


@pytest.fixture
def store(tmp_path: Path) -> DescriptorStore:
    with create(tmp_path / "plain.hdf5") as writer:
        fill(writer)
    return DescriptorStore.open(tmp_path / "plain.hdf5")


@pytest.mark.parametrize("name", storage.COMPRESSIONS)
def test_a_compressed_store_reads_the_same(
    store: DescriptorStore, name: str, tmp_path: Path
) -> None:
    if name in storage.PLUGINS and not PLUGIN:
        pytest.skip("hdf5plugin is not installed")
    path = join_stores([store], tmp_path / "small.hdf5", compression=name)
    small = DescriptorStore.open(path)
    for part in ("descriptors", "xy", "scale", "weight", "name", "reason", "status", "count"):
        np.testing.assert_array_equal(
            small.stored(part, 0, len(small)), store.stored(part, 0, len(store))
        )
    assert small.provenance == store.provenance
    with h5py.File(path) as file:
        assert file["descriptors"].chunks == (
            9,
            *store.stored("descriptors", 0, len(store)).shape[1:],
        )


def test_chunks_are_whole_images_of_about_a_mebibyte() -> None:
    kind = np.dtype(np.float16)
    assert storage.chunk_rows((5000, 600, 768), kind) == 1
    assert storage.chunk_rows((5000, 100, 768), kind) == 6
    assert storage.chunk_rows((3, 100, 768), kind) == 3


def test_a_package_that_is_not_here_is_named_before_the_work(
    store: DescriptorStore, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(storage, "_plugins", lambda: None)
    for name in storage.PLUGINS:
        with pytest.raises(BadInput, match="pip install hdf5plugin"):
            join_stores([store], tmp_path / "small.hdf5", compression=name)
    with pytest.raises(BadInput, match="gzip, zstd"):
        join_stores([store], tmp_path / "small.hdf5", compression="zip")
    assert [path.name for path in tmp_path.iterdir()] == ["plain.hdf5"]


def test_a_filter_that_is_not_here_is_named_at_opening(
    store: DescriptorStore, tmp_path: Path, monkeypatch
) -> None:
    path = join_stores([store], tmp_path / "small.hdf5", compression="gzip")
    monkeypatch.setattr(storage, "_plugins", lambda: None)
    monkeypatch.setattr(storage.hdf5, "filter_available", lambda number: False)
    with pytest.raises(BadInput, match="compressed by the filter") as error:
        DescriptorStore.open(path)
    assert "pip install hdf5plugin" in str(error.value) and str(path) in str(error.value)
