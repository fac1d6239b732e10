"""What is read past HDF5 is what HDF5 reads, from any process and any number of threads."""

from __future__ import annotations

import multiprocessing
import os
import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest

from ames_lite.errors import BadInput
from ames_lite.extraction.merging import merge_stores
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.hdf5 import open_foreign
from ames_lite.stores.published.store import DATA_SET, PublishedStore, open_store
from ames_lite.stores.row_layout import BY_ROW
from ames_lite.stores.storage import locate
from tests.stores.published.forms import FORMS, VIRTUAL, images_for, write_published
from tests.stores.test_descriptor_store import NAMES, K, create, fill, image

LISTED = tuple(map(str, range(9)))
ROWS = np.array([7, 3, 3, 0, 8, 1, 7, 2, 5, 6])


def slowly(store: DescriptorStore) -> DescriptorStore:
    """The same store, read by HDF5 alone."""
    store._ways = dict.fromkeys((*BY_ROW, "checksum", DATA_SET))
    return store


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("count", [1, 3, K, None])
def test_native_rows_are_those_of_hdf5(packed: bool, count: int | None, tmp_path: Path) -> None:
    path = tmp_path / "store.hdf5"
    with create(path, packed) as writer:
        fill(writer, packed)
    fast, slow = DescriptorStore.open(path), slowly(DescriptorStore.open(path))
    assert fast._direct("descriptors") is not None and slow._direct("descriptors") is None
    for rows in (ROWS, np.arange(9), np.array([4])):
        for a, b in zip(
            fast.read_descriptors(rows, count), slow.read_descriptors(rows, count), strict=True
        ):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)
    stored = fast.read_descriptors([5], count)[0][0]
    np.testing.assert_array_equal(stored, image(5, packed).descriptors[:count])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("chunks", [0, 3])
def test_published_rows_are_those_of_hdf5(form: str, chunks: int, tmp_path: Path) -> None:
    if chunks and form not in VIRTUAL:
        pytest.skip("not written as virtual")
    path = write_published(tmp_path / "store.hdf5", images_for(form), form, chunks)
    fast = open_store(path, LISTED)
    slow = slowly(open_store(path, LISTED))
    assert isinstance(fast, PublishedStore)
    if form.startswith("flat") or form == "bits":
        assert fast._direct(DATA_SET) is not None
    rows = np.array([7, 3, 3, 0, 8, 1])
    for count in (2, None):
        for a, b in zip(
            fast.read_descriptors(rows, count), slow.read_descriptors(rows, count), strict=True
        ):
            np.testing.assert_array_equal(a, b)


def test_merged_chunks_are_read_where_they_lie(tmp_path: Path) -> None:
    parts = []
    for number, rows in enumerate(np.array_split(np.arange(9), 2)):
        names = tuple(NAMES[row] for row in rows)
        path = tmp_path / f"store.{number + 1}-of-2.hdf5"
        with DescriptorStore.create(path, names, K, 16, "float16", {}) as writer:
            for row in rows:
                writer.append(NAMES[row], image(int(row)))
        parts.append(path)
    whole = merge_stores(parts, tmp_path / "store.hdf5", NAMES, how="virtual")
    fast, slow = DescriptorStore.open(whole), slowly(DescriptorStore.open(whole))
    direct = fast._direct("descriptors")
    assert direct is not None and len(direct._pieces) == 2
    for a, b in zip(fast.read_descriptors(ROWS, 3), slow.read_descriptors(ROWS, 3), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("how", [{"chunks": (2, 4, 3)}, {"compression": "gzip"}])
def test_what_does_not_lie_in_one_piece_is_left_to_hdf5(
    how: dict[str, object], tmp_path: Path
) -> None:
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file.create_dataset("x", data=np.ones((8, 4, 3), np.float16), **how)
    with open_foreign(tmp_path / "a.hdf5") as file:
        assert locate(file["x"]) is None
    with h5py.File(tmp_path / "b.hdf5", "w") as file:
        layout = h5py.VirtualLayout((16, 4, 3), np.float16)
        for first in (0, 8):
            layout[first : first + 8] = h5py.VirtualSource("a.hdf5", "x", (8, 4, 3), np.float16)
        file.create_virtual_dataset("x", layout)
    with open_foreign(tmp_path / "b.hdf5") as file:
        assert locate(file["x"]) is None


def test_a_part_of_a_chunk_may_be_taken(tmp_path: Path) -> None:
    values = np.arange(96, dtype=np.float16).reshape(8, 4, 3)
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["x"] = values
    with h5py.File(tmp_path / "b.hdf5", "w") as file:
        layout = h5py.VirtualLayout((5, 4, 3), np.float16)
        source = h5py.VirtualSource("a.hdf5", "x", (8, 4, 3), np.float16)
        layout[0:3], layout[3:5] = source[5:8], source[0:2]
        file.create_virtual_dataset("x", layout)
    with open_foreign(tmp_path / "b.hdf5") as file:
        direct = locate(file["x"])
        assert direct is not None
        for count in (2, 4):
            np.testing.assert_array_equal(direct.read(1, 5, count), file["x"][1:5, :count])


def read_elsewhere(data: bytes) -> tuple[object, ...]:
    store = pickle.loads(data)  # noqa: S301 as multiprocessing does it
    return store.read_descriptors(ROWS, 3)


@pytest.mark.parametrize("method, packed", [("forkserver", True), ("fork", False)])
def test_another_process_opens_the_files_by_itself(
    method: str, packed: bool, tmp_path: Path
) -> None:
    path = tmp_path / "store.hdf5"
    with create(path, packed) as writer:
        fill(writer, packed)
    store = DescriptorStore.open(path)
    expected = store.read_descriptors(ROWS, 3)  # the files are open
    with multiprocessing.get_context(method).Pool(1) as pool:
        found = pool.apply(read_elsewhere, (pickle.dumps(store),))
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(store.read_descriptors(ROWS, 3)[0], expected[0])


def test_a_file_that_is_cut_short_or_gone_is_one_message(tmp_path: Path) -> None:
    path = tmp_path / "store.hdf5"
    with create(path) as writer:
        fill(writer)
    store = DescriptorStore.open(path)
    direct = store._direct("descriptors")
    assert direct is not None
    os.truncate(path, direct._pieces[0].offset + 10)
    with pytest.raises(BadInput, match="cannot be read"):
        store.read_descriptors([1])
    direct.close()
    path.unlink()
    with pytest.raises(BadInput, match="cannot be read"):
        store.read_descriptors([1])


def test_closing_lets_go_and_reading_reopens(tmp_path: Path) -> None:
    path = tmp_path / "store.hdf5"
    with create(path) as writer:
        fill(writer)
    store = DescriptorStore.open(path)
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    for _ in range(5):
        expected = store.read_descriptors(ROWS, 3)[0]
        store.close()
    if before:
        assert len(os.listdir("/proc/self/fd")) <= before
    np.testing.assert_array_equal(store.read_descriptors(ROWS, 3)[0], expected)
