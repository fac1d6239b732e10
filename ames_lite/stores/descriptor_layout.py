"""What a store of local descriptors looks like inside: schema, states of a row, data sets.

N images, K descriptors per image at most, D width (bits where packed). All data sets are
contiguous, uncompressed and allocated at once: descriptors float16 [N,K,D] or uint8 [N,K,D/8]
(bits packed big-endian), xy float32 [N,K,2], scale uint8 [N,K], weight float32 [N,K], count int32
[N], size int32 [N,2] (height, width), name UTF-8 [N], status uint8 [N], reason UTF-8 [N] (why a
row failed).

Rows never shift. An image that failed keeps its row, with count 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ames_lite.errors import BadInput
from ames_lite.stores import hdf5
from ames_lite.stores.row_layout import REASON_BYTES, Layout

SCHEMA = "ames_lite/local_descriptors/1"
PER_DESCRIPTOR = ("descriptors", "xy", "scale", "weight")


def layout(num: int, max_count: int, dim: int, packed: bool, name_bytes: int = 1) -> Layout:
    """Shape and dtype of every data set, in the order of the file."""
    width, kind = (dim // 8, np.uint8) if packed else (dim, np.float16)
    return {
        "status": ((num,), np.dtype(np.uint8)),
        "count": ((num,), np.dtype(np.int32)),
        "size": ((num, 2), np.dtype(np.int32)),
        "name": ((num,), hdf5.text_dtype(name_bytes)),
        "reason": ((num,), hdf5.text_dtype(REASON_BYTES)),
        "weight": ((num, max_count), np.dtype(np.float32)),
        "scale": ((num, max_count), np.dtype(np.uint8)),
        "xy": ((num, max_count, 2), np.dtype(np.float32)),
        "descriptors": ((num, max_count, width), np.dtype(kind)),
    }


def check_sizes(max_count: int, dim: int, dtype: str) -> None:
    """Raise BadInput for sizes that no store can have."""
    if dtype not in ("float16", "uint8"):
        raise BadInput(f"dtype is {dtype!r}", expected="'float16', or 'uint8' for packed bits")
    if max_count < 1 or dim < 1:
        raise BadInput(f"max_count is {max_count} and dim {dim}", expected="both at least 1")
    if dtype == "uint8" and dim % 8:
        raise BadInput(f"dim is {dim} bits", expected="a multiple of 8 where bits are packed")


def store_layout(names: Sequence[str], max_count: int, dim: int, dtype: str) -> Layout:
    """The `layout` of a store that `DescriptorStore.create` would make of these arguments."""
    check_sizes(max_count, dim, dtype)
    return layout(len(names), max_count, dim, dtype == "uint8", hdf5.name_bytes(names))
