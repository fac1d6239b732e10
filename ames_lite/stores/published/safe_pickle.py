"""Pickles, read without trust: the one owner of unpickling, that of `.npy` files of objects too.

A pickle is a program that may import and call anything. Here it may call only what a table lists,
by default nothing, which is enough for the official ground truth. Allowed names lead to stand-ins
of this file, so that a forged state is checked before NumPy sees it.
"""

import math
import os
import pickle
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput, existing_file
from ames_lite.io.arrays import read_array, read_header
from ames_lite.io.untrusted import bytes_of, check_program

GlobalTable = Mapping[tuple[str, str], object]
Array = np.ndarray[Any, Any]
NUMBERS = "biuf"  # kinds of dtypes
_BROKEN = (
    *(pickle.UnpicklingError, EOFError, struct.error, UnicodeError, ValueError, TypeError),
    *(AttributeError, LookupError, OverflowError, MemoryError, RecursionError, ImportError),
)  # what a damaged or forged stream makes the unpickler raise


class Allowed(NamedTuple):
    """What a pickle may call: immutable, so that it cannot set attributes on it."""

    function: Callable[..., object]

    def __call__(self, *arguments: Any) -> object:
        return self.function(*arguments)


class _Dtype:
    """Stands in for a NumPy dtype while its state is read."""

    __slots__ = ("value",)

    def __init__(self, code: str, kinds: str) -> None:
        value = np.dtype(code)
        if value.kind not in kinds or value.names is not None:
            raise ValueError(f"dtype {code}")
        self.value = value

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] not in ("<", ">", "=", "|") or any(part is not None for part in state[2:5]):
            raise ValueError("a structured dtype")
        self.value = self.value.newbyteorder(state[1])


class _Array(np.ndarray[Any, Any]):
    """An array that takes only a state whose entries fit its shape."""

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        data = _raw(data)
        if not isinstance(dtype, _Dtype):
            raise ValueError("an array's dtype")
        objects = dtype.value.hasobject  # then the state is a list
        if not isinstance(data, list if objects else bytes):
            raise ValueError("an array of objects")
        if not all(isinstance(length, int) and length >= 0 for length in shape):
            raise ValueError("an array's shape")
        count = math.prod(shape)
        if len(data) != (count if objects else count * dtype.value.itemsize):
            raise ValueError("an array's length")
        checked: Any = (1, shape, dtype.value, bool(fortran), data)  # NumPy's stub has it wrong
        super().__setstate__(checked)


def _numbers(data: Any, dtype: _Dtype) -> Array:
    if not isinstance(dtype, _Dtype) or dtype.value.hasobject:
        raise ValueError("an array of objects")
    return np.frombuffer(data, dtype.value)


def _from_buffer(data: Any, dtype: _Dtype, shape: tuple[int, ...], order: str) -> Array:
    """How protocol 5 writes arrays."""
    if order not in ("C", "F"):
        raise ValueError("an array's order")
    values = _numbers(bytes(data), dtype)
    return values.reshape(shape) if order == "C" else values.reshape(shape[::-1]).T


def _scalar(dtype: _Dtype, data: Any) -> np.generic:
    values = _numbers(_raw(data), dtype)
    if len(values) != 1:
        raise ValueError("a scalar's length")
    return values[0]


def _latin(text: str, encoding: str) -> bytes:  # how protocols 0 to 2 write bytes
    if not isinstance(text, str) or encoding != "latin1":
        raise ValueError(f"bytes as {encoding!r}")
    return text.encode("latin1")


def _raw(data: Any) -> Any:
    """The bytes of a string of Python 2, as `read_pickled` reads it; anything else as it is."""
    return data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data


