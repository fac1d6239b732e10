"""What the training's data path delivers from a real store, against the disk's own random reads.

Input: `DataSpeed` and a folder on the disk in question. Output: one JSON-able cell. A store of
noise, its labels and its neighbour lists are written there, and are gone in the end. What is timed
is the sampler and the `BatchLoader` as they come, from drawing triplets to batches in memory, and
nothing is computed of them. The other side reads as many rows of the same file, as many bytes of
each, by the system's own call into buffers that are there already, on one thread and on as many as
the store uses; the quicker of the two counts. Both take turns, other rows every round; before every
work the file is dropped from the system's memory.

The cell: work ("data"), store_bytes, images, stored, descriptors, triplets, steps, dim_in, `bytes`
of a round (each row of a batch counted once), repeats; `seconds` of every round; mib_per_second;
`ratio` (of the loader / of the disk: higher is better); `from_disk` (share of the bytes that the
disk gave; below 1 they were in memory, None where the system does not tell); `peak_memory_mib` of a
process that opens the set and reads a round.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput
from ames_lite.records import Neighbors
from ames_lite.stores import hdf5
from ames_lite.stores.descriptor_store import THREADS, DescriptorStore
from ames_lite.stores.neighbor_lists import open_neighbor_rows, write_neighbors
from ames_lite.stores.row_layout import LOCAL_SCHEMA, free_bytes, num_bytes
from ames_lite.training.dataset import BatchLoader
from ames_lite.training.recipe import Recipe
from ames_lite.training.sampler import TripletSampler
from benchmarks.disk import bytes_from_disk, check_droppable, drop
from benchmarks.made_stores import noise_layout, write_noise
from benchmarks.own_process import peak_of
from benchmarks.timing import middle

LOADER, DISK = "loader", "disk"
A_LANDMARK = 20  # images of a label
Batches = list[npt.NDArray[np.int64]]  # of rows, in the order of the file
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DataSpeed:
    """What to measure."""

    store_gib: float = 20.0  # about; of descriptors
    keep_gib: float = 10.0  # that stay free on the disk
    stored: int = 700  # descriptors of an image in the store
    descriptors: int = 400  # of them that are read
    triplets: int = 200  # of a batch
    steps: int = 3  # batches of a round
    neighbours: int = 300  # of an image
    prefetch: int = 2  # batches that are read ahead
    dim_in: int = 768
    repeats: int = 5
    seed: int = 0
    budget: float = 240.0  # seconds, without the writing; one round is run anyway

    @property
    def images(self) -> int:
        """In the store."""
        return int(self.store_gib * 2**30) // (self.stored * self.dim_in * 2)

    @property
    def read_bytes(self) -> int:
        """Of one image."""
        return self.descriptors * self.dim_in * 2


class Files(NamedTuple):
    """A training set."""

    store: Path
    neighbors: Path


def check_data(options: DataSpeed, folder: Path) -> None:
    """Raise BadInput where the set cannot be made, or pages cannot be dropped."""
    if options.descriptors > options.stored:
        what = f"{options.descriptors} descriptors of an image are to be read"
        raise BadInput(f"{what}, {options.stored} are stored", expected="no more than are stored")
    least = max(4 * A_LANDMARK + options.neighbours, options.triplets)
    if options.images < least:
        raise BadInput(
            f"a store of {options.store_gib} GiB has {options.images} images of {options.stored} "
            f"x {options.dim_in}",
            expected=f"at least {least}: batches of {options.triplets} triplets, lists of "
            f"{options.neighbours} neighbours",
            remedy="a larger store_gib, or less of these",
        )
    check_droppable("Linux, or parts=[step]")
    needed = num_bytes(noise_layout(options.images, options.stored, options.dim_in))
    needed += options.images * options.neighbours * 8
    free = free_bytes(folder / "store.hdf5")
    if needed + options.keep_gib * 2**30 > free:
        raise BadInput(
            f"the training set takes {needed / 2**30:.1f} GiB; {free / 2**30:.1f} are free and "
            f"{options.keep_gib:g} are to stay so",
            where=folder,
            expected="a disk with room for all of it",
            remedy="a smaller store_gib, or scratch= on another disk",
        )


def measure_data(options: DataSpeed, folder: Path) -> list[dict[str, Any]]:
    """The cell. Raises BadInput where the disk is too small."""
    check_data(options, folder)
    with _made(options, folder) as files:
        return [_measure(options, files)]


@contextmanager
def _made(options: DataSpeed, folder: Path) -> Iterator[Files]:
    """The training set, for as long as it is needed."""
    stem = f"benchmark_{os.getpid()}"
    files = Files(folder / f"{stem}_store.hdf5", folder / f"{stem}_neighbors.hdf5")
    try:
        began = time.perf_counter()
        write_noise(files.store, options.images, options.stored, options.dim_in, options.seed)
        with DescriptorStore.open(files.store) as store:
            lists = make_lists(options.images, options.neighbours, options.seed)
            write_neighbors(files.neighbors, lists, store.names, store.names, {})
        size = files.store.stat().st_size / 2**30
        log.info("wrote %.1f GiB in %.0f s", size, time.perf_counter() - began)
        yield files
    finally:
        for path in files:
            path.unlink(missing_ok=True)


def make_lists(images: int, neighbours: int, seed: int) -> Neighbors:
    """Every image's own landmark, as far as it goes, and others, in any order; no image itself."""
    rng = np.random.default_rng(seed)
    rows = np.arange(images, dtype=np.int32)[:, None]
    own = rows // A_LANDMARK * A_LANDMARK + np.arange(A_LANDMARK, dtype=np.int32)
    own = np.where(own == rows, own[:, :1] + A_LANDMARK, own) % images  # not itself
    far = rows + 2 * A_LANDMARK + _steps(rng, images, neighbours)
    ids = np.concatenate([own, far % images], axis=1)[:, :neighbours].astype(np.int32)
    ids = rng.permuted(ids, axis=1)
    sims = -np.sort(-rng.random((images, ids.shape[1]), dtype=np.float32), axis=1)
    return Neighbors(ids, sims, images)


