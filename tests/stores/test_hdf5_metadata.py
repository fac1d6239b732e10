"""Damaged mappings of virtual data sets, and names, are refused before HDF5 meets them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ames_lite.errors import BadInput
from ames_lite.stores import hdf5
from ames_lite.stores.hdf5_metadata import Read, _lookup3, check_object
from tests.hostile import assert_refused


def of(content: bytes) -> Read:
    return lambda begin, size: content[begin : begin + size]


FORMS: list[Any] = ["earliest", ("v108", "v114"), "latest"]


def write(path: Path, libver: Any = "latest", chunks: int = 3, **how: Any) -> Path:
    """A virtual data set, beside other objects, with more messages than one block takes."""
    layout = h5py.VirtualLayout((chunks, 4), "f4")
    for at in range(chunks):
        with h5py.File(path.with_name(f"chunk{at}.hdf5"), "w") as file:
            file["values"] = np.full((1, 4), at, np.float32)
        layout[at] = h5py.VirtualSource(f"chunk{at}.hdf5", "values", (1, 4))[0]
    with h5py.File(path, "w", libver=libver, **how) as file:
        file["plain"] = np.arange(3)
        made = file.create_virtual_dataset("group/virtual", layout, fillvalue=0)
        for at in range(6):
            made.attrs[f"a{at}"] = np.bytes_("x" * 50)
    return path


def read(path: Path) -> Any:
    with hdf5.open_foreign(path) as file:
        return file["group/virtual"][:].tolist(), file["plain"][:].tolist()


def walked(path: Path) -> list[str]:
    with hdf5.open_foreign(path) as file:
        return list(file.groups("virtual"))


@pytest.mark.parametrize("libver", FORMS, ids=str)
@pytest.mark.parametrize("block", [0, 512])
def test_whole_mappings_are_read(tmp_path: Path, libver: Any, block: int) -> None:
    path = write(tmp_path / "a.hdf5", libver, userblock_size=block)
    assert read(path) == ([[float(at)] * 4 for at in range(3)], [0, 1, 2])


def test_files_that_manage_their_space_are_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.hdf5", "w", libver="latest", fs_strategy="fsm") as file:
        file["a"] = np.arange(3)
    with hdf5.open_foreign(tmp_path / "a.hdf5") as found:
        assert found["a"][:].tolist() == [0, 1, 2]


@pytest.mark.parametrize("libver", FORMS, ids=str)
def test_no_byte_of_a_mapping_can_be_changed(tmp_path: Path, libver: Any) -> None:
    path = write(tmp_path / "a.hdf5", libver)
    with h5py.File(path, "r") as file:
        group = file["group"]
        address = group.id.links.get_info(b"virtual").u
    whole = path.read_bytes()
    heap = whole.index(b"GCOL")
    used = heap + 32 + int.from_bytes(whole[heap + 24 : heap + 32], "little")
    said = set()
    for at in {*range(heap, used)} - {*range(heap + 4, heap + 8), *range(heap + 18, heap + 24)}:
        damaged = bytearray(whole)
        damaged[at] ^= 0xFF
        with pytest.raises(ValueError, match="mapping") as refused:
            check_object(lambda begin, size, now=bytes(damaged): now[begin : begin + size], address)
        said.add(str(refused.value))
    assert len(said) == 4
    check_object(of(whole), address)


@pytest.mark.parametrize(
    "place, put",
    [
        (8, b"\xff" * 8),  # the size of the heap
        (24, b"\xff" * 8),  # that of the mapping, which HDF5 goes back by, for ever
        (24, (-32 % 2**64).to_bytes(8, "little")),
        (-24, b"\xff" * 24),  # of a part, from the end of the mapping
    ],
)
def test_a_damaged_mapping_is_refused_at_once(tmp_path: Path, place: int, put: bytes) -> None:
    path = write(tmp_path / "a.hdf5")
    whole = path.read_bytes()
    heap = whole.index(b"GCOL")
    end = heap + 32 + int.from_bytes(whole[heap + 24 : heap + 32], "little")
    at = heap + place if place > 0 else end + place
    path.write_bytes(whole[:at] + put + whole[at + len(put) :])
    assert "its mapping" in assert_refused(lambda: read(path), path)


def test_a_text_of_any_length_is_not_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file.attrs["schema"] = "x"
    with pytest.raises(BadInput, match="'schema' cannot be used"):
        hdf5.open_foreign(tmp_path / "a.hdf5").attribute("schema")


def test_headers_in_circles_end(tmp_path: Path) -> None:
    again = (0).to_bytes(8, "little") + (64).to_bytes(8, "little")
    header = (
        b"\x01\0\1\0" + bytes(4) + b"\x30\0\0\0" + bytes(4) + b"\x10\0\x10\0" + bytes(4) + again
    )
    check_object(lambda begin, size: header.ljust(64, b"\0")[begin : begin + size], 0)


def test_the_hash_is_the_one_of_hdf5() -> None:
    assert _lookup3(b"Four score and seven years ago") == 0x17770551  # of its author


def test_what_is_no_header_is_left_to_hdf5() -> None:
    for content in (b"", b"OHDR", os.urandom(40).replace(b"\1", b"\2"), b"\x01" * 16):
        check_object(of(content), 0)


@pytest.mark.parametrize("libver", FORMS, ids=str)
def test_names_beyond_the_end_are_refused(tmp_path: Path, libver: Any) -> None:
    path = write(tmp_path / "a.hdf5", libver)
    whole = path.read_bytes()
    heaps = [at for at in range(len(whole)) if whole[at : at + 4] == b"HEAP"]
    assert len(heaps) == (2 if libver == "earliest" else 0)
    for heap in heaps:
        for number in (1 << 40, len(whole)):
            put = number.to_bytes(8, "little")
            path.write_bytes(whole[: heap + 8] + put + whole[heap + 16 :])
            for use in (read, walked):
                assert "its names" in assert_refused(lambda use=use: use(path), path)
