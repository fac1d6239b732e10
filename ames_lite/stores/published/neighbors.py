"""Published neighbour lists, `nn_*.pkl`, read without trust and written as their code reads them.

A pickled tensor or array [2, Q, K] or [3, Q, K]: sims; ids, rows of the gallery list as floats
(float32 is exact below 2^24 only); and perhaps rows in a shortlist. The file names no list; an
image is left out of its own list by its name. The numbers of a large tensor stay in the file, which
is mapped: where they lie is seen by what torch.save begins with, and the rest goes through the
allow-list. Other forms (a NumPy array, protocol 2) are read into memory.
"""

import io
import math
import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from ames_lite.errors import BadInput, require
from ames_lite.io.writing import replacing
from ames_lite.records import Neighbors
from ames_lite.retrieval.rows import Ids, own_rows
from ames_lite.stores.neighbor_rows import NeighborRows, check_ids
from ames_lite.stores.published import safe_pickle

Names = Sequence[str]
FORM = "a float tensor [2, Q, K] (sims, ids) or [3, Q, K]"
HEADER_BYTES = 1 << 12  # of a pickled tensor before, between and behind its numbers, at most
STORAGE = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # what torch.save begins with
PROTOCOL = 1001  # and what follows
DTYPES = {"Float": "<f4", "Double": "<f8", "Half": "<f2", "Int": "<i4", "Long": "<i8"}
STORAGES: safe_pickle.GlobalTable = {("torch", f"{n}Storage"): kind for n, kind in DTYPES.items()}
EXACT = {"float32": 1 << 24, "float64": 1 << 53}  # gallery rows that the dtype tells apart


class Planes(NamedTuple):
    """values [2 or 3, Q, K]; mapped: the file that they lie in, None where they are in memory."""

    values: npt.NDArray[Any]
    mapped: mmap.mmap | None = None


class _Tensor(NamedTuple):
    """What a pickle says of a tensor. storage: its bytes, as torch.save writes them."""

    storage: bytes
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def over(self, buffer: Any, begin: int, path: Path) -> npt.NDArray[Any]:
        """The array, of a buffer that holds the storage from the byte `begin` on."""
        header = io.BytesIO(buffer[begin : begin + HEADER_BYTES])
        dtype, entries = _read_header(header, path)
        start = begin + header.tell()
        steps = zip(self.shape, self.stride, strict=True)
        last = self.offset + sum((length - 1) * step for length, step in steps)
        held = (len(buffer) - start) // dtype.itemsize
        repeats = math.prod(self.shape) > entries  # then it may be of any size
        if 0 in self.shape or repeats or entries > held or not last < entries:
            raise BadInput("a tensor's shape and storage do not fit", where=path, expected=FORM)
        flat = np.frombuffer(buffer, dtype, entries, start)[self.offset :]
        strides = [step * dtype.itemsize for step in self.stride]
        return np.lib.stride_tricks.as_strided(flat, self.shape, strides, writeable=False)


def _rebuild(storage: object, offset: int, shape: Any, stride: Any, *_: object) -> _Tensor:
    if not isinstance(storage, bytes) or len(shape) != len(stride):
        raise ValueError("a tensor's storage or shape")
    if not all(type(number) is int and number >= 0 for number in (*shape, *stride, offset)):
        raise ValueError("a tensor's shape")
    return _Tensor(storage, offset, tuple(shape), tuple(stride))


TENSOR: safe_pickle.GlobalTable = {
    ("torch._utils", "_rebuild_tensor_v2"): safe_pickle.Allowed(_rebuild),
    ("torch.storage", "_load_from_bytes"): safe_pickle.Allowed(lambda content: content),
    ("collections", "OrderedDict"): safe_pickle.Allowed(lambda: ()),  # of backward hooks, empty
}


def is_pickle(path: str | Path) -> bool:
    """Whether a path names the published form, which carries no provenance and no digests."""
    return Path(path).suffix == ".pkl"


def open_planes(path: Path) -> Planes:
    planes = _mapped(path) if path.is_file() else None
    if planes is None:
        content = read_tensors(path)
        fine, what = isinstance(content, np.ndarray), f"the file holds {type(content).__name__}"
        require(fine, what, where=path, expected=FORM)
        planes = Planes(content)
    shape = planes.values.shape
    fits = len(shape) == 3 and shape[0] in (2, 3)
    require(fits, f"the file holds {list(shape)}", where=path, expected=FORM)
    return planes


def read_tensors(path: Path) -> Any:
    """What a pickle of NumPy arrays and tensors, or containers of them, holds, all as arrays."""

    def plain(value: Any) -> Any:
        if isinstance(value, _Tensor):
            return value.over(value.storage, 0, path)
        if isinstance(value, dict):
            return {key: plain(one) for key, one in value.items()}
        return [plain(one) for one in value] if isinstance(value, list | tuple) else value

    return plain(safe_pickle.read_pickle(path, {**safe_pickle.NUMPY_ARRAYS, **TENSOR}))


