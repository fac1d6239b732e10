"""Filling a file of global descriptors, by rows or blocks in the order of its list; resumable.

Beside `descriptors` and `name` such a file has `status` and `reason`, as local stores do. The row
of an image that failed holds the constant vector of unit length, so that a list keeps all its rows
and every row can be searched; its status says that it failed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput
from ames_lite.stores import hdf5
from ames_lite.stores.global_store import KINDS, SCHEMA
from ames_lite.stores.row_layout import DONE, FAILED, REASON_BYTES, Layout
from ames_lite.stores.row_writer import RowWriter, as_reason


def globals_layout(names: Sequence[str], dim: int, dtype: str = "float32") -> Layout:
    """Shape and dtype of every data set. Raises BadInput for sizes that no file can have."""
    if dtype not in KINDS or dim < 1:
        raise BadInput(
            f"dim is {dim}, dtype {dtype!r}", expected=f"dim from 1, {' or '.join(KINDS)}"
        )
    num = len(names)
    return {
        "status": ((num,), np.dtype(np.uint8)),
        "name": ((num,), hdf5.text_dtype(hdf5.name_bytes(names))),
        "reason": ((num,), hdf5.text_dtype(REASON_BYTES)),
        "descriptors": ((num, dim), np.dtype(dtype)),
    }


class GlobalWriter(RowWriter):
    """A file of global descriptors being filled; used as a context manager."""

    def __init__(
        self,
        path: str | Path,
        names: Sequence[str],
        dim: int,
        provenance: Mapping[str, Any],
        *,
        dtype: str = "float32",
        resume: bool = False,
        overwrite: bool = False,
    ) -> None:
        """names: N, unique; dtype: float32 or float16. resume: continue what is at `path`.

        Raises BadInput as `DescriptorStore.create` does.
        """
        names = hdf5.check_names(names, "the image list")
        self.dim = dim
        wanted = globals_layout(names, dim, dtype)
        super().__init__(
            path, SCHEMA, names, wanted, provenance, resume=resume, overwrite=overwrite
        )
        self._empty_the_rest()

    def append(self, name: str, descriptor: npt.NDArray[np.floating[Any]]) -> None:
        """Write the next row, a descriptor [D], as it is.

        Raises BadInput where `name` is not the next of the list, for another width, for NaN,
        infinity (also after rounding to float16) and zeros, and where the disk refuses.
        """
        row = self._expect(name)
        if descriptor.shape != (self.dim,):
            raise self._unfit(name, f"is {list(descriptor.shape)}", f"[{self.dim}]")
        stored = self._rounded([name], descriptor[None], np.array([True]))[0]
        self._write(row, {"descriptors": ((), stored)}, DONE)

    def extend(
        self,
        names: Sequence[str],
        block: npt.NDArray[np.floating[Any]],
        failed: Mapping[str, str] | None = None,
    ) -> None:
        """Write the next rows, descriptors [n, D] as they are, and flush twice for all of them.

        failed: those of the names that failed, and why; their rows of the block are not looked at.
        Raises BadInput as `append` does; then nothing of the block is written.
        """
        failed = failed or {}
        first = self._expect_all(names, failed)
        if block.shape != (len(names), self.dim):
            what, expected = f"is in a block {list(block.shape)}", f"[{len(names)}, {self.dim}]"
            raise self._unfit(names[0], what, expected)
        done = np.array([name not in failed for name in names])
        stored = self._rounded(names, block, done)
        reasons = [as_reason(failed.get(name, "")) for name in names]
        rows = np.s_[first : first + len(names)]
        with self._writing():
            self._sets["descriptors"][rows] = stored
            self._sets["reason"][rows] = np.array(reasons, self._layout["reason"][1])
            self._file.flush()  # what is not flushed is lost at a kill
            self._sets["status"][rows] = np.where(done, DONE, FAILED).astype(np.uint8)
            self._file.flush()
        self._dirty, self._next = False, first + len(names)

    def _expect_all(self, names: Sequence[str], failed: Mapping[str, str]) -> int:
        """The row of the first; the names must be the next of the list."""
        if not names:
            raise BadInput("a block without rows", where=self.path, expected="at least one")
        due = self.names[self._next : self._next + len(names)]
        for at, name in enumerate(names):
            if at >= len(due) or name != due[at]:
                row = self._next + at
                raise BadInput(
                    f"'{name}' came for row {row} of {len(self.names)}",
                    where=self.path,
                    expected=f"'{due[at]}', the next of the list" if at < len(due) else "no more",
                )
        foreign = sorted(failed.keys() - set(names))
        if foreign:
            what = f"'{foreign[0]}' failed and is not in its block"
            raise BadInput(what, where=self.path, expected="names of the block")
        return self._next

    def _rounded(
        self,
        names: Sequence[str],
        block: npt.NDArray[np.floating[Any]],
        done: npt.NDArray[np.bool_],
    ) -> npt.NDArray[np.floating[Any]]:
        """The block in the file's dtype, rows that failed constant, all others checked."""
        with np.errstate(over="ignore"):
            stored = block.astype(self._layout["descriptors"][1], copy=bool(not done.all()))
        stored[~done] = self.dim**-0.5
        bad = ~np.isfinite(stored).all(axis=1) | ~stored.any(axis=1)
        if bad.any():
            name = names[int(bad.argmax())]
            raise self._unfit(name, "is all zeros or not finite", "finite numbers, not all zero")
        return stored

    def _empty_the_rest(self) -> None:
        """A block that was being written when a run was killed leaves reasons behind."""
        rest = np.s_[self._next :]
        if self._dirty and self._next < len(self.names):
            if (self._sets["reason"][rest] != b"").any():
                with self._writing():
                    self._sets["reason"][rest] = b""

    def _of_failed(self) -> dict[str, tuple[Any, Any]]:
        return {"descriptors": ((), self.dim**-0.5)}

    def _unfit(self, name: str, what: str, expected: str) -> BadInput:
        return BadInput(f"the descriptor of '{name}' {what}", where=self.path, expected=expected)
