"""Rows of a data set that lies uncompressed and in one piece, read by the system's own calls: from
several threads at once, as HDF5 lets one in at a time. Other data sets are left to HDF5.
"""

import math
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ames_lite.stores import hdf5
from ames_lite.stores.storage import Chunk, find_chunk

Shape = tuple[int, ...]
LOCK = threading.Lock()  # of files that are opened and closed


class DirectRows:
    """Reads rows [n, count, ...], in the byte order of this machine; dtype: as stored. May be
    pickled; files are opened when they are needed.
    """

    def __init__(self, pieces: Sequence[Chunk], row_shape: Shape, dtype: np.dtype[Any]) -> None:
        self._pieces, self._row_shape, self._dtype = tuple(pieces), row_shape, dtype
        self._starts = [piece.start for piece in pieces]
        self._open: dict[Path, int] = {}

    def read(self, first: int, stop: int, count: int | None = None) -> npt.NDArray[Any]:
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
        """Let go of the files; reading again reopens them."""
        with LOCK:
            for handle in self._open.values():
                os.close(handle)
            self._open = {}

    def __del__(self) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}


def _fill(handle: int, out: npt.NDArray[Any], at: int) -> None:
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
