"""Checksums, by which a file tells that it was changed: xxh3 of 64 bits.

Small data sets and the attributes of a file have one each, in its attribute `checksums`; what is
read by the row has one a row, in the data set `checksum`, and descriptors one for every RUN of a
row, so that reading the strongest of them reads little more.
"""

import os
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

RUN = 50  # descriptors
VERIFY = "AMES_LITE_VERIFY"  # in the environment, for all processes of a command: 0 for no
Checksums = npt.NDArray[np.uint64]


def verified() -> bool:
    return os.environ.get(VERIFY) != "0"


def checksum(values: npt.NDArray[Any] | bytes) -> int:
    """Of the bytes of an array of this machine's byte order, which is that of the files."""
    return xxhash.xxh3_64_intdigest(values if isinstance(values, bytes) else _bytes(values).data)


def row_checksums(*parts: npt.NDArray[Any]) -> Checksums:
    """[n], of the rows of all parts [n, ...] together."""
    views = [_rows(part) for part in parts]
    rows = np.concatenate(views, axis=1) if len(views) > 1 else views[0]
    return _digests(rows, rows.shape[1])[:, 0]


def run_checksums(rows: npt.NDArray[Any]) -> Checksums:
    """[n, runs] of rows [n, k, ...]; the last run is what is left."""
    return _digests(_rows(rows), RUN * rows[:1, :1].nbytes)


def _digests(rows: npt.NDArray[np.uint8], step: int) -> Checksums:
    """[n, parts] of bytes [n, width], `step` of them a part."""
    digest, buffer, width = xxhash.xxh3_64_intdigest, rows.reshape(-1).data, rows.shape[1]
    parts = [(at, min(at + step, width)) for at in range(0, width, step)] if width else [(0, 0)]
    starts = (row * width for row in range(len(rows)))
    found = [digest(buffer[start + a : start + b]) for start in starts for a, b in parts]
    return np.array(found, np.uint64).reshape(len(rows), len(parts))


def num_runs(count: int) -> int:
    return -(-count // RUN)


def _rows(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """The bytes [n, width] of rows [n, ...]."""
    return _bytes(values).reshape(len(values), values[:1].nbytes)


def _bytes(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(values).view(np.uint8).reshape(-1)
