"""Random images read from a store that is not in memory, against the same bytes by np.memmap.

Input: `ReadingSpeed` and a folder on the disk in question. Output: one JSON-able dict. A store is
written there, and is gone in the end. Before every work its pages are dropped from the system's
cache; both sides read the same rows, other ones every round, and take turns in coming first.

The cell: part, store_bytes, rows, count, dim, `bytes` of the answer, `seconds`, mib_per_second,
`ratio` (seconds of the store / of memmap: lower is better), `from_disk` (share of the bytes that
the disk gave, as the system counts; below 1 the file was not dropped, as on a tmpfs; None where the
system does not tell). What a disk or a hypervisor keeps for itself cannot be dropped.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.hdf5 import open_complete
from ames_lite.stores.row_layout import LOCAL_SCHEMA, announce
from benchmarks.disk import bytes_from_disk, check_droppable, drop
from benchmarks.made_stores import noise_layout, write_noise
from benchmarks.timing import middle

Halves = npt.NDArray[np.float16]


@dataclass(frozen=True)
class ReadingSpeed:
    """What to measure."""

    store_gib: float = 4.0  # about; of descriptors
    stored: int = 700  # descriptors of an image in the store
    rows: int = 600  # images that are read
    count: int = 400  # descriptors of each that are read
    dim: int = 768
    repeats: int = 5
    seed: int = 0
    budget: float = 60.0  # seconds, without the writing; one round is run anyway

    @property
    def images(self) -> int:
        """In the store."""
        return int(self.store_gib * 2**30) // (self.stored * self.dim * 2)


def check_reading(options: ReadingSpeed, folder: Path) -> None:
    """Raise BadInput where the store cannot be made, or pages cannot be dropped."""
    if options.count > options.stored:
        raise BadInput(
            f"{options.count} descriptors of an image are to be read, {options.stored} are stored",
            expected="no more than are stored",
        )
    if options.images < options.rows:
        raise BadInput(
            f"a store of {options.store_gib} GiB has {options.images} images of {options.stored} "
            f"x {options.dim}",
            expected=f"at least the {options.rows} that are read",
            remedy="a larger store_gib, or fewer rows",
        )
    check_droppable("Linux, or parts without read")
    announce(folder / "store.hdf5", noise_layout(options.images, options.stored, options.dim))


def measure_reading(options: ReadingSpeed, folder: Path) -> list[dict[str, Any]]:
    """The cell. Raises BadInput where the disk is too small, RuntimeError for other bytes."""
    check_reading(options, folder)
    path = folder / f"benchmark_store_{os.getpid()}.hdf5"
    try:
        _write(options, path)
        return [_measure(options, path)]
    finally:
        path.unlink(missing_ok=True)


def _write(options: ReadingSpeed, path: Path) -> None:
    o = options
    write_noise(path, o.images, o.stored, o.dim, o.seed)


def _measure(options: ReadingSpeed, path: Path) -> dict[str, Any]:
    o, rng = options, np.random.default_rng(options.seed)
    until = time.perf_counter() + o.budget
    store, table = DescriptorStore.open(path), _Table(path)
    reads: dict[str, Callable[[npt.NDArray[np.int64]], Halves]] = {
        "project": lambda rows: store.read_descriptors(rows, o.count)[0],
        "memmap": lambda rows: table.read(rows, o.count),
    }
    seconds: dict[str, list[float]] = {what: [] for what in reads}
    came: dict[str, list[float]] = {what: [] for what in reads}
    expected = o.rows * o.count * o.dim * 2
    for turn in range(o.repeats):
        if turn and time.perf_counter() > until:
            break
        rows = rng.choice(o.images, o.rows, replace=False)
        found = {}
        for what in list(reads)[:: 1 if turn % 2 == 0 else -1]:
            drop(path)
            before, began = bytes_from_disk(), time.perf_counter()
            found[what] = reads[what](rows)
            seconds[what].append(time.perf_counter() - began)
            after = bytes_from_disk()
            if before is not None and after is not None:
                came[what].append((after - before) / expected)
        if not np.array_equal(found["project"].view(np.uint16), found["memmap"].view(np.uint16)):
            raise RuntimeError(f"{path}: the store and np.memmap read other bytes")
    store.close()
    medians = {what: middle(values) for what, values in seconds.items()}
    return {
        "part": "read",
        "device": "cpu",
        "store_bytes": path.stat().st_size,
        "images": o.images,
        "stored": o.stored,
        "rows": o.rows,
        "count": o.count,
        "dim": o.dim,
        "bytes": expected,
        "repeats": len(seconds["memmap"]),
        "seconds": seconds,
        "mib_per_second": {what: expected / 2**20 / value for what, value in medians.items()},
        "ratio": medians["project"] / medians["memmap"],
        "from_disk": {what: middle(values) if values else None for what, values in came.items()},
    }


class _Table:
    """The descriptors of a store as np.memmap sees them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with open_complete(path, LOCAL_SCHEMA) as file:
            descriptors = file["descriptors"]
            assert descriptors.offset is not None
            self.shape, self.offset = descriptors.shape, descriptors.offset

    def read(self, rows: npt.NDArray[Any], count: int) -> Halves:
        """[n, count, D]; mapped anew, because pages in use are not dropped."""
        table = np.memmap(self.path, np.float16, "r", self.offset, self.shape)
        return np.array(table[rows, :count])
