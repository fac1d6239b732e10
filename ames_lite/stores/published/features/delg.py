"""DELG's feature files: serialized protocol buffers, read by their wire format.

`.delg_local` (also `.delf`) is DelfFeatures, `feature` = 1 repeated: descriptor = 1 (DatumProto),
x = 2, y = 3, scale = 4, orientation = 5, strength = 6 (floats). `.delg_global` is a DatumProto:
shape = 1, float_list = 2, whose `value` = 1 are packed floats. x and y are pixels of the image that
was described; queries of ROxford and RParis were cropped to their boxes before.
(tensorflow/models, research/delf/delf/protos.)
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ames_lite.errors import explained
from ames_lite.stores.published.features.found import VECTOR

GLOBAL = ".delg_global"
SUFFIXES = (".delg_local", ".delg", ".delf", GLOBAL)
FIXED = {1: 8, 5: 4}  # bytes of a value, by its wire type
DATUM, X, Y, STRENGTH = 1, 2, 3, 6
FLOATS = 2  # of a DatumProto


def read(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Arrays of an image: keypoints [K, 2], descriptors [K, D], scores [K]; or the vector [D]."""
    data = memoryview(path.read_bytes())
    what, kinds = "not a whole file of DELG ({})", (ValueError, IndexError, KeyError)
    with explained(what, kinds, where=path, expected=f"a serialized message of {SUFFIXES}"):
        if path.suffix == GLOBAL:
            return {VECTOR: _floats(data)}
        features = [dict(fields(feature)) for number, feature in fields(data) if number == 1]
        rows = [_floats(feature[DATUM]) for feature in features]
        if len({len(row) for row in rows}) > 1:
            raise ValueError("descriptors of several widths")
        numbers = [[one.get(key, bytes(4)) for key in (X, Y, STRENGTH)] for one in features]
        floats = [np.frombuffer(one, "<f4")[0] for of_one in numbers for one in of_one]
        values = np.array(floats, np.float32).reshape(-1, 3)
        descriptors = np.array(rows, np.float32).reshape(len(rows), -1 if rows else 0)
        return {"keypoints": values[:, :2], "scores": values[:, 2], "descriptors": descriptors}


def fields(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Number and bytes of the fields of a message; numbers of variable length are left out."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        if key & 7 == 0:
            at = _varint(data, at)[1]
            continue
        size, at = _varint(data, at) if key & 7 == 2 else (FIXED[key & 7], at)
        if size > len(data) - at:
            raise ValueError("it ends within a field")
        yield key >> 3, data[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, the least first; and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("a number of more than ten bytes")


def _floats(datum: memoryview) -> npt.NDArray[np.float32]:
    """The values of a DatumProto, packed or one by one."""
    lists = [value for number, value in fields(datum) if number == FLOATS]
    values = [bytes(value) for one in lists for number, value in fields(one) if number == 1]
    return np.frombuffer(b"".join(values), "<f4")
