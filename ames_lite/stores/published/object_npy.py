"""`.npy` files of other programs, also those that hold Python objects: never executed.

Of objects only such as plain data makes (lists, numbers, strings) and arrays of numbers are read,
through the allow-list of safe_pickle.
"""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from ames_lite.errors import BadInput, MissingFile
from ames_lite.stores.published.safe_pickle import OBJECT_ARRAYS, read_pickled

_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def read_npy(path: str | Path, expected: str = "a .npy file") -> npt.NDArray[Any]:
    """The array of a file. Raises MissingFile; BadInput for damage, and for forbidden content."""
    path = Path(path)
    if not path.is_file():
        raise MissingFile("a file is missing", where=path, expected=expected)
    try:
        with open(path, "rb") as file:
            shape = _shape_of_objects(file)
            if shape is None:
                return np.asarray(np.load(path, allow_pickle=False))
            array = read_pickled(file, path, OBJECT_ARRAYS)
    except BadInput:
        raise
    except Exception as error:  # a damaged header is Python to NumPy: it raises nearly anything
        raise BadInput(f"not a whole .npy file ({error})", where=path, expected=expected) from error
    if not isinstance(array, np.ndarray) or array.dtype != object or array.shape != shape:
        what = f"the content is not the array of objects {shape} that the header promises"
        raise BadInput(what, where=path, expected=expected)
    return np.asarray(array)


def _shape_of_objects(file: IO[bytes]) -> tuple[int, ...] | None:
    """The shape that the header promises of an array of objects; None for other arrays."""
    version = npy.read_magic(file)
    if version not in _HEADERS:  # 3.0 is for names of fields, which have no place here
        raise ValueError(f"version {version}")
    shape, _, dtype = _HEADERS[version](file)
    if dtype.hasobject and dtype != np.dtype(object):
        raise ValueError("records with objects")
    return shape if dtype.hasobject else None