def text_of(raw: bytes) -> str:
    """Text of Python 2, or of anybody who wrote bytes: UTF-8, or else Latin-1."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin1")


def _numpy_table(kinds: str) -> GlobalTable:
    table: dict[tuple[str, str], object] = {
        ("numpy", "ndarray"): "ndarray",  # only ever handed to _reconstruct
        ("numpy", "dtype"): Allowed(lambda code, *_: _Dtype(code, kinds)),
        ("_codecs", "encode"): Allowed(_latin),
        ("__builtin__", "bytes"): Allowed(lambda: b""),  # how protocols 0 to 2 write none
        ("builtins", "bytes"): Allowed(lambda: b""),
    }
    for core in ("numpy.core", "numpy._core"):  # NumPy 2 renamed it
        table[f"{core}.multiarray", "_reconstruct"] = Allowed(lambda *_: _Array((0,), np.uint8))
        table[f"{core}.multiarray", "scalar"] = Allowed(_scalar)
        table[f"{core}.numeric", "_frombuffer"] = Allowed(_from_buffer)
    return MappingProxyType(table)


NO_GLOBALS: GlobalTable = MappingProxyType({})
NUMPY_ARRAYS = _numpy_table(NUMBERS)  # arrays and scalars of numbers alone
OBJECT_ARRAYS = _numpy_table(NUMBERS + "O")  # and of what a pickle may hold


class _AllowListUnpickler(pickle.Unpickler):
    def __init__(
        self, file: Any, path: Path, allowed: GlobalTable, persistent: bool = False, **strings: Any
    ) -> None:
        super().__init__(file, **strings)
        self._path, self._allowed, self._persistent = path, allowed, persistent

    def persistent_load(self, pid: Any) -> object:
        if not self._persistent:
            raise pickle.UnpicklingError("a reference to something outside of the pickle")
        return pid

    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in self._allowed:
            what = f"a pickle asks for {module}.{name}, which is not allowed; nothing was run"
            expected = ", ".join(".".join(known) for known in self._allowed) or "plain data"
            remedy = "take the file from its publisher again, or convert it to a native format"
            raise BadInput(what, where=self._path, expected=expected, remedy=remedy)
        return self._allowed[module, name]


def read_pickle(path: str | Path, allowed: GlobalTable = NO_GLOBALS) -> object:
    """Plain data of a pickle, and what `allowed` lets it make. MissingFile; BadInput."""
    with bytes_of(existing_file(path, "a pickle is missing")) as file:
        return read_pickled(file, Path(path), allowed)


def read_pickled(
    file: IO[bytes], path: Path, allowed: GlobalTable = NO_GLOBALS, *, persistent: bool = False
) -> object:
    """`read_pickle` of a file in memory; persistent: references outside stand for themselves."""
    start = file.tell()
    try:
        check_program(file)
        file.seek(start)
        try:
            return _AllowListUnpickler(file, path, allowed, persistent).load()
        except UnicodeDecodeError:
            file.seek(start)  # of Python 2, whose strings are bytes: of text, or of an array
            back: Any = {"encoding": "utf-8", "errors": "surrogateescape"}  # gives all bytes back
            return _with_text(_AllowListUnpickler(file, path, allowed, **back).load(), {})
    except BadInput:
        raise
    except _BROKEN as error:
        what = f"a pickle cannot be read ({str(error) or type(error).__name__})"
        raise BadInput(what, where=path, expected="a whole pickle of plain data") from error


def _with_text(value: Any, done: dict[int, Any]) -> Any:
    """The same, strings that are not UTF-8 read as Latin-1. done: by id, containers that were."""
    if id(value) in done:
        return done[id(value)]
    if isinstance(value, str):
        return text_of(_raw(value)) if any("\udc80" <= c <= "\udcff" for c in value) else value
    if isinstance(value, list):
        done[id(value)] = value
        value[:] = [_with_text(entry, done) for entry in value]
    elif isinstance(value, dict):
        done[id(value)] = value
        entries = [(_with_text(k, done), _with_text(v, done)) for k, v in value.items()]
        value.clear()
        value.update(entries)
    elif isinstance(value, tuple):
        read = tuple(_with_text(entry, done) for entry in value)
        done[id(value)], value = read, read
    elif isinstance(value, np.ndarray) and value.dtype == object:
        done[id(value)] = value
        for index in np.ndindex(value.shape):
            value[index] = _with_text(value[index], done)
    return value


def write_pickle(path: str | Path, content: object) -> Path:
    """Pickle `content`, for programs that read nothing else; protocol 4. Returns the path."""
    with open(path, "wb") as file:
        pickle.dump(content, file, protocol=4)
    return Path(path)


def read_npy(path: str | Path, expected: str = "a .npy file") -> npt.NDArray[Any]:
    """The array of a file. Raises MissingFile; BadInput for damage, and for forbidden content."""
    path = existing_file(path, "a file is missing", expected=expected)
    try:
        with bytes_of(path) as file:
            shape, dtype = read_header(file)
            if not dtype.hasobject:
                return read_array(file, os.path.getsize(path))
            if dtype != np.dtype(object):
                raise ValueError("records with objects")
            array = read_pickled(file, path, OBJECT_ARRAYS)
    except BadInput:
        raise
    except Exception as error:  # a damaged header is Python to NumPy: it raises nearly anything
        raise BadInput(f"not a whole .npy file ({error})", where=path, expected=expected) from error
    if not isinstance(array, np.ndarray) or array.dtype != object or array.shape != shape:
        what = f"the content is not the array of objects {shape} that the header promises"
        raise BadInput(what, where=path, expected=expected)
    return np.asarray(array)
