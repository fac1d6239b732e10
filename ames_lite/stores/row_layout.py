"""Files with one row an image: the states of a row, and the data sets of local and global stores.

N images, K descriptors per image at most, D width (bits where packed). All data sets are
contiguous, uncompressed and allocated at once, so that the size of a file is known before the work.
Rows never shift: a failed image keeps its row. The first of a row's checksums is of its HEAD, the
others are of its BY_ROW data sets, in that order.
"""

import math
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput, require
from ames_lite.retrieval.product_codes import VALUES, check_code_bytes
from ames_lite.stores import checksums, hdf5

LOCAL_SCHEMA = hdf5.Schema("ames_lite/local_descriptors/2", "ames_lite/local_descriptors/1")
GLOBAL_SCHEMA = hdf5.Schema("ames_lite/global_descriptors/2", "ames_lite/global_descriptors/1")
PER_DESCRIPTOR = ("descriptors", "xy", "scale", "weight")
HEAD = ("status", "count", "size")
AT_ONCE = ("name", "codebook")  # written before the first row
BY_ROW = ("reason", "weight", "scale", "xy", "descriptors")
GLOBAL_KINDS = ("float16", "float32")
TODO, DONE, FAILED = 0, 1, 2  # values of `status`
REASON_BYTES = 160
REMEDY = "free space, write elsewhere, store fewer descriptors per image, or packed bits "
REMEDY += "(binarization=)"
Names = Sequence[str]
Layout = dict[str, tuple[tuple[int, ...], np.dtype[Any]]]


