"""Filling a store of local descriptors, row by row in the order of its list; resumable."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput
from ames_lite.records import LocalDescriptors
from ames_lite.stores import hdf5
from ames_lite.stores.row_layout import DONE, FAILED, LOCAL_SCHEMA, PER_DESCRIPTOR, store_layout
from ames_lite.stores.row_writer import RowWriter, as_reason


class DescriptorWriter(RowWriter):
    """A store being filled; `DescriptorStore.create`. A context manager."""

    def __init__(
        self,
        path: str | Path,
        names: Sequence[str],
        max_count: int,
        dim: int,
        dtype: str,
        provenance: Mapping[str, Any],
        *,
        resume: bool = False,
        overwrite: bool = False,
    ) -> None:
        """names: unique; max_count: K, descriptors per image at most; dim: D (bits where packed).

        dtype: 'float16', or 'uint8' for packed bits. resume: continue at `.todo` if `path` exists
        (the same names, sizes and provenance are demanded; of a complete store nothing is to do).
        overwrite: begin anew. Raises BadInput for bad sizes or names, where `path` exists and
        neither is given, and where the disk is too small for the whole store.
        """
        names = hdf5.check_names(names, "the image list")
        wanted = store_layout(names, max_count, dim, dtype)
        self.max_count, self.dim, self.packed = max_count, dim, dtype == "uint8"
        super().__init__(
            path, LOCAL_SCHEMA, names, wanted, provenance, resume=resume, overwrite=overwrite
        )
        self._dirty = self.resumed  # the row that was being written may have been left half-way

    def append(self, name: str, descriptors: LocalDescriptors) -> None:
        """Write the next row; float32 descriptors are rounded to float16.

        Raises BadInput where it is not the next, does not fit, or the disk refuses: it stays to do.
        """
        row = self._expect([name])
        if not isinstance(descriptors, LocalDescriptors):
            raise self._unfit(name, f"are {type(descriptors).__name__}", "LocalDescriptors")
        parts = {part: getattr(descriptors, part) for part in PER_DESCRIPTOR}
        parts["descriptors"] = self._stored(name, descriptors)
        whole = {"count": descriptors.count, "size": descriptors.size}
        self._write(row, parts, whole, DONE)

    def mark_failed(self, name: str, reason: str) -> None:
        """Give the next row to an image that failed: its reason, of which 160 bytes are kept."""
        self._write(self._expect([name]), {}, {"reason": as_reason(reason)}, FAILED)

    def _write(
        self, row: int, parts: Mapping[str, npt.NDArray[Any]], whole: Mapping[str, Any], status: int
    ) -> None:
        """parts: by data set, what stands at the head of the row; whole: what fills it."""
        with self._writing():
            if self._dirty:  # nothing of an earlier attempt stays as padding
                for name in self._layout.keys() - {"name", "status"}:
                    shape, dtype = self._layout[name]
                    self._sets[name][row] = np.zeros(shape[1:], dtype)
            self._dirty = True
            for name, values in parts.items():
                self._sets[name][row, : len(values)] = values
            for name, value in whole.items():
                self._sets[name][row] = value
            self._finish(slice(row, row + 1), status)
            self._dirty = False

    def _stored(self, name: str, given: LocalDescriptors) -> npt.NDArray[np.generic]:
        values, width = given.descriptors, self._layout["descriptors"][0][2]
        if (values.dtype == np.uint8) != self.packed:
            raise self._unfit(name, f"are {values.dtype}", "a store of the same dtype")
        if values.shape[1] != width:
            raise self._unfit(name, f"have width {values.shape[1]}", f"width {width}")
        if given.count > self.max_count:
            raise self._unfit(name, f"are {given.count}", f"at most {self.max_count}")
        if not given.placed:
            raise self._unfit(name, "have no positions", "x, y in [0, 1] of the image")
        with np.errstate(over="ignore"):
            stored = values if self.packed else values.astype(np.float16, copy=False)
        if not np.isfinite(stored).all():
            raise self._unfit(name, "leave the range of float16", "values up to 65504")
        return stored

    def _unfit(self, name: str, what: str, expected: str) -> BadInput:
        return BadInput(
            f"the descriptors of '{name}' {what}",
            where=self.path,
            expected=expected,
            remedy="keep the first by .strongest(count), or create the store to fit",
        )
