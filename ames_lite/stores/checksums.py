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
VERIFY = (
    "AMES_LITE_VERIFY"  # in the environment, for the processes of a command: 0 verifies nothing
)
Checksums = npt.NDArray[np.uint64]


def verified() -> bool:
    return os.environ.get(VERIFY) != "0"


def checksum(values: npt.NDArray[Any] | bytes) -> int:
    """Of the bytes of an array of this machine's byte order, which is that of the files."""
    return xxhash.xxh3_64_intdigest(values if isinstance(values, bytes) else _bytes(values).data)


def row_checksums(*parts: npt.NDArray[Any]) -> Checksums:
    """[n], of the rows of all parts [n, ...] together."""
    views = [_bytes(part).reshape(len(part), part[:1].nbytes) for part in parts if len(part)]
    if not views:
        return np.empty(0, np.uint64)
    rows = np.concatenate(views, axis=1) if len(views) > 1 else views[0]
    digest, buffer, width = xxhash.xxh3_64_intdigest, rows.reshape(-1).data, rows.shape[1]
    starts = range(0, len(rows) * width, width) if width else [0] * len(rows)
    return np.fromiter((digest(buffer[at : at + width]) for at in starts), np.uint64, len(rows))


def run_checksums(rows: npt.NDArray[Any]) -> Checksums:
    """[n, runs] of rows [n, k, ...]; the last run is what is left."""
    runs = [row_checksums(rows[:, at : at + RUN]) for at in range(0, rows.shape[1], RUN)]
    return np.stack(runs, axis=1)


def num_runs(count: int) -> int:
    return -(-count // RUN)


def _bytes(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(values).view(np.uint8).reshape(-1)
