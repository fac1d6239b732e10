"""Data sets whose rows lie in other files, the chunks, or compressed; and rows read directly.

HDF5 reads zeros, without an error, where a chunk file is missing, moved, too short or locked; so
every chunk is looked for and opened here before anything is read.

Compressed are chunks of whole images, about 1 MiB each, by gzip or by filters of hdf5plugin, an
extra, as stores are copied or merged. What lies uncompressed and in one piece is read by the
system's own calls, from several threads at once, as HDF5 lets one in at a time.
"""

import importlib
import math
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ames_lite.errors import UserError, require
from ames_lite.stores import hdf5

REMEDY = "put the chunk files back beside the file, or merge the chunks again"
CHUNK_BYTES = 1 << 20
PLUGINS = {"zstd": "Zstd", "lz4": "LZ4", "blosc": "Blosc"}  # to its class in hdf5plugin
COMPRESSIONS = ("gzip", *PLUGINS)
INSTALL = "pip install hdf5plugin"
Shape = tuple[int, ...]
Dtype = np.dtype[Any]
Array = npt.NDArray[Any]
Seen = dict[tuple[str, str], bool]
LOCK = threading.Lock()  # of files that are opened and closed
DEEP = 8  # chunks that are spread over chunks, at most


class Chunk(NamedTuple):
    """A file whose data set gives `rows` rows from row `start` on: the first, or from a byte on."""

    path: Path
    start: int
    rows: int
    offset: int = 0


def create_virtual(
    file: hdf5.File, path: Path, name: str, shape: Shape, dtype: Dtype, chunks: Sequence[Chunk]
) -> None:
    """A data set `name` [N, ...] in `file` (to be at `path`) over the same one of the chunks. Those
    in or below the folder of `path` are named relative to it, so that it can be moved as a whole.
    """
    virtual = hdf5.VirtualLayout(shape, dtype)
    for chunk in chunks:
        here = (chunk.rows, *shape[1:])
        at, folder = chunk.path.resolve(), path.resolve().parent
        at = at.relative_to(folder) if at.is_relative_to(folder) else at
        source = hdf5.VirtualSource(str(at), name, here, dtype)
        virtual[chunk.start : chunk.start + chunk.rows] = source
    file.inner.create_virtual_dataset(name, virtual)


def check_stored(dataset: hdf5.DataSet) -> None:
    """Raise BadInput where rows would be read as zeros, or cannot be read: no chunk, no filter."""
    faults = source_faults(dataset)
    more = [f"and {len(faults) - 8} more"] if len(faults) > 8 else []
    what = f"'{dataset.name}' is spread over files, and not all of it is there:"
    what = "\n    ".join([what, *faults[:8], *more])
    expected = "every chunk file, whole, where the file names it or beside the file"
    require(not faults, what, where=dataset.path, expected=expected, remedy=REMEDY)
    _check_filters(dataset)


def source_faults(dataset: hdf5.DataSet, seen: Seen | None = None) -> list[str]:
    """Why rows of a virtual data set would be zeros; empty where none would, or it is plain. seen:
    those looked at, True while their sources are: HDF5 would follow a circle until it dies.
    """
    if not dataset.is_virtual:
        return []
    seen, key = {} if seen is None else seen, (os.path.realpath(dataset.path), dataset.name)
    if seen.get(key) or sum(seen.values()) == DEEP or not dataset.shape:
        return [f"'{dataset.name}' of {dataset.path} leads back to itself, or too deep"]
    if key in seen:
        return []
    seen[key] = True
    faults, reached = [], 0
    placed = [(source.placed.rows(dataset.shape), source) for source in dataset.sources()]
    for (rows, whole), source in sorted(placed, key=lambda entry: entry[0][0].start):
        faults += [f"{fault}: {_said(rows)}" for fault in _chunk_faults(source, dataset.path, seen)]
        if whole and rows.start > reached:
            faults.append(f"no chunk holds {_said(slice(reached, rows.start))}")
        reached = max(reached, rows.stop) if whole else reached
    if reached < len(dataset):
        faults.append(f"no chunk holds {_said(slice(reached, len(dataset)))}")
    seen[key] = False
    return faults


