"""The laws of merging global descriptors: shards joined are the unbroken run."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ames_lite.errors import BadInput
from ames_lite.extraction.merging import merge_stores
from ames_lite.stores import merging
from ames_lite.stores.merging import Shard, find_shards, shard_path, shard_rows
from ames_lite.stores.row_writer import GlobalWriter
from tests.stores.files import write_globals

merge_globals = partial(merge_stores, of_globals=True)
NAMES = tuple(f"{i}ü.jpg" for i in range(11))
FAILED = {"3ü.jpg": "cut short", "8ü.jpg": "missing"}
D = 6
VECTORS = np.random.default_rng(0).standard_normal((11, D)).astype(np.float32)


def write(path: Path, names: Sequence[str], dtype: str = "float32", **more: Any) -> Path:
    rows = [NAMES.index(name) if name in NAMES else 0 for name in names]
    failed = {name: why for name, why in FAILED.items() if name in names}
    with GlobalWriter(path, names, D, {"layer": 3, **more}, dtype=dtype) as writer:
        writer.extend(names, VECTORS[rows], failed)
    return path


def sharded(folder: Path, count: int, dtype: str = "float32") -> list[Path]:
    whole = folder / "tiny_gallery_vlad.hdf5"
    for i in range(1, count + 1):
        rows = shard_rows(len(NAMES), Shard(i, count))
        write(shard_path(whole, Shard(i, count)), [NAMES[row] for row in rows], dtype)
    return find_shards(whole)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("run_bytes", [1, 1 << 26])
def test_a_copy_of_all_shards_is_the_unbroken_run_byte_for_byte(
    tmp_path: Path, dtype: str, count: int, run_bytes: int, monkeypatch
) -> None:
    monkeypatch.setattr(merging, "RUN_BYTES", run_bytes)
    whole = write(tmp_path / "whole.hdf5", NAMES, dtype)
    shards = sharded(tmp_path, count, dtype)
    merged = merge_globals(shards[::-1], tmp_path / "merged.hdf5", NAMES)
    assert merged.read_bytes() == whole.read_bytes()


def test_shards_that_are_not_of_one_file_are_refused(tmp_path: Path) -> None:
    first = write(tmp_path / "1.hdf5", NAMES[:5])
    unfinished, published = tmp_path / "4.hdf5", tmp_path / "p.hdf5"
    with GlobalWriter(unfinished, NAMES[5:], D, {"layer": 3}) as writer:
        writer.append(NAMES[5], VECTORS[5])
    with h5py.File(published, "w") as file:
        file["features"] = VECTORS[5:]
    old = write_globals(tmp_path / "old.hdf5", NAMES[5:], VECTORS[5:], {"layer": 3})
    cases = [
        ([first], "no shard holds '5ü.jpg'"),
        ([first, first], "stands where"),
        ([first, write(tmp_path / "3.hdf5", NAMES[4:])], "stands where row 5"),
        ([first, write(tmp_path / "5.hdf5", NAMES[5:], layer=4)], "layer is 3"),
        ([first, write(tmp_path / "6.hdf5", NAMES[5:], "float16")], "dtype is float32"),
        ([first, write(tmp_path / "7.hdf5", [*NAMES[5:], "new"])], "'new' is not in"),
        ([first, write(tmp_path / "8.hdf5", NAMES[:4:-1])], "stands where"),
        ([first, unfinished], "1 of 6 rows are written"),
        ([first, published], "without 'status'"),
        ([first, old], "without 'status'"),
        ([], "no shards"),
    ]
    for sources, match in cases:
        with pytest.raises(BadInput, match=match):
            merge_globals(sources, tmp_path / "merged.hdf5", NAMES)
    assert not (tmp_path / "merged.hdf5").exists()


def test_nothing_is_replaced_unasked(tmp_path: Path) -> None:
    shards = sharded(tmp_path, 2)
    out = merge_globals(shards, tmp_path / "merged.hdf5", NAMES)
    with pytest.raises(BadInput, match="exists already"):
        merge_globals(shards, out, NAMES)
    merge_globals(shards, out, NAMES, overwrite=True)
    with pytest.raises(BadInput, match="one of the shards"):
        merge_globals(shards, shards[0], NAMES, overwrite=True)
