"""What files with one row an image share: the states of a row, and data sets by shape and dtype.

Rows never shift. An image that failed keeps its row, marked as failed.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ames_lite.stores import hdf5

TODO, DONE, FAILED = 0, 1, 2  # values of `status`
REASON_BYTES = 160

Layout = dict[str, tuple[tuple[int, ...], np.dtype[Any]]]


def num_bytes(wanted: Layout) -> int:
    """Bytes of all data sets together."""
    total = 0
    for shape, dtype in wanted.values():
        entries = dtype.itemsize
        for length in shape:  # Python integers: a product of NumPy ones could overflow
            entries *= length
        total += entries
    return total


def check_layout(file: hdf5.File, wanted: Layout) -> None:
    """Raise BadInput where a data set is absent or has another shape or dtype."""
    for name, (shape, dtype) in wanted.items():
        hdf5.dataset(file, name, shape, ("text" if dtype.kind == "S" else dtype.name,))


def progress(file: hdf5.File) -> str:
    """How far an unfinished store came, in words."""
    status = hdf5.dataset(file, "status", (None,), ("uint8",))[:]
    written, failed = int((status != TODO).sum()), int((status == FAILED).sum())
    return f"{written} of {len(status)} rows are written ({failed} of them failed)"
