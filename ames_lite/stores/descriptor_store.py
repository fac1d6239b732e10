"""The store of local descriptors: one HDF5 file.

    with DescriptorStore.create(path, names, 600, 768, "float16", provenance) as store:
        store.append(name, descriptors)      # LocalDescriptors, in the order of names
    store = DescriptorStore.open(path)
    descriptors, valid = store.read_descriptors([7, 3, 7], max_count=400)

Data sets and dtypes: `row_layout`. In every row the strongest come first; what lies beyond
the row's count is padding, whatever its bytes, and `valid` is False there.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput, explained, require
from ames_lite.io.digest import array_digest, file_identity, names_digest
from ames_lite.records import LocalDescriptors
from ames_lite.retrieval.product_codes import VALUES, decode
from ames_lite.retrieval.rows import runs
from ames_lite.stores import checksums, hdf5, row_layout, storage
from ames_lite.stores.row_store import REMEDY, Array, RowStore
from ames_lite.stores.row_writer import DescriptorWriter

RUN_BYTES = 1 << 26  # of consecutive rows, read at a time: bounds the memory beside the result
SHOWN = 5  # names that a message lists
THREADS = 4  # that read at once, where HDF5 is not in between; more wait for each other


class DescriptorStore(RowStore):
    """A complete store of local descriptors, for reading. size: int32 [N, 2] (height, width);
    max_count: K; dim: D (bits where packed). Product codes are decoded as they are read.
    """

    create = DescriptorWriter
    schema = row_layout.LOCAL_SCHEMA

    @classmethod
    def open(cls, path: str | Path, remedy: str = REMEDY) -> "DescriptorStore":
        """The complete store at `path`; remedy: what makes it. Raises MissingFile, BadInput."""
        return cls(path, remedy)

    @cached_property
    def count(self) -> npt.NDArray[np.int32]:
        """Real descriptors of every image, int32 [N]."""
        return self._file().whole("count")

    def empty_rows(self) -> npt.NDArray[np.int64]:
        """Rows of images that were described and have no descriptor, ascending."""
        return np.flatnonzero((self.status == row_layout.DONE) & (self.count == 0))

    @cached_property
    def has_descriptors(self) -> npt.NDArray[np.bool_]:
        """[N], False where an image failed or nothing was found in it."""
        return np.asarray(self.count > 0)

    def reason(self, row: int) -> str:
        """Why a row failed; empty where it did not."""
        self._check_rows(np.asarray([row]))
        return self.failed(row, row + 1).get(row, "")

    def stored_name(self, row: int) -> str:
        return self.names[row]

    def read(self, row: int, max_count: int | None = None) -> LocalDescriptors:
        """All that is stored about one image, or of its strongest max_count descriptors. BadInput
        for a row that failed, and for a store without positions and weights.
        """
        (at,) = self._file_rows(np.asarray([row])).tolist()
        if self.status[row] == row_layout.FAILED:
            what = f"'{self.names[row]}' (row {row}) failed in extraction: {self.reason(row)}"
            remedy = f"mend the image or drop it from the list, then {self.remedy}"
            raise BadInput(what, where=self.path, expected="a row that is done", remedy=remedy)
        descriptors, xy, scale, weight = self._parts(at, self._limit(max_count))
        height, width = self.size[row].tolist()
        where = f"{self.path}, row {row} ('{self.names[row]}')"
        with explained(where=where, remedy=self.remedy):
            found = LocalDescriptors(descriptors, xy, scale, weight, (height, width))
            known, what = found.placed or self.published, "xy has NaN entries"
            require(known, what, expected="finite numbers")
            return found

    def _parts(self, row: int, count: int) -> list[Any]:
        real = min(int(self.count[row]), count)
        parts = [self.stored(name, row, row + 1)[0, :real] for name in row_layout.PER_DESCRIPTOR]
        return [self._decoded(parts[0]), *parts[1:]]

    def _decoded(self, descriptors: Array) -> Array:
        return descriptors if self.codebook is None else decode(self.codebook, descriptors)

    def weights(self, first: int, stop: int) -> npt.NDArray[Any]:
        """[n, K] of rows first to stop of the file, padding among them."""
        return self.stored("weight", first, stop)

    def check_positions(self, rows: Sequence[int] | npt.NDArray[np.integer]) -> None:
        """Raise BadInput where positions of these rows are unknown; native stores have them all."""

    def read_descriptors(
        self, rows: Sequence[int] | npt.NDArray[np.integer], max_count: int | None = None
    ) -> tuple[Array, npt.NDArray[np.bool_]]:
        """Descriptors [n, k, D] (float16; or uint8 [n, k, D/8]) and valid [n, k] of rows [n] in any
        order, repeated or not: each is read once. k = min(max_count, K). BadInput for rows outside.
        """
        rows = self._file_rows(np.asarray(rows))
        k = self._limit(max_count)
        width = self.dim // 8 if self.packed else self.dim
        out = np.empty((len(rows), k, width), self.dtype)
        valid = np.empty((len(rows), k), np.bool_)
        order = np.argsort(rows, kind="stable")
        ordered = rows[order]

        def fill(run: slice) -> None:
            wanted, places = ordered[run], order[run]
            first, stop = int(wanted[0]), int(wanted[-1]) + 1
            block, real = self._block(first, stop, k)
            if len(wanted) != stop - first:  # repeats
                block, real = block[wanted - first], real[wanted - first]
            out[places], valid[places] = block, real

        threads = 1 if self._direct(self._data_set) is None else THREADS
        found = list(runs(ordered, max(1, RUN_BYTES // threads // (k * width * out.itemsize))))
        if threads == 1 or len(found) == 1:
            list(map(fill, found))
        else:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(fill, found))
        return out, valid

    def _block(self, first: int, stop: int, count: int) -> tuple[Array, npt.NDArray[np.bool_]]:
        """Of rows first to stop: the strongest `count` descriptors, and which of them are valid."""
        runs, whole = checksums.num_runs(count), count
        if not self._is_verified("descriptors", first, stop, runs):
            whole = min(self.max_count, checksums.RUN * runs)
        descriptors = self._read_rows("descriptors", first, stop, whole)
        self._verify("descriptors", first, descriptors)
        valid = np.arange(count) < self.count[first:stop, None]
        return self._decoded(descriptors[:, :count]), valid

    def fingerprint(self) -> str:
        """What tells this store from others of its provenance: its checksums, or all its files."""
        if self.has_checksums:
            return array_digest(self.stored("checksum", 0, len(self)))[:32]
        files = [self.path, *(chunk.path for chunk in self.chunks())]
        return names_digest([array_digest(self.size), *map(file_identity, files)])[:32]

    def layout(self, names: Sequence[str]) -> row_layout.Layout:
        code_bytes = 0 if self.codebook is None else len(self.codebook)
        sizes = (self.max_count, self.dim, self.dtype.name)
        return row_layout.store_layout(names, *sizes, code_bytes)

    def _read_header(self, file: hdf5.File) -> None:
        coded = "codebook" in file
        kinds, shape = ("int8",) if coded else ("float16", "uint8"), (None, None, None)
        descriptors = hdf5.dataset(file, "descriptors", shape, kinds, spread=True)
        self.packed: bool = descriptors.dtype == np.uint8
        num, self.max_count, width = (int(length) for length in descriptors.shape)
        self.dim = width * 8 if self.packed else width
        self.dtype, code_bytes = descriptors.dtype, 0
        if coded:
            hdf5.dataset(file, "codebook", (width, VALUES, None), ("float16",))
            book = self.codebook = file.whole("codebook")
            self.dim, self.dtype, code_bytes = width * book.shape[2], book.dtype, width
        sizes = (num, self.max_count, self.dim, self.packed)
        wanted = row_layout.layout(*sizes, code_bytes=code_bytes)
        self.has_checksums = file.has_checksums
        if not file.has_checksums:
            del wanted["checksum"]
        self._columns = row_layout.checksum_columns(wanted) if file.verifies else {}
        row_layout.check_layout(file, wanted)
        for name in row_layout.PER_DESCRIPTOR:
            storage.check_stored(file[name])
        self.names = hdf5.decode_names(file.whole("name"))
        self.size: npt.NDArray[np.int32] = file.whole("size")
        self.status = file.whole("status")
        self.provenance = hdf5.read_json(file, "provenance")
        self._check_rows_are_written()

    def _check_rows_are_written(self) -> None:
        done, failed = self.status == row_layout.DONE, self.status == row_layout.FAILED
        bad = ~(done | failed) | (failed & (self.count != 0))
        bad |= (self.count < 0) | (self.count > self.max_count)
        bad |= done & (self.size < 1).any(axis=1)
        expected = f"status 1 or 2, count 0 to {self.max_count}, sides above 0"
        self._refuse_rows(bad, expected, count=self.count, size=self.size)

    def _limit(self, max_count: int | None) -> int:
        if max_count is None:
            return self.max_count
        require(max_count >= 1, f"{max_count} descriptors were asked for", expected="at least 1")
        return min(max_count, self.max_count)

    def _file_rows(self, rows: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """Rows of the image list as rows of the file."""
        return self._check_rows(rows)

    def _check_rows(self, rows: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        fits = rows.ndim == 1 and (rows.size == 0 or np.issubdtype(rows.dtype, np.integer))
        if fits and (rows.size == 0 or (rows.min() >= 0 and rows.max() < len(self))):
            return rows.astype(np.int64)
        what = f"rows {rows.tolist() if rows.size < 20 else rows} were asked for"
        expected = f"a list of row numbers from 0 to {len(self) - 1}"
        raise BadInput(what, where=self.path, expected=expected)


def say_empty(names: Sequence[str], total: int, what: str = "images") -> str:
    """In words: which of `total` images have no descriptors.

    >>> say_empty(["dark.jpg"], 5)
    '1 of 5 images has no descriptors: dark.jpg'
    """
    have = "has" if len(names) == 1 else "have"
    more = ", …" if len(names) > SHOWN else ""
    return f"{len(names)} of {total} {what} {have} no descriptors: {', '.join(names[:SHOWN])}{more}"
