"""The planes of `nn_*.pkl`: a pickled tensor or array [2, Q, K] or [3, Q, K], read without trust.

sims; ids, as floats; and, where it is there, rows in a shortlist. The numbers of a large tensor
stay in the file, which is mapped: 18 GB need no memory. Where they lie is found by walking over the
opcodes of the pickle: its long piece of bytes is passed over, and the rest is unpickled through the
allow-list. What is not of that form (a NumPy array, protocol 2) is read into memory.
"""

from __future__ import annotations

import io
import mmap
import os
import pickletools
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput
from ames_lite.stores.published.safe_pickle import (
    NUMPY_ARRAYS,
    GlobalTable,
    read_pickle,
    read_pickled,
)

FORM = "a float tensor [2, Q, K] (sims, ids) or [3, Q, K]"
BLOCK_BYTES = 1 << 26  # of a plane, looked at at a time
LONG = 1 << 16  # bytes of a pickle that are passed over; picklers write them outside of frames
OPCODES = 200  # of a pickled tensor, at most: others are not walked over to their end
MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # what a torch storage begins with
DTYPES = {"Float": "<f4", "Double": "<f8", "Half": "<f2", "Int": "<i4", "Long": "<i8"}
STORAGES: GlobalTable = MappingProxyType(
    {("torch", f"{name}Storage"): dtype for name, dtype in DTYPES.items()}
)


class Planes(NamedTuple):
    """values [2 or 3, Q, K]; mapped: the file that they lie in, None where they are in memory."""

    values: npt.NDArray[Any]
    mapped: mmap.mmap | None = None

    def blocks(self) -> Iterator[slice]:
        """All queries, a bounded number of bytes at a time, which are then given back."""
        row = self.values.strides[1] or self.values.itemsize
        step = max(1, BLOCK_BYTES // row)
        for first in range(0, self.values.shape[1], step):
            yield slice(first, first + step)
            if self.mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
                self.mapped.madvise(mmap.MADV_DONTNEED)


class _Tensor(NamedTuple):
    """What a pickle says of a tensor. storage: its bytes, as torch.save writes them."""

    storage: bytes
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def over(self, buffer: Any, file: IO[bytes], path: Path) -> npt.NDArray[Any]:
        """The array, of a buffer that holds what `file` does, which stands at the storage."""
        dtype, start, entries = _storage_header(file, path)
        reach = self.offset + sum(
            (n - 1) * step for n, step in zip(self.shape, self.stride, strict=True)
        )
        held = (len(buffer) - start) // dtype.itemsize
        if 0 in self.shape or entries > held or not reach < entries:
            raise BadInput("a tensor's shape and storage do not fit", where=path, expected=FORM)
        flat = np.frombuffer(buffer, dtype, entries, start)[self.offset :]
        strides = [step * dtype.itemsize for step in self.stride]
        return np.lib.stride_tricks.as_strided(flat, self.shape, strides, writeable=False)


class _Storage:
    # instances without a __dict__: a pickle cannot set attributes on what it may call
    __slots__ = ()

    def __call__(self, content: Any) -> bytes:
        if not isinstance(content, bytes):
            raise ValueError("a tensor's storage")
        return content


class _Rebuild:
    __slots__ = ()

    def __call__(self, storage: Any, offset: int, shape: Any, stride: Any, *_: object) -> _Tensor:
        whole = [*shape, *stride, offset]
        if not isinstance(storage, bytes) or len(shape) != len(stride):
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
        ("torch.storage", "_load_from_bytes"): _Storage(),
        ("collections", "OrderedDict"): _NoHooks(),  # of backward hooks, and empty
    }
)


def open_planes(path: Path) -> Planes:
    """Raises MissingFile; BadInput where the file holds anything else."""
    content = _mapped(path) if path.is_file() else None
    if content is None:
        content = _in_memory(read_pickle(path, {**NUMPY_ARRAYS, **TENSOR}), path)
    shape = content.values.shape
    if len(shape) != 3 or shape[0] not in (2, 3):
        raise BadInput(f"the file holds {list(shape)}", where=path, expected=FORM)
    return content


def _in_memory(content: object, path: Path) -> Planes:
    if isinstance(content, _Tensor):
        return Planes(content.over(content.storage, io.BytesIO(content.storage), path))
    if not isinstance(content, np.ndarray):
        raise BadInput(f"the file holds {type(content).__name__}", where=path, expected=FORM)
    return Planes(np.asarray(content))


def _mapped(path: Path) -> Planes | None:
    """The planes where they lie; None where the file is of another form, or damaged."""
    try:
        with open(path, "rb") as file:
            rest, at = _without_long_piece(file)
            tensor = read_pickled(io.BytesIO(rest), path, TENSOR)
            if not isinstance(tensor, _Tensor) or tensor.storage:
                return None
            file.seek(at)
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            return Planes(tensor.over(mapped, file, path), mapped)
    except (ValueError, TypeError, OverflowError):  # BadInput among them
        return None


class _Passing:
    """A file for `pickletools.genops`: long pieces are passed over, a range stands for each."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._size = file, os.fstat(file.fileno()).st_size
        self.tell, self.readline = file.tell, file.readline

    def read(self, count: int) -> bytes | range:
        at = self._file.tell()
        if count < LONG:
            return self._file.read(count)
        if at + count > self._size:
            raise ValueError("a piece is longer than the file")
        self._file.seek(count, os.SEEK_CUR)
        return range(at, at + count)


def _without_long_piece(file: IO[bytes]) -> tuple[bytes, int]:
    """A pickle with b"" for its one long piece of bytes, and where that begins in the file."""
    long: list[tuple[int, range]] = []
    opcodes: Any = pickletools.genops(_Passing(file))  # type: ignore[arg-type]
    for _, argument, position in islice(opcodes, OPCODES):
        long += [(position, argument)] if isinstance(argument, range) else []
    if len(long) != 1:
        raise ValueError("no long piece, or several")
    (position, piece), end = long[0], file.tell()
    file.seek(0)
    head = file.read(position)
    file.seek(piece.stop)
    return head + b"C\x00" + file.read(end - piece.stop), piece.start  # C: SHORT_BINBYTES


def _storage_header(file: IO[bytes], path: Path) -> tuple[np.dtype[Any], int, int]:
    """dtype, first byte and entries of a storage as torch.save writes it. Raises BadInput."""
    header = [read_pickled(file, path) for _ in range(3)]
    system = header[2]
    known = header[:2] == [MAGIC, PROTOCOL] and isinstance(system, dict)
    if not known or not isinstance(system, dict) or system.get("little_endian") is not True:
        raise BadInput("a storage of another form", where=path, expected=FORM)
    described = read_pickled(file, path, STORAGES, persistent=True)
    read_pickled(file, path)  # the keys: one storage
    count = file.read(8)
    fine = isinstance(described, tuple) and len(described) >= 5 and described[0] == "storage"
    if not fine or not isinstance(described, tuple) or len(count) < 8:
        raise BadInput("a storage of another form", where=path, expected=FORM)
    return np.dtype(described[1]), file.tell(), int.from_bytes(count, "little", signed=True)
