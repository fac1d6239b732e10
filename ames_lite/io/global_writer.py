"""Filling a file of global descriptors, row by row in the order of its list; resumable.

Beside `descriptors` and `name` such a file has `status` and `reason`, as local stores do. The
convention to know: the row of an image that failed holds the constant vector of unit length, so
that a list keeps all its rows and every row can be searched; its status says that it failed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput
from ames_lite.io import hdf5
from ames_lite.io.row_layout import DONE, REASON_BYTES, Layout
from ames_lite.io.row_writer import RowWriter

SCHEMA = "ames_lite/global_descriptors/1"
KINDS = ("float16", "float32")


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

    def append(self, name: str, descriptor: npt.NDArray[np.floating[Any]]) -> None:
        """Write the next row, a descriptor [D], as it is.

        Raises BadInput where `name` is not the next of the list, for another width, for NaN,
        infinity (also after rounding to float16) and zeros, and where the disk refuses.
        """
        row, kind = self._expect(name), self._layout["descriptors"][1]
        if descriptor.shape != (self.dim,):
            raise self._unfit(name, f"is {list(descriptor.shape)}", f"[{self.dim}]")
        with np.errstate(over="ignore"):
            stored = descriptor.astype(kind, copy=False)
        if not np.isfinite(stored).all() or not stored.any():
            raise self._unfit(name, "is all zeros or not finite", "finite numbers, not all zero")
        self._write(row, {"descriptors": ((), stored)}, DONE)

    def _of_failed(self) -> dict[str, tuple[Any, Any]]:
        return {"descriptors": ((), self.dim**-0.5)}

    def _unfit(self, name: str, what: str, expected: str) -> BadInput:
        return BadInput(f"the descriptor of '{name}' {what}", where=self.path, expected=expected)
