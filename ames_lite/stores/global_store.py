"""Global descriptors on disk: `{desc}_{split}_{kind}.hdf5`, one row per image of a list.

The row of an image that failed holds the constant vector of unit length, so that every row can be
searched. Files of older runs have neither `status` nor `reason`: all their rows are done. Published
files have one data set `features` [N, D] alone: they are read with their image list.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput, require
from ames_lite.io.provenance import ORIGIN
from ames_lite.stores import hdf5, row_layout, storage
from ames_lite.stores.published.store import DATA_SET, is_published
from ames_lite.stores.row_store import REMEDY, RowStore

BLOCK_ROWS = 1 << 15  # checked at a time: the check needs no copy of a large array
Floats = npt.NDArray[np.floating[Any]]


class GlobalStore(RowStore):
    """A complete file of global descriptors; has_status: not of older runs and published ones."""

    schema = row_layout.GLOBAL_SCHEMA

    def __init__(
        self, path: str | Path, *, names: Sequence[str] | None = None, remedy: str = REMEDY
    ) -> None:
        """names: the image list, for a published file; a native one brings its own."""
        self.published = is_published(path, remedy)
        self._data_set = DATA_SET if self.published else "descriptors"
        self._listed = names
        super().__init__(path, remedy)

    def _read_header(self, file: hdf5.File) -> None:
        if self.published and self._listed is None:
            what = "the file is of the published form, without names"
            expected = "a native file, or the image list beside it"
            raise BadInput(what, where=self.path, expected=expected, remedy=self.remedy)
        length = len(self._listed) if self.published and self._listed else None
        kinds = row_layout.GLOBAL_KINDS
        rows = hdf5.dataset(file, self._data_set, (length, None), kinds, spread=True)
        storage.check_stored(rows)
        num, self.dim, self.dtype = len(rows), rows.shape[1], rows.dtype
        require(self.dim, "the descriptors have width 0", where=self.path, expected="[N, D]")
        if self.published:
            self.provenance, names = {"origin": ORIGIN}, self._listed or ()
        else:
            self.provenance = hdf5.read_json(file, "provenance")
            hdf5.dataset(file, "name", (num,), ("text",))
            names = hdf5.decode_names(file.whole("name"))
        self.names = hdf5.check_names(names, f"the name list of {self.path}")
        self.has_status = not self.published and (file.has_checksums or "status" in file)
        self.status = np.full(num, row_layout.DONE, np.uint8)
        if self.has_status:
            hdf5.dataset(file, "status", (num,), ("uint8",))
            hdf5.dataset(file, "reason", (num,), ("text",))
            self.status = file.whole("status")
        self.has_checksums = file.has_checksums
        if file.has_checksums:
            hdf5.dataset(file, "checksum", (num, 3), ("uint64",))
        if file.verifies:
            self._columns = row_layout.checksum_columns(("reason", "descriptors"))
        odd = ~np.isin(self.status, (row_layout.DONE, row_layout.FAILED))
        self._refuse_rows(odd, "1 (done) or 2 (failed) in a complete file")

    def read(self, first: int, stop: int) -> Floats:
        """Descriptors [stop - first, D] as stored. Raises BadInput for NaN and rows of zeros."""
        block = self.rows(first, stop)
        for start in range(0, len(block), BLOCK_ROWS):
            self._check_numbers(block[start : start + BLOCK_ROWS], first + start)
        return block

    def rows(self, first: int, stop: int) -> Floats:
        """As `read`, for numbers that were checked before or are after."""
        return super().stored(self._data_set, first, stop)

    def part(self, rows: slice, columns: slice) -> Floats:
        """Rows and columns as stored, neither verified nor checked."""
        return self._file()[self._data_set][rows, columns]

    def stored(self, name: str, first: int, stop: int) -> npt.NDArray[Any]:
        """Rows of a data set, for copies; a file without `status` failed nowhere."""
        if name == "descriptors":
            return self.read(first, stop)
        if name == "status":
            return self.status[first:stop]
        if not self.has_status:
            return np.zeros(stop - first, "S1")
        return super().stored(name, first, stop)

    def layout(self, names: Sequence[str]) -> row_layout.Layout:
        return row_layout.globals_layout(names, self.dim, self.dtype.name)

    def _check_numbers(self, block: Floats, first: int) -> None:
        bad = ~np.isfinite(block).all(axis=1) | ~block.any(axis=1)
        at = int(bad.argmax())
        found = "has NaN or infinite entries" if block[at].any() else "is all zeros"
        what = f"the descriptor of '{self.names[first + at]}' (row {first + at}) {found}"
        expected = "finite numbers that are not all zero"
        remedy = "extract that image again, or drop it from the list"
        require(not bad.any(), what, where=self.path, expected=expected, remedy=remedy)