def _steps(rng: np.random.Generator, images: int, neighbours: int) -> npt.NDArray[np.int64]:
    """Distances to others, rising, so that none comes twice and none comes round again."""
    room = images - 4 * A_LANDMARK
    every = max(1, room // neighbours)
    return np.arange(neighbours) * every + rng.integers(0, every, (images, neighbours))


class Set:
    """An opened training set and what is read of it."""

    def __init__(self, options: DataSpeed, files: Files) -> None:
        self.options, self.path = options, files.store
        self.store = DescriptorStore.open(files.store)
        lists = open_neighbor_rows(files.neighbors, self.store.names)
        labels = np.arange(len(self.store)) // A_LANDMARK
        given: dict[str, Any] = {"batch_size": options.triplets, "depth": options.neighbours}
        self.sampler = TripletSampler(lists, labels, seed=options.seed, **given)
        recipe = Recipe(max_count=options.descriptors, min_count=0, seed=options.seed, **given)
        self.loader = BatchLoader(self.store, self.sampler, recipe, prefetch=options.prefetch)

    def steps_of(self, turn: int) -> tuple[int, int]:
        """The first step of a round, and the one after its last."""
        return turn * self.options.steps, (turn + 1) * self.options.steps

    def rows(self, turn: int) -> Batches:
        """The rows that a round reads, batch by batch, in the order of the file."""
        drawn = (self.loader.triplets(step) for step in range(*self.steps_of(turn)))
        pairs = ((t.anchor, np.concatenate([t.positive, t.negative])) for t in drawn)
        return [np.sort(np.concatenate([np.unique(a), np.unique(b)])) for a, b in pairs]

    def others(self, batches: Batches, seed: tuple[int, int]) -> Batches:
        """As many other rows."""
        rng, num = np.random.default_rng((self.options.seed, *seed)), len(self.store)
        return [np.sort(rng.choice(num, len(rows), replace=False)) for rows in batches]

    def load(self, turn: int) -> int:
        """Take the batches of a round; returns how many triplets there were."""
        count = 0
        with closing(self.loader.steps(*self.steps_of(turn))) as steps:
            for _, parts in steps:
                count += sum(len(part.batch.query.descriptors) for part in parts)
        return count

    def close(self) -> None:
        """Let go of the files."""
        self.store.close()


class RawReads:
    """The rows of a store as the disk gives them, on some threads."""

    def __init__(self, path: Path, size: int, threads: int) -> None:
        self.path, self.size, self.threads = path, size, threads
        with hdf5.open_complete(path, LOCAL_SCHEMA) as file:
            descriptors = file["descriptors"]
            assert descriptors.offset is not None
            self.first = descriptors.offset
            self.row_bytes = int(np.prod(descriptors.shape[1:])) * descriptors.dtype.itemsize
        self.buffers = [bytearray(size) for _ in range(threads)]

    def read(self, batches: Batches) -> None:
        """The first `size` bytes of all rows, batch by batch, into the same buffers."""
        handle = os.open(self.path, os.O_RDONLY)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_RANDOM)
        try:
            with ThreadPoolExecutor(self.threads) as pool:
                for rows in batches:
                    shares = [rows[n :: self.threads].tolist() for n in range(self.threads)]
                    list(pool.map(partial(self._read, handle), self.buffers, shares))
        finally:
            os.close(handle)

    def _read(self, handle: int, buffer: bytearray, rows: list[int]) -> None:
        for row in rows:
            left, at = memoryview(buffer), self.first + row * self.row_bytes
            while len(left):
                done = os.preadv(handle, [left], at)
                left, at = left[done:], at + done


