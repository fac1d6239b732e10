"""Filling stores, row by row in the order of a list of images; resumable.

A row counts when its status is set, after its data are with the operating system. So a process may
be killed at any moment; what `resume=True` then makes equals an unbroken run byte for byte.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import Any, Self, TypedDict, Unpack

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput, require
from ames_lite.io import writing
from ames_lite.io.digest import array_digest
from ames_lite.io.provenance import Made, check_provenance, compare_provenance
from ames_lite.records import LocalDescriptors
from ames_lite.retrieval.product_codes import Codebook, encode
from ames_lite.stores import hdf5, row_layout
from ames_lite.stores.row_layout import Layout

Names = Sequence[str]
Floats = npt.NDArray[np.floating[Any]]
Failed = Mapping[str, str]
NONE: Failed = {}
BEGIN_ANEW = "or begin anew with overwrite=True"
ANEW = "begin anew: overwrite=True"


class Begin(TypedDict, total=False):
    """How a file at a path is begun. Raises BadInput where it is there and neither is given."""

    resume: bool  # continue at `todo`: the same names, sizes and provenance are demanded
    overwrite: bool  # begin anew


def as_reason(text: str) -> bytes:
    """Why an image failed, as the data set `reason` takes it: what fits of it, in UTF-8."""
    kept = text.replace("\0", " ").encode("utf-8", "replace")[: row_layout.REASON_BYTES]
    return kept.decode("utf-8", "ignore").encode("utf-8")


class RowWriter:
    """A file being filled, one row an image; used as a context manager: it is marked complete when
    the block ends without an exception and every row is done or failed, else stays unfinished.
    """

    schema = hdf5.Schema("")
    _remedy: str | None = None  # of what does not fit
    _failed_entry = 0.0  # of the descriptors of an image that failed
    codebook: Codebook | None = None  # of descriptors that are kept as product codes

    def __init__(
        self,
        path: str | Path,
        names: Names,
        wanted: Layout,
        made: Made,
        *,
        resume: bool = False,
        overwrite: bool = False,
    ) -> None:
        """names: unique; wanted: all data sets, each with a row an image; made: the provenance. Of
        a complete file nothing is to do. BadInput also where the disk is too small for it.
        """
        self.path, self.names, self._layout = Path(path).absolute(), tuple(names), wanted
        self.provenance = check_provenance(made)
        self.resumed = resume and not overwrite and self.path.exists()
        if not self.resumed:
            self._begin(overwrite)
        self._file = hdf5.open_to_fill(self.path, self.schema)
        with hdf5.closed_on_error(self._file):
            if not self._file.has_checksums:  # complete, of an older version
                self._layout = {name: wanted[name] for name in wanted.keys() - {"checksum"}}
            self._check_same_store()  # another process may have replaced it just now
            self._sets = {name: self._file[name] for name in self._layout}
            self._next = self._first_todo()

    @property
    def num_finished(self) -> int:
        """Rows that are done or failed; the next call is for names[num_finished]."""
        return self._next

    @property
    def todo(self) -> tuple[str, ...]:
        return self.names[self._next :]

    @property
    def failed(self) -> dict[str, str]:
        rows = np.flatnonzero(self._sets["status"][:] == row_layout.FAILED)
        reasons = hdf5.decode_names(self._sets["reason"][:][rows])
        return {self.names[row]: why for row, why in zip(rows, reasons, strict=True)}

    def mark_failed(self, name: str, reason: str) -> None:
        """Give the next row to an image that failed: its reason, of which 160 bytes are kept."""
        first, rows = self._expect([name]), self._blank(1, row_layout.FAILED)
        rows["reason"][0] = as_reason(reason)
        self._write(first, rows)

    def close(self) -> None:
        self._close(finished=self._next == len(self.names))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._close(finished=kind is None and self._next == len(self.names))

    def _close(self, finished: bool) -> None:
        if not self._file:
            return
        with self._writing():
            if finished and not hdf5.is_complete(self._file):
                hdf5.mark_complete(self._file, row_layout.small_of(self._layout))
            self._file.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with writing.explain_write_errors(self.path, "continue with resume=True"):
            try:
                with hdf5.write_errors():
                    yield
            except (OSError, BadInput):  # from here on nothing is written: a later row must not be
                hdf5.abandon(self._file)
                raise

    def _begin(self, overwrite: bool) -> None:
        """Put an empty store in place, whole: it is renamed only when it is laid out."""
        free, what = overwrite or not self.path.exists(), "the store exists already"
        remedy = f"continue an unfinished store with resume=True, {BEGIN_ANEW}"
        require(free, what, where=self.path, expected="a path that is free", remedy=remedy)
        encoded = hdf5.encode_names(self.names)
        row_layout.require_room(self.path, self._layout)
        kind, small = (self.path, self.schema, self.provenance), row_layout.small_of(self._layout)
        with hdf5.new_file(*kind, overwrite=overwrite, complete=False, small=small) as file:
            for name, (shape, dtype) in self._layout.items():
                hdf5.create_contiguous(file, name, shape, dtype)
            file["name"][:] = encoded
            if self.codebook is not None:
                file["codebook"][:] = self.codebook

    def _check_same_store(self) -> None:
        stored = hdf5.dataset(self._file, "name", (None,), ("text",))[:]
        found, given = hdf5.decode_names(stored), self.names
        for row, (there, here) in enumerate(zip_longest(found, given)):
            if there != here:
                what = f"the store was begun with {len(found)} names, this list has {len(given)}"
                what += f"; row {row} is {there!r} there and {here!r} here"
                expected = "the image list that the store was begun with"
                remedy = f"resume with that list, {BEGIN_ANEW}"
                raise BadInput(what, where=self.path, expected=expected, remedy=remedy)
        made, files = hdf5.read_json(self._file, "provenance"), (self.path, "this run")
        remedy = f"resume with the settings of the first run, {BEGIN_ANEW}"
        compare_provenance(made, self.provenance, files=files, remedy=remedy)
        row_layout.check_layout(self._file, self._layout)

    def _first_todo(self) -> int:
        heads = {name: values[:] for name, values in self._sets.items() if name in row_layout.HEAD}
        todo = heads["status"] == row_layout.TODO
        finished, first = int((~todo).sum()), int(todo.argmax())
        what = f"row {first} is to do although later rows are done"
        fine, expected = not todo[:finished].any(), "rows filled in order"
        require(fine, what, where=self.path, expected=expected, remedy=ANEW)
        if self._file.has_checksums:
            changed = row_layout.head_checksums(heads) != self._sets["checksum"][:, :1]
            row = int(changed[:finished].argmax()) if finished else 0
            what = f"row {row} was changed after it was written: its checksum is another"
            require(not changed[:finished].any(), what, where=self.path, remedy=ANEW)
        return finished

    def _expect(self, names: Sequence[str]) -> int:
        """The row of the first. Raises BadInput where the names are not the next of the list."""
        due = self.names[self._next : self._next + len(names)]
        remedy = "append in the order of the list; mark an image that fails as failed"
        for row, (name, wanted) in enumerate(zip_longest(names, due), self._next):
            what = f"'{name}' came for row {row} of {len(self.names)}"
            expected = f"'{wanted}', the next of the list" if wanted else "no more rows"
            require(name == wanted, what, where=self.path, expected=expected, remedy=remedy)
        return self._next

    def _fit(self, fine: object, name: str, what: str, expected: str) -> None:
        what = f"the descriptors of '{name}' {what}"
        require(fine, what, where=self.path, expected=expected, remedy=self._remedy)

    def _write(self, first: int, rows: Mapping[str, npt.NDArray[Any]]) -> None:
        """Whole rows [n, ...] of all data sets but name and checksum, from row `first` on."""
        at = slice(first, first + len(rows["status"]))
        with self._writing():
            for name, values in {**rows, "checksum": row_layout.checksum_table(rows)}.items():
                if name != "status":
                    self._sets[name][at] = values
            self._finish(at, rows["status"])

    def _finish(self, rows: slice, status: npt.NDArray[np.uint8]) -> None:
        # what is not flushed is lost at a kill; a status must never outlive its row
        self._file.flush()
        self._sets["status"][rows] = status
        self._file.flush()
        self._next = rows.stop

    def _blank(self, num: int, status: int = row_layout.DONE) -> dict[str, npt.NDArray[Any]]:
        """Rows [num, ...] for `_write`, of images that failed but for their status."""
        others = (*row_layout.AT_ONCE, "checksum")
        wanted = [(name, *one) for name, one in self._layout.items() if name not in others]
        rows = {name: np.zeros((num, *shape[1:]), kind) for name, shape, kind in wanted}
        rows["status"][:], rows["descriptors"][:] = status, self._failed_entry
        return rows


class DescriptorWriter(RowWriter):
    """A store of local descriptors being filled; `DescriptorStore.create`. A context manager."""

    schema = row_layout.LOCAL_SCHEMA
    _remedy = "keep the first by .strongest(count), or create the store to fit"

    def __init__(
        self,
        path: str | Path,
        names: Names,
        max_count: int,  # K, descriptors per image at most
        dim: int,  # D (bits where packed)
        dtype: str,  # "float16", or "uint8" for packed bits
        provenance: Made,
        *,
        codebook: Codebook | None = None,  # float16 is kept as its product codes
        **begin: Unpack[Begin],
    ) -> None:
        """Raises BadInput for bad sizes or names; see `Begin`."""
        names = hdf5.check_names(names, "the image list")
        code_bytes = 0 if codebook is None else len(codebook)
        wanted = row_layout.store_layout(names, max_count, dim, dtype, code_bytes)
        if codebook is not None:
            of_codes = {"codebook": array_digest(codebook), "code_bytes": code_bytes}
            provenance, self.codebook = {**provenance, **of_codes}, codebook
        self.max_count, self.dim, self.packed = max_count, dim, dtype == "uint8"
        super().__init__(path, names, wanted, provenance, **begin)

    def append(self, name: str, descriptors: LocalDescriptors) -> None:
        """Write the next row; float32 descriptors are rounded to float16. BadInput where it is not
        the next, does not fit, or the disk refuses: it stays to do.
        """
        first, kind = self._expect([name]), type(descriptors)
        self._fit(kind is LocalDescriptors, name, f"are {kind.__name__}", "LocalDescriptors")
        rows, count = self._blank(1), descriptors.count
        parts = {part: getattr(descriptors, part) for part in row_layout.PER_DESCRIPTOR}
        for part, values in (parts | {"descriptors": self._stored(name, descriptors)}).items():
            rows[part][0, :count] = values
        rows["count"][0], rows["size"][0] = count, descriptors.size
        self._write(first, rows)

    def _stored(self, name: str, given: LocalDescriptors) -> npt.NDArray[np.generic]:
        values, width = given.descriptors, self.dim // 8 if self.packed else self.dim
        found, most = values.dtype, self.max_count
        same = (found == np.uint8) == self.packed
        self._fit(same, name, f"are {found}", "a store of the same dtype")
        self._fit(values.shape[1] == width, name, f"have width {values.shape[1]}", f"width {width}")
        self._fit(given.count <= most, name, f"are {given.count}", f"at most {most}")
        self._fit(given.placed, name, "have no positions", "x, y in [0, 1] of the image")
        with np.errstate(over="ignore"):
            stored: Any = values if self.packed else values.astype(np.float16, copy=False)
        finite = np.isfinite(stored).all()
        self._fit(finite, name, "leave the range of float16", "values up to 65504")
        return stored if self.codebook is None else encode(self.codebook, stored)


class GlobalWriter(RowWriter):
    """A file of global descriptors being filled; used as a context manager."""

    schema = row_layout.GLOBAL_SCHEMA

    def __init__(
        self,
        path: str | Path,
        names: Names,
        dim: int,
        provenance: Made,
        *,
        dtype: str = "float32",  # or float16
        **begin: Unpack[Begin],
    ) -> None:
        """Raises as `DescriptorWriter`."""
        names = hdf5.check_names(names, "the image list")
        wanted = row_layout.globals_layout(names, dim, dtype)
        self.dim, self._failed_entry = dim, dim**-0.5
        super().__init__(path, names, wanted, provenance, **begin)

    def append(self, name: str, descriptor: Floats) -> None:
        self.extend([name], descriptor[None])

    def extend(self, names: Sequence[str], block: Floats, failed: Failed = NONE) -> None:
        """Write the next rows, descriptors [n, D]. failed: those of the names that failed, and why;
        their rows of the block are not looked at. Raises BadInput, and writes nothing, where a row
        does not fit, is not finite (also after rounding to float16) or all zeros.
        """
        require(names, "a block without rows", where=self.path, expected="at least one")
        first = self._expect(names)
        for foreign in sorted(failed.keys() - set(names)):
            self._fit(False, foreign, "failed and are not in its block", "names of the block")
        wanted, found = [len(names), self.dim], list(block.shape)
        self._fit(found == wanted, names[0], f"are in a block {found}", f"{wanted}")
        done, rows = np.array([name not in failed for name in names]), self._blank(len(names))
        stored = rows["descriptors"]
        with np.errstate(over="ignore"):
            stored[done] = block[done]
        bad = ~np.isfinite(stored).all(axis=1) | ~stored.any(axis=1)
        expected = "finite numbers, not all zero"
        self._fit(not bad.any(), names[int(bad.argmax())], "are all zeros or not finite", expected)
        rows["status"][~done] = row_layout.FAILED
        rows["reason"][:] = [as_reason(failed.get(name, "")) for name in names]
        self._write(first, rows)
