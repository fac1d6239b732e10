"""Arrays of numbers in `.npy` files and `.npz` archives, read without pickle.

A header is compared with the bytes that are there before memory for its array is asked for. What is
raised is a ValueError, or what NumPy and zipfile raise of damage: for the caller to explain.
"""

import math
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from ames_lite.errors import existing_file, explained
from ames_lite.io.untrusted import refuse_bomb

Array = npt.NDArray[Any]
HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def read_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and dtype of the array that follows. Version 3 is for names of fields: refused."""
    version = npy.read_magic(file)
    if version not in HEADERS:
        raise ValueError(f"version {version}")
    shape, _, dtype = HEADERS[version](file)
    if any(length < 0 for length in shape):
        raise ValueError(f"the shape {shape}")
    return shape, dtype


def read_array(file: IO[bytes], size: int) -> Array:
    """The array of numbers or texts that a stream of so many bytes holds."""
    file.seek(0)
    shape, dtype = read_header(file)
    wide = dtype.itemsize < 0  # NumPy 2.0 counts so what is beyond 2 GiB
    if wide or math.prod(shape) * max(1, dtype.itemsize) > size - file.tell():
        raise ValueError(f"{size - file.tell()} bytes are no {list(shape)} of {dtype}")
    file.seek(0)
    return np.asarray(npy.read_array(file, allow_pickle=False))


def map_npy(path: str | Path) -> npt.NDArray[Any]:
    """The array of a `.npy` file, read where it is used. Raises MissingFile, BadInput."""
    path = existing_file(path, "a file is missing", expected="a .npy file")
    what, expected = "not a whole .npy file of numbers ({})", "an array of numbers"
    with explained(what, Exception, where=path, expected=expected):  # of damage nearly anything
        return npy.open_memmap(path, mode="r")


def read_npz(path: str | Path, names: Sequence[str] = (), most: int = 0) -> dict[str, Array]:
    """The arrays of these names, or all; most: bytes that they may take anyhow. Raises KeyError."""
    found = {}
    with zipfile.ZipFile(path) as archive:
        refuse_bomb(archive, most)
        for name in names or [member.removesuffix(".npy") for member in archive.namelist()]:
            member = archive.getinfo(f"{name}.npy")
            with archive.open(member) as file:
                found[name] = read_array(file, member.file_size)
    return found