def _measure(options: DataSpeed, files: Files) -> dict[str, Any]:
    known, until = Set(options, files), time.perf_counter() + options.budget
    raw = {
        f"{DISK}, {n} thread{'s' * (n > 1)}": RawReads(files.store, options.read_bytes, n)
        for n in dict.fromkeys((1, THREADS))
    }
    names = [LOADER, *raw]
    seconds: dict[str, list[float]] = {name: [] for name in names}
    came: dict[str, list[float]] = {name: [] for name in names}
    sizes: list[int] = []
    for turn in range(options.repeats):
        if turn and time.perf_counter() > until:
            break
        batches = known.rows(turn)
        sizes.append(sum(map(len, batches)) * options.read_bytes)
        works: dict[str, Callable[[], object]] = {LOADER: partial(known.load, turn)}
        for number, name in enumerate(raw):
            works[name] = partial(raw[name].read, known.others(batches, (turn, number)))
        for name in names[:: 1 if turn % 2 == 0 else -1]:
            drop(files.store)
            before, began = bytes_from_disk(), time.perf_counter()
            works[name]()
            seconds[name].append(time.perf_counter() - began)
            after = bytes_from_disk()
            if before is not None and after is not None:
                came[name].append((after - before) / sizes[-1])
    known.close()
    rates = {
        name: middle([size / 2**20 / s for size, s in zip(sizes, times, strict=True)])
        for name, times in seconds.items()
    }
    drop(files.store)
    given = {key: str(path) for key, path in files._asdict().items()}
    return {
        "work": "data",
        "store_bytes": files.store.stat().st_size,
        "images": options.images,
        **{key: getattr(options, key) for key in SAID},
        "bytes": sizes,
        "repeats": len(sizes),
        "seconds": seconds,
        "mib_per_second": rates,
        "ratio": rates[LOADER] / max(rate for name, rate in rates.items() if name != LOADER),
        "from_disk": {name: middle(v) if v else None for name, v in came.items()},
        "peak_memory_mib": peak_of(f"{__name__}:ready", options=asdict(options), **given),
    }


SAID = ("stored", "descriptors", "triplets", "steps", "neighbours", "prefetch", "dim_in")


def ready(options: dict[str, Any], store: str, neighbors: str) -> Callable[[], object]:
    """A round for `own_process`; opening the set is part of it."""
    given, files = DataSpeed(**options), Files(Path(store), Path(neighbors))

    def work() -> int:
        return Set(given, files).load(0)

    return work
