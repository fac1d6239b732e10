"""Reading is measured on a store that is made for it, and leaves nothing behind."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ames_lite.errors import BadInput
from ames_lite.stores.descriptor_store import DescriptorStore
from benchmarks.extraction import reading
from benchmarks.extraction.reading import ReadingSpeed, measure_reading

pytestmark = pytest.mark.slow

SMALL = ReadingSpeed(store_gib=0.002, stored=30, rows=20, count=12, dim=48, repeats=3)


def test_both_sides_read_the_same_bytes(tmp_path: Path) -> None:
    (cell,) = measure_reading(SMALL, tmp_path)
    assert not list(tmp_path.iterdir())
    assert cell["bytes"] == 20 * 12 * 48 * 2 and cell["repeats"] == 3
    assert cell["images"] == int(0.002 * 2**30) // (30 * 48 * 2)
    assert cell["store_bytes"] > cell["images"] * 30 * 48 * 2
    assert set(cell["seconds"]) == set(cell["from_disk"]) == {"project", "memmap"}
    assert all(len(values) == 3 for values in cell["seconds"].values())


def test_memmap_sees_the_rows_of_the_store(tmp_path: Path) -> None:
    path = tmp_path / "store.hdf5"
    reading._write(SMALL, path)
    table, rows = reading._Table(path), np.array([5, 0, SMALL.images - 1, 5])
    with DescriptorStore.open(path) as store:
        expected, valid = store.read_descriptors(rows, 12)
    assert valid.all() and len(np.unique(expected[:, 0], axis=0)) == 3
    np.testing.assert_array_equal(table.read(rows, 12), expected)


def test_other_bytes_are_an_error_and_the_store_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def zeros(self: Any, rows: Any, count: int) -> np.ndarray:
        return np.zeros((len(rows), count, 48), np.float16)

    monkeypatch.setattr(reading._Table, "read", zeros)
    with pytest.raises(RuntimeError, match="read other bytes"):
        measure_reading(SMALL, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_store_that_cannot_be_is_refused_before_it_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for options, message in (
        (ReadingSpeed(stored=3, count=4), "4 descriptors.*3 are stored"),
        (ReadingSpeed(store_gib=0.01), "9 images.*at least the 600"),
        (ReadingSpeed(store_gib=1e7), "are free"),
    ):
        with pytest.raises(BadInput, match=f"(?s){message}"):
            measure_reading(options, tmp_path)
    monkeypatch.delattr(os, "posix_fadvise")
    with pytest.raises(BadInput, match="cannot drop a file from memory"):
        measure_reading(SMALL, tmp_path)
    assert not list(tmp_path.iterdir())