def _said(rows: slice) -> str:
    if rows.stop - rows.start == 1:
        return f"row {rows.start} would be zeros"
    return f"rows {rows.start} to {rows.stop - 1} would be zeros"


def chunks_of(dataset: hdf5.DataSet) -> list[Chunk]:
    """The chunk files of a virtual data set that are there; none of a plain one."""
    places = [(source.placed.rows(dataset.shape)[0], source) for source in dataset.sources()]
    found = ((find_chunk(source.file_name, dataset.path), rows) for rows, source in places)
    return [Chunk(path, rows.start, rows.stop - rows.start) for path, rows in found if path]


def find_chunk(name: str, path: Path) -> Path | None:
    """Where HDF5 finds a chunk that the file at `path` calls `name`; None: nowhere."""
    places = [path] if name == "." else _places(name, path)
    return next(filter(Path.is_file, places), None)


def _chunk_faults(source: hdf5.Source, path: Path, seen: Seen) -> list[str]:
    found = find_chunk(source.file_name, path)
    if found is None:
        places = " or ".join(dict.fromkeys(map(str, _places(source.file_name, path))))
        return [f"the chunk '{source.file_name}' is missing ({places})"]
    try:
        with hdf5.open_foreign(found) as file:
            if file.attribute("complete") is not None and not hdf5.is_complete(file):
                return [f"the chunk {found} is not complete"]
            if source.dset_name not in file:
                return [f"the chunk {found} has no data set '{source.dset_name}'"]
            inner = file[source.dset_name]
            if not _holds(inner.shape, source):
                return [f"the chunk {found} is too small, {list(inner.shape)}"]
            return source_faults(inner, seen)
    except UserError as error:
        first = str(error).split("\n")[0]
        return [f"the chunk {found} cannot be read ({first})"]


def _holds(shape: Shape, source: hdf5.Source) -> bool:
    """Whether a chunk of this shape has all that is taken from it."""
    if source.taken is None:  # all of it, whatever its shape was
        return math.prod(shape) == source.placed.points
    last = source.taken.last
    return len(last) == len(shape) and all(at < n for at, n in zip(last, shape, strict=True))


def _places(name: str, path: Path) -> Iterator[Path]:
    """Where HDF5 looks for a chunk, in its order."""
    given, beside = Path(name), path.absolute().parent
    if given.is_absolute():
        yield given
        given = Path(given.name)
    for prefix in filter(None, os.environ.get("HDF5_VDS_PREFIX", "").split(os.pathsep)):
        yield Path(prefix.replace("${ORIGIN}", str(beside))) / given
    yield beside / given
    yield given.absolute()
    yield path.resolve().parent / given


def check_compression(name: str | None) -> None:
    expected = f"one of {', '.join(COMPRESSIONS)}"
    require(name in (None, *COMPRESSIONS), f"compression is '{name}'", expected=expected)
    here = name not in PLUGINS or _plugins() is not None
    require(here, f"compression={name} needs the package hdf5plugin", remedy=INSTALL)


def create_compressed(file: hdf5.File, name: str, shape: Shape, dtype: Dtype, how: str) -> None:
    """An empty compressed data set `name` [N, ...], to be filled in runs of its chunks."""
    options: Any = {"compression": "gzip", "compression_opts": 4}
    if how in PLUGINS:
        options = dict(getattr(_plugins(), PLUGINS[how])())
    chunk = (chunk_rows(shape, dtype), *shape[1:])
    file.inner.create_dataset(name, shape, dtype, chunks=chunk, shuffle=True, **options)


