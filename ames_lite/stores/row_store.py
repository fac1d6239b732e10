"""Files with a row an image, opened for reading, and whether they stay as they are meanwhile."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput, existing_file, require
from ames_lite.io import remedies
from ames_lite.io.provenance import Provenance
from ames_lite.retrieval.product_codes import Codebook
from ames_lite.stores import hdf5, row_layout, storage
from ames_lite.stores.storage import DirectRows, locate

Array = npt.NDArray[Any]
REMEDY = remedies.EXTRACT
TABLE_ROWS = 1 << 16  # of checksums, that are held: about 8 MiB


class RowStore:
    """A complete file, for reading. May be pickled: another process opens the file by itself."""

    schema = hdf5.Schema("")
    published = False  # whether the file is of a published form
    names: tuple[str, ...]  # [N]
    status: npt.NDArray[np.uint8]  # [N], 1 done, 2 failed
    provenance: Provenance
    dim: int
    dtype: np.dtype[Any]
    has_checksums = False  # not of a published form, nor of an older version
    codebook: Codebook | None = None  # of product codes
    _data_set = "descriptors"  # what is read by the row

    def __init__(self, path: str | Path, remedy: str = REMEDY) -> None:
        self.path, self.remedy = Path(path).absolute(), remedy
        self._handle: hdf5.File | None = None
        self._pid = os.getpid()
        self._ways: dict[str, DirectRows | None] = {}
        self._columns: dict[str, int] = {}  # of data sets with checksums
        self._verified: dict[str, npt.NDArray[np.int32]] = {}  # how many of them, by row
        self._table: npt.NDArray[Any] | None = None  # all checksums, where they are held
        try:
            self._read_header(self._file())
        except BadInput:
            self.close()
            raise

    def __len__(self) -> int:
        return len(self.names)

    def _read_header(self, file: hdf5.File) -> None:
        raise NotImplementedError

    def layout(self, names: Sequence[str]) -> row_layout.Layout:
        """The data sets of a native store of these names that is made alike."""
        raise NotImplementedError

    def stored(self, name: str, first: int, stop: int) -> Array:
        """Rows of a data set as the file has them, verified; see `row_layout`."""
        rows = self._read_rows(name, first, stop)
        self._verify(name, first, rows)
        return rows

    def _read_rows(self, name: str, first: int, stop: int, count: int | None = None) -> Array:
        """Rows of a data set; count: their first entries only."""
        direct = self._direct(name)
        if direct is None:
            part = np.s_[first:stop] if count is None else np.s_[first:stop, :count]
            return self._file()[name][part]
        try:
            return direct.read(first, stop, count)
        except OSError as error:
            what = f"'{name}' cannot be read: {error}"
            expected = "the store as it was when it was opened"
            remedy = f"look after the disk, or make the store again: {self.remedy}"
            raise BadInput(what, where=self.path, expected=expected, remedy=remedy) from error

    def _direct(self, name: str) -> DirectRows | None:
        """How a data set is read past HDF5, where it lies in one piece."""
        if name not in self._ways:
            self._ways[name] = locate(self._file()[name])
        return self._ways[name]

    def _verify(self, name: str, first: int, rows: Array) -> None:
        """Raise BadInput where rows, or their first runs, were changed; they are compared once."""
        parts = row_layout.num_parts(name, rows.shape)
        if self._is_verified(name, first, first + len(rows), parts):
            return
        found, column = row_layout.part_checksums(name, rows), self._columns[name]
        table = self._checksums_of(first, first + len(rows))
        changed = (found != table[:, column : column + found.shape[1]]).any(axis=1)
        if changed.any():
            row = first + int(changed.argmax())
            what = f"'{name}' of row {row} ('{self.names[row]}') was changed: another checksum"
            remedy = f"make the store again: {self.remedy}"
            raise BadInput(what, where=self.path, expected="as it was written", remedy=remedy)
        seen = self._verified[name][first : first + len(rows)]
        np.maximum(seen, found.shape[1], out=seen)

    def _checksums_of(self, first: int, stop: int) -> Array:
        """Of rows; all of a store are read at once where they take little."""
        if self._table is None and len(self) <= TABLE_ROWS:
            self._table = self._read_rows("checksum", 0, len(self))
        whole = self._table
        return self._read_rows("checksum", first, stop) if whole is None else whole[first:stop]

    def _is_verified(self, name: str, first: int, stop: int, parts: int) -> bool:
        """Whether so many checksums of each of these rows were compared, or there are none."""
        if name not in self._columns:
            return True
        if name not in self._verified:
            self._verified[name] = np.zeros(len(self), np.int32)
        return bool((self._verified[name][first:stop] >= parts).all())

    def failed(self, first: int, stop: int) -> dict[int, str]:
        """The rows from first to stop that failed, and why."""
        rows = (first + np.flatnonzero(self.status[first:stop] == row_layout.FAILED)).tolist()
        return {row: hdf5.decode_names(self.stored("reason", row, row + 1))[0] for row in rows}

    def chunks(self) -> list[storage.Chunk]:
        """The files that hold the descriptors of a virtual store; none of a plain one."""
        return storage.chunks_of(self._file()[self._data_set])

    def close(self) -> None:
        for opened in (self._handle, *self._ways.values()):
            if opened is not None:
                opened.close()
        self._handle = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_handle": None}

    def _file(self) -> hdf5.File:
        if self._handle is None or self._pid != os.getpid():  # a handle survives no fork
            self._handle, self._pid = self._open_file(), os.getpid()
        return self._handle

    def _open_file(self) -> hdf5.File:
        if self.published:
            return hdf5.open_foreign(self.path, remedy=self.remedy)
        progress = row_layout.progress
        return hdf5.open_complete(self.path, self.schema, remedy=self.remedy, progress=progress)

    def _refuse_rows(self, bad: npt.NDArray[np.bool_], expected: str, **more: Array) -> None:
        """Raise BadInput for the first bad row, with its status and what else there is of it."""
        if bad.any():
            row = int(bad.argmax())
            parts = {"status": self.status, **more}
            listed = ", ".join(f"{name} {values[row].tolist()}" for name, values in parts.items())
            what = f"row {row} ('{self.names[row]}') has {listed}"
            remedy = f"make the store again: {self.remedy}"
            raise BadInput(what, where=self.path, expected=expected, remedy=remedy)


class Watch:
    """Whether the files of stores stay as they are now while they are read: `check` afterwards.
    HDF5 gives zeros, without an error, where a file became shorter meanwhile or a chunk has gone.
    """

    def __init__(self, stores: Iterable[RowStore]) -> None:
        self.remedy: dict[Path, str] = {}
        for store in stores:
            for path in (store.path, *(chunk.path for chunk in store.chunks())):
                existing_file(path, "the store has gone", remedy=store.remedy)
                self.remedy[path] = store.remedy
        self.size = {path: path.stat().st_size for path in self.remedy}

    def check(self) -> None:
        """Raise MissingFile where a file has gone, BadInput where it has another size."""
        expected = "the file as it was when it was opened"
        for path, before in self.size.items():
            remedy = f"bring it back, or make it again: {self.remedy[path]}"
            gone = "the store has gone while it was read"
            now = existing_file(path, gone, expected=expected, remedy=remedy).stat().st_size
            what = f"the store had {before} bytes when it was opened and has {now}"
            require(now == before, what, where=path, expected=expected, remedy=remedy)
