"""Arrays whose headers promise more than the file has are refused before memory is asked for."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ames_lite.io.arrays import read_array, read_npz
from ames_lite.stores.fitted import read_vocabulary, read_vocabulary_images
from ames_lite.stores.published.safe_pickle import read_npy
from tests.fuzz import kinds, other_kinds
from tests.hostile import assert_refused


def header(shape: str, dtype: str = "<f4", version: bytes = b"\1\0") -> bytes:
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY" + version + len(text).to_bytes(2, "little") + text


HEADERS = {
    "far too many": header("(4611686018427387904,)"),
    "too many": header("(1073741824, 2)"),
    "more than fit any number": header("(10000000000000000000000000000000000000000,)"),
    "too wide": header("()", "<U1000000000"),
    "too many of no width": header("(1073741824,)", "<U0"),
    "fewer than none": header("(-1,)"),
    "fewer than none, twice": header("(-1, -65536)"),
    "a header of 4 GiB": b"\x93NUMPY\2\0\xff\xff\xff\xff{",
    "a header beyond the end": b"\x93NUMPY\1\0\xff\xff{",
    "deep": header("(" * 3000 + ")" * 3000),
}


@pytest.mark.parametrize("what", HEADERS)
def test_a_header_that_promises_more_is_refused(tmp_path: Path, what: str) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(HEADERS[what] + bytes(64))
    assert_refused(lambda: read_npy(path), path)
    other_kinds.matrix(tmp_path / "matrix.npy")
    (tmp_path / "matrix.npy").write_bytes(path.read_bytes())
    assert_refused(lambda: other_kinds.read_matrix(tmp_path / "matrix.npy"), tmp_path)


@pytest.mark.parametrize("what", HEADERS)
def test_a_member_that_promises_more_is_refused(tmp_path: Path, what: str) -> None:
    path = tmp_path / "vocabulary.npz"
    kinds.vocabulary(path)
    for damaged in ("centroids", "provenance", "images"):
        with zipfile.ZipFile(path) as whole:
            members = {name: whole.read(name) for name in whole.namelist()}
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
            for name, content in members.items():
                changed = HEADERS[what] + bytes(64) if name == f"{damaged}.npy" else content
                archive.writestr(name, changed)
        read: Any = read_vocabulary_images if damaged == "images" else read_vocabulary
        assert_refused(lambda read=read: read(tmp_path / "a.npz"), tmp_path / "a.npz")


def test_a_number_for_a_text_makes_no_text_of_that_length(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", centroids=kinds.vectors(), provenance=np.array(1 << 33))
    assert_refused(lambda: read_vocabulary(tmp_path / "a.npz"), tmp_path / "a.npz")


EMPTY = np.zeros(0)
ARRAYS: list[Any] = [np.eye(3), np.asfortranarray(np.ones((2, 3))), np.array(["ä", ""]), EMPTY]


@pytest.mark.parametrize("given", ARRAYS, ids=str)
def test_arrays_come_back(tmp_path: Path, given: Any) -> None:
    stream = io.BytesIO()
    np.save(stream, given)
    np.savez_compressed(tmp_path / "a.npz", one=given, other=given[:0])
    for found in (read_array(stream, stream.tell()), read_npz(tmp_path / "a.npz")["one"]):
        assert found.dtype == given.dtype and found.shape == given.shape
        np.testing.assert_array_equal(found, given)
    assert list(read_npz(tmp_path / "a.npz", ["other"])) == ["other"]
    with pytest.raises(ValueError, match="bytes are no"):
        read_array(stream, stream.tell() - 1 if given.size else 0)


def test_the_other_version_of_headers_is_read(tmp_path: Path) -> None:
    """Other programs write it whatever the length; NumPy where 64 KiB do not suffice."""
    with open(tmp_path / "a.npy", "wb") as file:
        np.lib.format.write_array(file, np.eye(3), version=(2, 0))
    np.testing.assert_array_equal(read_npy(tmp_path / "a.npy"), np.eye(3))


def test_an_archive_may_take_what_its_reader_expects(tmp_path: Path) -> None:
    """A matrix of few positives is compressed a thousand times."""
    np.savez_compressed(tmp_path / "a.npz", np.zeros((70, 1_000_000), bool))
    with pytest.raises(ValueError, match="its members take"):
        read_npz(tmp_path / "a.npz")
    assert read_npz(tmp_path / "a.npz", most=8 * 70_000_000)["arr_0"].shape == (70, 1_000_000)