def layout(
    num: int, max_count: int, dim: int, packed: bool, name_bytes: int = 1, code_bytes: int = 0
) -> Layout:
    """Shape and dtype of a local store's data sets; code_bytes: of product codes, called int8."""
    width, kind = (dim // 8, "uint8") if packed else (dim, "float16")
    book: Layout = {}
    if code_bytes:
        width, kind = code_bytes, "int8"
        book = {"codebook": ((width, VALUES, dim // width), np.dtype(np.float16))}
    return book | {
        "status": ((num,), np.dtype(np.uint8)),
        "count": ((num,), np.dtype(np.int32)),
        "size": ((num, 2), np.dtype(np.int32)),  # height, width
        "name": ((num,), hdf5.text_dtype(name_bytes)),
        "reason": ((num,), hdf5.text_dtype(REASON_BYTES)),
        "checksum": ((num, 5 + checksums.num_runs(max_count)), np.dtype(np.uint64)),
        "weight": ((num, max_count), np.dtype(np.float32)),
        "scale": ((num, max_count), np.dtype(np.uint8)),
        "xy": ((num, max_count, 2), np.dtype(np.float32)),
        "descriptors": ((num, max_count, width), np.dtype(kind)),  # bits packed big-endian
    }


def store_layout(names: Names, max_count: int, dim: int, dtype: str, code_bytes: int = 0) -> Layout:
    """The `layout` of a store of these names. Raises BadInput for sizes that none can have."""
    if dtype not in ("float16", "uint8"):
        raise BadInput(f"dtype is {dtype!r}", expected="'float16', or 'uint8' for packed bits")
    if max_count < 1 or dim < 1:
        raise BadInput(f"max_count is {max_count} and dim {dim}", expected="both at least 1")
    if dtype == "uint8" and dim % 8:
        raise BadInput(f"dim is {dim} bits", expected="a multiple of 8 where bits are packed")
    if code_bytes:
        require(dtype == "float16", f"codes of {dtype}", expected="codes of float16")
        check_code_bytes(code_bytes, dim)
    name_bytes = hdf5.encode_names(names).itemsize
    return layout(len(names), max_count, dim, dtype == "uint8", name_bytes, code_bytes)


def globals_layout(names: Names, dim: int, dtype: str = "float32") -> Layout:
    fine, expected = dtype in GLOBAL_KINDS and dim >= 1, f"dim from 1, {' or '.join(GLOBAL_KINDS)}"
    require(fine, f"dim is {dim}, dtype {dtype!r}", expected=expected)
    num = len(names)
    return {
        "status": ((num,), np.dtype(np.uint8)),
        "name": ((num,), hdf5.encode_names(names).dtype),
        "reason": ((num,), hdf5.text_dtype(REASON_BYTES)),
        "checksum": ((num, 3), np.dtype(np.uint64)),
        "descriptors": ((num, dim), np.dtype(dtype)),
    }


def small_of(wanted: Layout) -> list[str]:
    """The data sets that are always read whole."""
    return [name for name in (*AT_ONCE, *HEAD) if name in wanted]


def checksum_columns(names: Iterable[str]) -> dict[str, int]:
    """The column of the (first) checksum of every BY_ROW data set of a file with these."""
    return {name: 1 + at for at, name in enumerate(n for n in BY_ROW if n in names)}


def num_parts(name: str, shape: tuple[int, ...]) -> int:
    """How many checksums a row of a BY_ROW data set [n, ...] has."""
    return checksums.num_runs(shape[1]) if name == "descriptors" and len(shape) == 3 else 1


def part_checksums(name: str, rows: npt.NDArray[Any]) -> checksums.Checksums:
    """[n, num_parts] of rows of a BY_ROW data set."""
    if name == "descriptors" and rows.ndim == 3:
        return checksums.run_checksums(rows)
    return checksums.row_checksums(rows)[:, None]


def head_checksums(parts: Mapping[str, npt.NDArray[Any]]) -> checksums.Checksums:
    """[n, 1], of what there is of HEAD."""
    return checksums.row_checksums(*(parts[name] for name in HEAD if name in parts))[:, None]


def checksum_table(rows: Mapping[str, npt.NDArray[Any]]) -> checksums.Checksums:
    """The data set `checksum` of whole rows of all others but the names."""
    parts = [part_checksums(name, rows[name]) for name in BY_ROW if name in rows]
    return np.concatenate([head_checksums(rows), *parts], axis=1)


def num_bytes(wanted: Layout) -> int:
    return sum(dtype.itemsize * math.prod(shape) for shape, dtype in wanted.values())


def check_layout(file: hdf5.File, wanted: Layout) -> None:
    """Raise BadInput where a data set is absent or another, or virtual, though it is written to."""
    complete = hdf5.is_complete(file)
    for name, (shape, dtype) in wanted.items():
        kinds = ("text" if dtype.kind == "S" else dtype.name,)
        hdf5.dataset(file, name, shape, kinds, spread=complete and name in PER_DESCRIPTOR)


def progress(file: hdf5.File) -> str:
    """How far an unfinished store came, in words."""
    if "status" not in file:
        return "it was left half-way"
    status = hdf5.dataset(file, "status", (None,), ("uint8",))[:]
    written, failed = int((status != TODO).sum()), int((status == FAILED).sum())
    return f"{written} of {len(status)} rows are written ({failed} of them failed)"


def announce(path: str | Path, wanted: Layout, *, overwrite: bool = False) -> str:
    """What a file of these data sets will take, for printing. BadInput: the disk is too small."""
    path = Path(path)
    needed, images = num_bytes(wanted), wanted["status"][0][0]
    if path.exists() and not overwrite:
        return f"{path.name}: {say_bytes(needed)}, which are on the disk already"
    free = require_room(path, wanted)
    per_image = say_bytes(needed // max(1, images))
    said = f"{path.name}: {images} images of {per_image}, {say_bytes(needed)} in all"
    return f"{said}; they fit, {say_bytes(free)} are free"


def require_room(path: Path, wanted: Layout, remedy: str = REMEDY) -> int:
    """The free bytes. Raises BadInput where the disk is too small for these data sets."""
    needed, free = num_bytes(wanted), free_bytes(path)
    what = f"the file takes {say_bytes(needed)}, {say_bytes(free)} are free"
    expected = "a disk that holds the whole file"
    require(needed <= free, what, where=path.absolute(), expected=expected, remedy=remedy)
    return free


def free_bytes(path: Path) -> int:
    """Free bytes where `path` will be; its folder need not exist yet."""
    return shutil.disk_usage(next(p for p in path.absolute().parents if p.exists())).free


def say_bytes(count: int) -> str:
    """
    >>> say_bytes(1536), say_bytes(3 << 30)
    ('1.5 KiB', '3.0 GiB')
    """
    power = min(4, max(0, count.bit_length() - 1) // 10)
    unit = ("bytes", "KiB", "MiB", "GiB", "TiB")[power]
    return f"{count / 1024**power:.1f} {unit}" if power else f"{count} bytes"
