"""Where the numbers of a pickled tensor lie in its file, so that 18 GB need no memory.

In: `nn_*.pkl`, a pickled float tensor [2, Q, K] or [3, Q, K] (sims, ids as floats, and where it is
there rows in a shortlist). Out: the extent of each plane in the file, for mapping or reading in
blocks. Only what stands around the numbers is unpickled, through the allow-list.

The convention to know: None means that a file is not of this one form (a NumPy array, an old
pickle, a small tensor, a view that is not made of whole rows), not that it is bad: it is then to be
read in memory, which also says what is wrong with it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput
from ames_lite.stores.neighbor_rows import Extent
from ames_lite.stores.published.safe_pickle import GlobalTable, Span, read_spanning

BLOCK_BYTES = 1 << 26  # of a plane, read at a time
# What a torch storage begins with, and the dtypes that count rows exactly; see neighbors.
MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
STORAGES: GlobalTable = MappingProxyType(
    {("torch", "FloatStorage"): "<f4", ("torch", "DoubleStorage"): "<f8"}
)


class _Tensor(NamedTuple):
    """What a pickle says of a tensor."""

    storage: Span
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


class _Span:
    # instances without a __dict__: a pickle cannot set attributes on what it may call
    __slots__ = ()

    def __call__(self, content: Any) -> Span:
        if not isinstance(content, Span):
            raise ValueError("a small storage")
        return content


class _Rebuild:
    __slots__ = ()

    def __call__(self, storage: Any, offset: int, shape: Any, stride: Any, *_: object) -> _Tensor:
        whole = [*shape, *stride, offset]
        if not isinstance(storage, Span) or len(shape) != 3 or len(stride) != 3:
            raise ValueError("a tensor's parts")
        if any(isinstance(n, bool) or not isinstance(n, int) or n < 0 for n in whole):
            raise ValueError("a tensor's shape")
        return _Tensor(storage, offset, tuple(shape), tuple(stride))


class _NoHooks:
    __slots__ = ()

    def __call__(self) -> tuple[()]:
        return ()


TENSOR: GlobalTable = MappingProxyType(
    {
        ("torch._utils", "_rebuild_tensor_v2"): _Rebuild(),
        ("torch.storage", "_load_from_bytes"): _Span(),
        ("collections", "OrderedDict"): _NoHooks(),
    }
)


def locate_planes(path: Path) -> list[Extent] | None:
    """The planes of a pickled tensor, or None where the file is of another form."""
    try:
        with open(path, "rb") as file:
            tensor = read_spanning(file, path, TENSOR)
            if not isinstance(tensor, _Tensor):
                return None
            dtype, start, entries = _storage(file, tensor.storage, path)
    except BadInput:
        return None
    (num, rows, columns), (plane, row, entry) = tensor.shape, tensor.stride
    last = tensor.offset + (num - 1) * plane + (rows - 1) * row + columns
    whole = num in (2, 3) and min(rows, columns) >= 1 and entry == 1
    if not whole or (rows > 1 and row < columns) or last > entries:
        return None
    places = [start + (tensor.offset + p * plane) * dtype.itemsize for p in range(num)]
    return [Extent(place, row, (rows, columns), dtype) for place in places]


def _storage(file: IO[bytes], span: Span, path: Path) -> tuple[np.dtype[Any], int, int]:
    """dtype, first byte and entries of a storage as torch.save writes it. Raises BadInput."""
    file.seek(span.offset)
    header = [read_spanning(file, path, MappingProxyType({})) for _ in range(3)]
    system = header[2]
    known = header[:2] == [MAGIC, PROTOCOL] and isinstance(system, dict)
    if not known or not isinstance(system, dict) or system.get("little_endian") is not True:
        raise BadInput("a storage of another form", where=path)
    described = read_spanning(file, path, STORAGES, persistent=lambda pid: pid)
    read_spanning(file, path, MappingProxyType({}))  # the keys: one storage
    if not isinstance(described, tuple) or len(described) < 5 or described[0] != "storage":
        raise BadInput("a storage of another form", where=path)
    dtype = np.dtype(described[1])
    (entries,) = struct.unpack("<q", file.read(8))
    start = file.tell()
    if entries < 0 or start + entries * dtype.itemsize > span.offset + span.length:
        raise BadInput("a storage is cut short", where=path)
    return dtype, start, entries


def read_blocks(path: Path, planes: list[Extent]) -> Iterator[tuple[int, list[npt.NDArray[Any]]]]:
    """(first row, the rows of every plane), a bounded number of bytes at a time."""
    stride, (rows, _), dtype = planes[0].stride, planes[0].shape, planes[0].dtype
    step = max(1, BLOCK_BYTES // (stride * dtype.itemsize))
    with open(path, "rb", buffering=0) as file:
        for first in range(0, rows, step):
            yield first, [_read(file, e, first, min(step, rows - first)) for e in planes]


def _read(file: IO[bytes], extent: Extent, first: int, count: int) -> npt.NDArray[Any]:
    part = extent._replace(offset=0, shape=(count, extent.shape[1]))
    file.seek(extent.offset + first * extent.stride * extent.dtype.itemsize)
    return part.over(np.fromfile(file, extent.dtype, part.entries))