def _mapped(path: Path) -> Planes | None:
    """The planes where they lie; None where the file is of another form, or damaged."""
    try:
        with open(path, "rb") as file:
            rest, begin = _without_storage(file)
            tensor = safe_pickle.read_pickled(io.BytesIO(rest), path, TENSOR)
            if not isinstance(tensor, _Tensor) or tensor.storage:
                return None
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            return Planes(tensor.over(mapped, begin, path), mapped)
    except (ValueError, TypeError, OverflowError):  # BadInput among them
        return None


def _without_storage(file: IO[bytes]) -> tuple[bytes, int]:
    """The pickle of a tensor with b"" for the storage, and where that begins in the file."""
    head = file.read(HEADER_BYTES)
    begin = head.find(STORAGE)
    for opcode, size in ((b"\x8e", 8), (b"B", 4)):  # BINBYTES8, BINBYTES; then the length
        start = begin - size - 1
        if start >= 0 and head[start : start + 1] == opcode:
            file.seek(begin + int.from_bytes(head[start + 1 : begin], "little"))
            return head[:start] + b"C\x00" + file.read(HEADER_BYTES), begin  # SHORT_BINBYTES
    raise ValueError("no storage in one piece")


def _read_header(file: IO[bytes], path: Path) -> tuple[np.dtype[Any], int]:
    """dtype and entries of a storage as torch.save writes it. Raises BadInput."""
    begins = file.read(len(STORAGE)) == STORAGE
    protocol, system = safe_pickle.read_pickled(file, path), safe_pickle.read_pickled(file, path)
    described: Any = safe_pickle.read_pickled(file, path, STORAGES, persistent=True)
    safe_pickle.read_pickled(file, path)  # the keys: one storage
    count = file.read(8)
    little = isinstance(system, dict) and system.get("little_endian") is True
    fine = isinstance(described, tuple) and len(described) >= 5 and described[0] == "storage"
    if not (begins and protocol == PROTOCOL and little and fine) or len(count) < 8:
        raise BadInput("a storage of another form", where=path, expected=FORM)
    return np.dtype(described[1]), int.from_bytes(count, "little", signed=True)


def open_published_rows(path: str | Path, query_names: Names, gallery_names: Names) -> NeighborRows:
    """The lists of the queries among the gallery. Raises MissingFile, BadInput."""
    planes, num = _checked_planes(path, len(query_names), len(gallery_names)), len(gallery_names)
    sims, ids = planes.values[:2]
    return NeighborRows(ids, sims, num, own_rows(query_names, gallery_names), path, planes.mapped)


def read_shortlist(path: str | Path, query_names: Names, gallery_names: Names) -> Ids | None:
    """For each gallery image its row in a store of some, or -1; None: no third plane. BadInput."""
    path, num = Path(path), len(gallery_names)
    if not is_pickle(path):
        return None
    planes = _checked_planes(path, len(query_names), num).values
    if len(planes) == 2:
        return None
    for plane, what in zip(planes[1:], ("id", "row in the shortlist"), strict=True):
        check_ids(plane, what, num, path)
    ids, rows = planes[1:].reshape(2, -1).astype(np.int64)
    of_image = np.full(num, -1)
    of_image[ids] = rows
    listed = of_image[of_image >= 0]
    fits = (of_image[ids] == rows).all() and len(np.unique(listed)) == len(listed)
    what = "the shortlist gives an image two rows, or a row two images"
    require(fits, what, where=path, expected="one row of the shortlist's store an image")
    return of_image


def _checked_planes(path: str | Path, num_queries: int, num_gallery: int) -> Planes:
    """The planes of a file, of so many queries. Raises MissingFile, BadInput."""
    planes = open_planes(Path(path))
    dtype, shape = planes.values.dtype, planes.values.shape[1:]
    exact, what = EXACT.get(dtype.name, 0), f"ids of {num_gallery} gallery images stored as {dtype}"
    expected = "float32 (up to 2^24 images) or float64"
    require(num_gallery <= exact, what, where=path, expected=expected)
    what = f"the file has lists of {shape[0]} queries, the query list has {num_queries}"
    fits = shape[0] == num_queries and shape[1] >= 1
    require(fits, what, where=path, expected="the lists of these very queries")
    return planes


def write_published_neighbors(path: Path, neighbors: Neighbors, *, overwrite: bool = False) -> Path:
    """Write the lists as a pickled float32 tensor [2, Q, K], which counts 2^24 images at most."""
    num, most = neighbors.num_gallery, EXACT["float32"]
    what = f"float32 ids cannot tell {num} gallery images apart"
    require(num <= most, what, where=path, expected=f"at most {most}, or the native form (.hdf5)")
    planes = np.stack([neighbors.sims, neighbors.ids]).astype(np.float32)
    with replacing(path, overwrite) as partial:
        safe_pickle.write_pickle(partial, torch.from_numpy(planes))
    return path
