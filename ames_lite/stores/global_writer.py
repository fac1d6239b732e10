"""Filling a file of global descriptors, by rows or blocks in the order of its list; resumable.

The row of an image that failed holds the constant vector of unit length, so that a list keeps all
its rows and every row can be searched; its status says that it failed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput
from ames_lite.stores import hdf5
from ames_lite.stores.row_layout import DONE, FAILED, GLOBAL_SCHEMA, globals_layout
from ames_lite.stores.row_writer import RowWriter, as_reason

Floats = npt.NDArray[np.floating[Any]]


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

        Raises BadInput as `DescriptorWriter` does.
        """
        names = hdf5.check_names(names, "the image list")
        self.dim = dim
        wanted = globals_layout(names, dim, dtype)
        super().__init__(
            path, GLOBAL_SCHEMA, names, wanted, provenance, resume=resume, overwrite=overwrite
        )

    def append(self, name: str, descriptor: Floats) -> None:
        """Write the next row, a descriptor [D], as it is. Errors as in `extend`."""
        self.extend([name], descriptor[None])

    def mark_failed(self, name: str, reason: str) -> None:
        """Give the next row to an image that failed: its reason, of which 160 bytes are kept."""
        self.extend([name], np.zeros((1, self.dim)), {name: reason})

    def extend(
        self, names: Sequence[str], block: Floats, failed: Mapping[str, str] | None = None
    ) -> None:
        """Write the next rows, descriptors [n, D] as they are, and flush twice for all of them.

        failed: those of the names that failed, and why; their rows of the block are not looked at.
        Raises BadInput, and writes nothing, where the names are not the next of the list, for
        another width, for NaN, infinity (also after rounding to float16) and zeros; and where the
        disk refuses.
        """
        failed = failed or {}
        if not names:
            raise BadInput("a block without rows", where=self.path, expected="at least one")
        first = self._expect(names)
        foreign = sorted(failed.keys() - set(names))
        if foreign:
            what = f"'{foreign[0]}' failed and is not in its block"
            raise BadInput(what, where=self.path, expected="names of the block")
        if block.shape != (len(names), self.dim):
            what, expected = f"is in a block {list(block.shape)}", f"[{len(names)}, {self.dim}]"
            raise self._unfit(names[0], what, expected)
        done = np.array([name not in failed for name in names])
        stored = self._rounded(names, block, done)
        reasons = [as_reason(failed.get(name, "")) for name in names]
        rows = slice(first, first + len(names))
        with self._writing():
            self._sets["descriptors"][rows] = stored
            self._sets["reason"][rows] = np.array(reasons, self._layout["reason"][1])
            self._finish(rows, np.where(done, DONE, FAILED).astype(np.uint8))

    def _rounded(self, names: Sequence[str], block: Floats, done: npt.NDArray[np.bool_]) -> Floats:
        """The block in the file's dtype, rows that failed constant, all others checked."""
        with np.errstate(over="ignore"):
            stored = block.astype(self._layout["descriptors"][1], copy=bool(not done.all()))
        stored[~done] = self.dim**-0.5
        bad = ~np.isfinite(stored).all(axis=1) | ~stored.any(axis=1)
        if bad.any():
            name = names[int(bad.argmax())]
            raise self._unfit(name, "is all zeros or not finite", "finite numbers, not all zero")
        return stored

    def _unfit(self, name: str, what: str, expected: str) -> BadInput:
        return BadInput(f"the descriptor of '{name}' {what}", where=self.path, expected=expected)
