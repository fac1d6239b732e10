"""The laws of filling a file of global descriptors: blocks equal rows, and a kill costs a block."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import h5py
import numpy as np
import pytest

from ames_lite.errors import BadInput
from ames_lite.stores import hdf5
from ames_lite.stores.row_layout import GLOBAL_SCHEMA
from ames_lite.stores.row_writer import GlobalWriter
from tests.helpers import forked
from tests.stores.files import read_globals

NAMES = tuple(f"{i}.jpg" for i in range(11))
D = 6
FAILED = {"3.jpg": "cut short", "9.jpg": "ü" * 200}


def vectors() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((len(NAMES), D)).astype(np.float32)


def by_rows(path: Path, dtype: str) -> bytes:
    with GlobalWriter(path, NAMES, D, {"layer": 3}, dtype=dtype) as writer:
        for name, vector in zip(NAMES, vectors(), strict=True):
            if name in FAILED:
                writer.mark_failed(name, FAILED[name])
            else:
                writer.append(name, vector)
    return path.read_bytes()


def in_blocks(path: Path, dtype: str, size: int, stop: int = 99, kill: bool = False) -> bytes:
    with GlobalWriter(path, NAMES, D, {"layer": 3}, dtype=dtype, resume=True) as writer:
        for start in range(writer.num_finished, min(stop, len(NAMES)), size):
            names = NAMES[start : start + size]
            failed = {name: why for name, why in FAILED.items() if name in names}
            writer.extend(names, vectors()[start : start + size], failed)
        if kill:
            os.kill(os.getpid(), signal.SIGKILL)
    return path.read_bytes()


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("size", [1, 4, 11])
def test_blocks_write_the_bytes_that_rows_write(tmp_path: Path, dtype: str, size: int) -> None:
    whole = by_rows(tmp_path / "a.hdf5", dtype)
    assert in_blocks(tmp_path / "b.hdf5", dtype, size) == whole
    names, found, _ = read_globals(tmp_path / "b.hdf5")
    assert names == NAMES and found.dtype == dtype
    np.testing.assert_array_equal(found[[0, 10]], vectors()[[0, 10]].astype(dtype))


def test_a_run_that_was_stopped_or_killed_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    whole = by_rows(tmp_path / "a.hdf5", "float32")
    in_blocks(tmp_path / "b.hdf5", "float32", 4, stop=4)
    assert in_blocks(tmp_path / "b.hdf5", "float32", 3) == whole
    path = tmp_path / "c.hdf5"
    ended = forked(lambda: in_blocks(path, "float32", 4, stop=8, kill=True))
    assert ended == -signal.SIGKILL
    with h5py.File(tmp_path / "c.hdf5") as file:
        assert file["status"][:].tolist() == [1, 1, 1, 2, 1, 1, 1, 1, 0, 0, 0]
    assert in_blocks(tmp_path / "c.hdf5", "float32", 4) == whole


@pytest.mark.parametrize("size", [0, 4])
def test_a_block_that_was_being_written_leaves_nothing_behind(tmp_path: Path, size: int) -> None:
    """What a kill between the two flushes leaves: data and reasons of rows that are to do."""
    path = tmp_path / "b.hdf5"
    in_blocks(path, "float32", 2, stop=2)
    with hdf5.open_unfinished(path, GLOBAL_SCHEMA, "r+") as file:
        file["descriptors"][2:9] = 7
        file["reason"][2:9] = b"left behind"
    if size:
        in_blocks(path, "float32", size)
    else:
        with GlobalWriter(path, NAMES, D, {"layer": 3}, resume=True) as writer:
            for name in writer.todo:
                if name in FAILED:
                    writer.mark_failed(name, FAILED[name])
                else:
                    writer.append(name, vectors()[NAMES.index(name)])
    assert path.read_bytes() == by_rows(tmp_path / "a.hdf5", "float32")


def test_a_block_is_flushed_twice(tmp_path: Path, monkeypatch) -> None:
    flushed = []
    real = h5py.File.flush
    with GlobalWriter(tmp_path / "b.hdf5", NAMES, D, {}) as writer:
        monkeypatch.setattr(h5py.File, "flush", lambda file: (flushed.append(1), real(file))[1])
        writer.extend(NAMES[:8], vectors()[:8], {"3.jpg": "why"})
        assert len(flushed) == 2


def test_a_block_that_does_not_fit_is_refused_whole(tmp_path: Path) -> None:
    nan, zero, large = vectors()[:4], vectors()[:4], vectors()[:4]
    nan[2, 1], zero[1], large[1, 1] = np.nan, 0, 1e6
    with GlobalWriter(tmp_path / "b.hdf5", NAMES, D, {}, dtype="float16") as writer:
        for names, block, failed, what in [
            (NAMES[:4], nan, {}, "'2.jpg' are all zeros or not finite"),
            (NAMES[:4], zero, {}, "'1.jpg' are all zeros"),
            (NAMES[:4], large, {}, "'1.jpg'"),  # infinite in float16
            (NAMES[:4], vectors()[:3], {}, r"\[4, 6\]"),
            (NAMES[:4], vectors()[:4, :5], {}, r"\[4, 6\]"),
            (NAMES[1:3], vectors()[:2], {}, "'1.jpg' came for row 0"),
            ((*NAMES, "more"), np.ones((12, D)), {}, "'more' came for row 11"),
            (NAMES[:4], vectors()[:4], {"7.jpg": ""}, "'7.jpg' failed and are not"),
            ((), vectors()[:0], {}, "without rows"),
        ]:
            with pytest.raises(BadInput, match=what):
                writer.extend(names, block, failed)
        assert writer.num_finished == 0
        writer.extend(NAMES[:4], nan, {"2.jpg": "its row is not looked at"})
        assert writer.num_finished == 4 and writer.failed == {"2.jpg": "its row is not looked at"}