def chunk_rows(shape: Shape, dtype: Dtype) -> int:
    """Rows (images) of a chunk of a data set [N, ...]."""
    row_bytes = max(1, math.prod(shape[1:]) * dtype.itemsize)
    return max(1, min(shape[0], CHUNK_BYTES // row_bytes))


def _check_filters(dataset: hdf5.DataSet) -> None:
    for number, name in dataset.filters():
        known = hdf5.filter_available(number)
        known = known or (_plugins() is not None and hdf5.filter_available(number))
        what = f"'{dataset.name}' is compressed by the filter {name.split(';')[0] or number}"
        expected = "a filter that HDF5 knows here"
        require(known, what, where=dataset.path, expected=expected, remedy=INSTALL)


def _plugins() -> Any:
    """The package, which makes its filters known when imported; None where it is not installed."""
    try:
        return importlib.import_module("hdf5plugin")
    except ImportError:
        return None


class DirectRows:
    """Reads rows [n, count, ...], in the byte order of this machine. May be pickled."""

    def __init__(self, pieces: Sequence[Chunk], row_shape: Shape, dtype: Dtype) -> None:
        self._pieces, self._row_shape, self._dtype = tuple(pieces), row_shape, dtype
        self._starts = [piece.start for piece in pieces]
        self._open: dict[Path, int] = {}

    def read(self, first: int, stop: int, count: int | None = None) -> Array:
        """Rows first to stop, their first `count` entries (None: all). Raises OSError."""
        count = self._row_shape[0] if count is None else count
        out = np.empty((stop - first, count, *self._row_shape[1:]), self._dtype)
        in_one_piece = count == self._row_shape[0]
        row, row_bytes = first, math.prod(self._row_shape) * self._dtype.itemsize
        while row < stop:
            piece = self._pieces[int(np.searchsorted(self._starts, row, side="right")) - 1]
            end = min(stop, piece.start + piece.rows) if in_one_piece else row + 1
            at = piece.offset + (row - piece.start) * row_bytes
            _fill(self._file(piece.path), out[row - first : end - first], at)
            row = end
        return out.astype(self._dtype.newbyteorder("="), copy=False)

    def _file(self, path: Path) -> int:
        with LOCK:
            if path not in self._open:
                self._open[path] = os.open(path, os.O_RDONLY)
                if hasattr(os, "posix_fadvise"):  # what follows a row is of no use
                    os.posix_fadvise(self._open[path], 0, 0, os.POSIX_FADV_RANDOM)
            return self._open[path]

    def close(self) -> None:
        with LOCK:
            for handle in self._open.values():
                os.close(handle)
            self._open = {}

    def __del__(self) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}


def _fill(handle: int, out: Array, at: int) -> None:
    """All bytes of a contiguous array. Raises OSError where the file ends before."""
    buffer = memoryview(out.reshape(-1).view(np.uint8))  # type: ignore[arg-type]
    while len(buffer):
        done = os.preadv(handle, [buffer], at)
        if done == 0:
            raise OSError("the file is shorter than its data set")
        buffer, at = buffer[done:], at + done


def locate(dataset: hdf5.DataSet) -> DirectRows | None:
    """How to read a data set directly, or None."""
    shape, dtype = dataset.shape, dataset.stored_dtype
    if not hasattr(os, "preadv") or len(shape) < 2 or 0 in shape or dtype.hasobject:
        return None
    found = [_piece_of_source(source, dataset) for source in dataset.sources()]
    if not dataset.is_virtual and dataset.offset is not None:
        found = [Chunk(dataset.path.absolute(), 0, len(dataset), dataset.offset)]
    pieces = sorted(filter(None, found), key=lambda piece: piece.start)
    ends = [piece.start + piece.rows for piece in pieces]
    gapless = [piece.start for piece in pieces] + [shape[0]] == [0, *ends]
    return DirectRows(pieces, shape[1:], dtype) if gapless and all(found) else None


def _piece_of_source(source: hdf5.Source, dataset: hdf5.DataSet) -> Chunk | None:
    """The rows that one chunk file gives, where both select whole rows."""
    rows, whole = source.placed.rows(dataset.shape)
    chunk = find_chunk(source.file_name, dataset.path.absolute())
    if not whole or chunk is None:
        return None
    with hdf5.open_foreign(chunk) as file:
        inner = file[source.dset_name]
        same = (inner.shape[1:], inner.stored_dtype) == (dataset.shape[1:], dataset.stored_dtype)
        if not same or inner.is_virtual or inner.offset is None:
            return None
        taken = slice(0, len(inner))
        if source.taken is not None:
            taken, whole = source.taken.rows(inner.shape)
        count, row_bytes = rows.stop - rows.start, math.prod(inner.shape[1:]) * inner.dtype.itemsize
        if not whole or taken.stop - taken.start != count:
            return None
        return Chunk(chunk, rows.start, count, inner.offset + taken.start * row_bytes)
