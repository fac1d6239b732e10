"""Digests of names, files and arrays, so that results know what they came from: sha256 in hex, but
for `file_identity`, which only tells a file from another of its place.

Equal content gives an equal digest on every machine: byte order and memory layout do not enter,
order, shape and dtype do.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ames_lite.errors import BadInput, existing_file

if TYPE_CHECKING:  # torch.hub's entries need no NumPy
    import numpy as np
    import numpy.typing as npt

BLOCK_BYTES = 1 << 24  # of an array, copied at a time: a large array needs no second copy
BLOCKS = 64  # of a file, read for its identity: all of it up to 1 GiB


def names_digest(names: Iterable[str]) -> str:
    """The digest of an ordered list of names, with their lengths, so that no two read alike.

    >>> names_digest(["ab", "c"]) == names_digest(["a", "bc"])
    False
    """
    digest = hashlib.sha256()
    for name in names:
        # a path that is not UTF-8 on disk reaches Python as surrogates
        encoded = name.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "little"))
        digest.update(encoded)
    return digest.hexdigest()


def file_digest(path: str | Path) -> str:
    """The digest of a file's bytes. Raises MissingFile where there is no such file."""
    with open(existing_file(path, "a file is missing"), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_identity(path: str | Path) -> str:
    """Size and xxh3 of a file without checksums, above 1 GiB of BLOCKS parts alone. MissingFile."""
    from xxhash import xxh3_64  # torch.hub's entries do not have it

    digest, block = xxh3_64(), memoryview(bytearray(BLOCK_BYTES))
    with open(existing_file(path, "a file is missing"), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        for start in range(0, size, max(BLOCK_BYTES, -(-size // BLOCKS))):
            file.seek(start)
            digest.update(block[: file.readinto(block)])
    return f"{size} bytes, xxh3 {digest.hexdigest()}"


def array_digest(array: npt.NDArray[np.generic]) -> str:
    """The digest of an array's dtype, shape and values. BadInput for an array of objects."""
    if array.dtype.hasobject:
        raise BadInput("an array of objects has no digest", expected="an array of numbers")
    little = array.dtype.newbyteorder("<")
    digest = hashlib.sha256(f"{little.str} {array.shape}".encode())
    rows = array.reshape(1) if array.ndim == 0 else array
    row_bytes = max(1, little.itemsize * math.prod(rows.shape[1:]))
    step = max(1, BLOCK_BYTES // row_bytes)
    for start in range(0, len(rows), step):
        digest.update(rows[start : start + step].astype(little, order="C").tobytes())
    return digest.hexdigest()
