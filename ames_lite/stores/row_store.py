"""Reading files with a row an image: what stores of local and of global descriptors share."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput, MissingFile, require
from ames_lite.io import remedies
from ames_lite.io.provenance import Provenance
from ames_lite.stores import hdf5, virtual
from ames_lite.stores.row_layout import FAILED, Layout, progress

REMEDY = remedies.EXTRACT


class RowStore:
    """A complete file, for reading. May be pickled: another process opens the file by itself.

    path; names: tuple of N; status uint8 [N] (1 done, 2 failed); provenance: flat dict; published:
    whether the file is of a published form; remedy: what makes it.
    """

    schema = ""
    published = False
    names: tuple[str, ...]
    status: npt.NDArray[np.uint8]
    provenance: Provenance
    dim: int
    dtype: np.dtype[Any]
    _data_set = "descriptors"  # what is read by the row

    def __init__(self, path: str | Path, remedy: str = REMEDY) -> None:
        """Raises MissingFile, BadInput."""
        self.path, self.remedy = Path(path).absolute(), remedy
        self._handle: hdf5.File | None = None
        self._pid = os.getpid()
        try:
            self._read_header(self._file())
        except BadInput:
            self.close()
            raise

    def __len__(self) -> int:
        return len(self.names)

    def _read_header(self, file: hdf5.File) -> None:
        raise NotImplementedError

    def layout(self, names: Sequence[str]) -> Layout:
        """The data sets of a native store of these names that is made alike."""
        raise NotImplementedError

    def stored(self, name: str, selection: Any) -> npt.NDArray[Any]:
        """Part of a data set as the file has it; see `row_layout`."""
        return self._file()[name][selection]

    def failed(self, first: int, stop: int) -> dict[int, str]:
        """The rows from first to stop that failed, and why."""
        rows = (first + np.flatnonzero(self.status[first:stop] == FAILED)).tolist()
        return {r: hdf5.decode_names(self.stored("reason", np.s_[r : r + 1]))[0] for r in rows}

    def chunks(self) -> list[virtual.Chunk]:
        """The files that hold the descriptors of a virtual store; none of a plain one."""
        return virtual.chunks_of(self._file()[self._data_set])

    def close(self) -> None:
        """Let go of the file; reading again reopens it."""
        if self._handle is not None:
            self._handle.close()
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
        return hdf5.open_complete(self.path, self.schema, remedy=self.remedy, progress=progress)

    def _refuse_rows(
        self, bad: npt.NDArray[np.bool_], expected: str, **more: npt.NDArray[Any]
    ) -> None:
        """Raise BadInput for the first bad row, with its status and what else there is of it."""
        if bad.any():
            row = int(bad.argmax())
            parts = {"status": self.status, **more}
            listed = ", ".join(f"{name} {values[row].tolist()}" for name, values in parts.items())
            what = f"row {row} ('{self.names[row]}') has {listed}"
            remedy = f"make the store again: {self.remedy}"
            raise BadInput(what, where=self.path, expected=expected, remedy=remedy)


class Watch:
    """Whether the files of stores stay as they are now while they are read.

    HDF5 gives zeros, without an error, beyond the end of a file that became shorter after it was
    opened, and for a chunk file that has gone: `check` after reading.
    """

    def __init__(self, stores: Iterable[RowStore]) -> None:
        self.remedy: dict[Path, str] = {}
        for store in stores:
            for path in (store.path, *(chunk.path for chunk in store.chunks())):
                self.remedy[path] = store.remedy
        self.size = {path: path.stat().st_size for path in self.remedy}

    def check(self) -> None:
        """Raise MissingFile where a file has gone, BadInput where it has another size."""
        expected = "the file as it was when it was opened"
        for path, before in self.size.items():
            kind: type[BadInput | MissingFile] = BadInput
            try:
                now = path.stat().st_size
                what = f"the store had {before} bytes when it was opened and has {now}"
            except FileNotFoundError:
                kind, now, what = MissingFile, None, "the store has gone while it was read"
            remedy = f"bring it back, or make it again: {self.remedy[path]}"
            require(now == before, what, where=path, expected=expected, remedy=remedy, kind=kind)
