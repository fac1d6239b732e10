"""Laws of checksums: a changed byte is refused when it is read, by the row that it is of."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from ames_lite.errors import BadInput
from ames_lite.stores import checksums
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.global_store import GlobalStore
from ames_lite.stores.merging import join_stores
from ames_lite.stores.neighbor_lists import open_neighbor_rows, read_neighbors, write_neighbors
from tests.fuzz import kinds
from tests.stores.files import write_globals
from tests.stores.test_descriptor_store import create, fill, image


def test_a_checksum_is_xxh3_of_the_bytes() -> None:
    assert checksums.checksum(b"") == 0x2D06800538D394C2  # of the specification, seed 0
    rows = np.arange(12, dtype=np.float32).reshape(3, 4)
    expected = [checksums.checksum(row.tobytes()) for row in rows]
    assert checksums.row_checksums(rows).tolist() == expected
    both = [checksums.checksum(row.tobytes() + bytes([n])) for n, row in enumerate(rows)]
    assert checksums.row_checksums(rows, np.arange(3, dtype=np.uint8)).tolist() == both
    assert checksums.row_checksums(rows[:0]).shape == (0,)


@pytest.mark.parametrize("count", [1, 49, 50, 51, 120])
def test_a_run_has_its_own_checksum(count: int) -> None:
    rows = np.random.default_rng(0).integers(0, 255, (3, count, 2), np.uint8)
    found = checksums.run_checksums(rows)
    assert found.shape == (3, checksums.num_runs(count))
    changed = rows.copy()
    changed[1, -1, 0] ^= 1
    differing = np.argwhere(checksums.run_checksums(changed) != found).tolist()
    assert differing == [[1, checksums.num_runs(count) - 1]]


def change(path: Path, name: str, row: int, at: int = 0) -> None:
    """One bit of a row of a data set."""
    with h5py.File(path) as file:
        part = file[name]
        start = part.id.get_offset() + part.nbytes // len(part) * row + at
    content = bytearray(path.read_bytes())
    content[start] ^= 1
    path.write_bytes(content)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    with create(tmp_path / "store.hdf5") as writer:
        fill(writer)
    return tmp_path / "store.hdf5"


@pytest.mark.parametrize("name", ["descriptors", "xy", "scale", "weight"])
def test_a_changed_row_is_refused_and_the_others_are_read(store: Path, name: str) -> None:
    change(store, name, 1)
    opened = DescriptorStore.open(store)
    opened.read(0)
    with pytest.raises(BadInput, match=f"(?s)'{name}' of row 1 .*was changed.*store.hdf5"):
        opened.read(1)
    opened.read_descriptors([0, 5])
    if name == "descriptors":
        with pytest.raises(BadInput, match="row 1 "):
            opened.read_descriptors([0, 1, 5], 1)


@pytest.mark.parametrize("name", ["status", "count", "size", "name"])
def test_a_changed_column_is_refused_at_opening(store: Path, name: str) -> None:
    change(store, name, 1)
    with pytest.raises(BadInput, match=f"'{name}' was changed"):
        DescriptorStore.open(store).count  # noqa: B018


def test_a_row_is_verified_once_an_open_store(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, hashed = DescriptorStore.open(store), []
    real = checksums.run_checksums
    monkeypatch.setattr(checksums, "run_checksums", lambda rows: hashed.append(1) or real(rows))
    for _ in range(3):
        opened.read_descriptors([1, 2])
    assert len(hashed) == 1
    opened.read_descriptors([0, 1, 2])
    assert len(hashed) == 2


def test_verification_can_be_left_out(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change(store, "descriptors", 1)
    monkeypatch.setenv(checksums.VERIFY, "0")
    found, _ = DescriptorStore.open(store).read_descriptors([1])
    assert (found[0] != image(1).descriptors[0]).any()


def test_a_row_that_was_changed_before_a_run_goes_on_is_found(tmp_path: Path) -> None:
    writer = create(tmp_path / "store.hdf5")
    for row, name in enumerate(writer.todo[:3]):
        writer.append(name, image(row))
    writer.close()
    change(tmp_path / "store.hdf5", "count", 1)
    with pytest.raises(BadInput, match="row 1 was changed"):
        create(tmp_path / "store.hdf5", resume=True)


def test_a_copy_verifies_what_it_copies_and_has_checksums(store: Path, tmp_path: Path) -> None:
    whole = DescriptorStore.open(store)
    copy = join_stores([whole], tmp_path / "copy.hdf5")
    assert copy.read_bytes() == store.read_bytes()
    linked = join_stores([whole], tmp_path / "linked.hdf5", linked=True)
    change(store, "descriptors", 1)
    for damaged in (linked, store):
        with pytest.raises(BadInput, match="row 1 "):
            DescriptorStore.open(damaged).read_descriptors([1])
    with pytest.raises(BadInput, match="row 1 "):
        join_stores([DescriptorStore.open(store)], tmp_path / "again.hdf5")


def test_files_of_older_versions_are_read_and_a_copy_of_one_has_checksums(tmp_path: Path) -> None:
    vectors = kinds.vectors()
    older = GlobalStore(write_globals(tmp_path / "older.hdf5", kinds.NAMES, vectors, {}))
    assert not older.has_checksums
    copy = join_stores([older], tmp_path / "copy.hdf5")
    with GlobalStore(copy) as store:
        assert store.has_checksums
        np.testing.assert_array_equal(store.read(0, 9), vectors)
    change(copy, "descriptors", 3)
    with GlobalStore(copy) as store, pytest.raises(BadInput, match="row 3 "):
        store.read(0, 9)


def test_the_fingerprint_sees_every_row(store: Path) -> None:
    before = DescriptorStore.open(store).fingerprint()
    with create(store.with_name("other.hdf5")) as writer:
        fill(writer)
    assert DescriptorStore.open(store.with_name("other.hdf5")).fingerprint() == before
    change(store, "checksum", 3)
    assert DescriptorStore.open(store).fingerprint() != before


def test_changed_lists_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "nn.hdf5"
    write_neighbors(path, kinds.lists(), kinds.NAMES, kinds.NAMES, {})
    change(path, "sims", 4, at=4 * 4)  # of a neighbour that is not asked for
    with pytest.raises(BadInput, match="list of query 4 was changed"):
        read_neighbors(path, kinds.NAMES, kinds.NAMES, 2)
    rows = open_neighbor_rows(path, kinds.NAMES)
    rows.take(np.array([0, 3]), 2)
    with pytest.raises(BadInput, match="list of query 4 was changed"):
        rows.take(np.array([0, 4]), 2)
