"""Pickles, read without trust: the one owner of unpickling.

A pickle is a program that may import and call anything. Here it may call only what a table of
allowed globals lists; by default nothing, which is enough for the official ground truth (dicts,
lists, strings, numbers). Allowed names lead to stand-ins of this file, not to the library's own
objects, so that a forged state is checked before NumPy sees it.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

import numpy as np

from ames_lite.errors import BadInput, MissingFile

GlobalTable = Mapping[tuple[str, str], object]

_BROKEN = (
    *(pickle.UnpicklingError, EOFError, struct.error, UnicodeError, ValueError, TypeError),
    *(AttributeError, LookupError, OverflowError, MemoryError, RecursionError, ImportError),
)  # what a damaged or forged stream makes the unpickler raise


class _Dtype:
    """Stands in for a NumPy dtype while its state is read: numbers and booleans only."""

    __slots__ = ("value",)
    kinds = "biuf"

    def __init__(self, code: str) -> None:
        value = np.dtype(code)
        if value.kind not in self.kinds or value.names is not None:
            raise ValueError(f"dtype {code}")
        self.value = value

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] not in ("<", ">", "=", "|") or any(part is not None for part in state[2:5]):
            raise ValueError("a structured dtype")
        self.value = self.value.newbyteorder(state[1])


class _ObjectDtype(_Dtype):
    """One of OBJECT_ARRAYS: objects, too."""

    __slots__ = ()
    kinds = _Dtype.kinds + "O"


class _MakeDtype:
    # instances without a __dict__: a pickle cannot set attributes on what it may call
    __slots__ = ()
    kind: type[_Dtype] = _Dtype

    def __call__(self, code: str, align: object = False, copy: object = False) -> _Dtype:
        return self.kind(code)


class _MakeObjectDtype(_MakeDtype):
    __slots__ = ()
    kind = _ObjectDtype


class _Array(np.ndarray[Any, Any]):
    """An array that takes only a state whose bytes fit its shape."""

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        data = _raw(data)
        if not isinstance(dtype, _Dtype):
            raise ValueError("an array's dtype")
        objects = dtype.value.hasobject  # then the state is a list: a table that allows them
        if not isinstance(data, list if objects else bytes):
            raise ValueError("an array of objects")
        count = 1
        for length in shape:
            if not isinstance(length, int) or length < 0:
                raise ValueError("an array's shape")
            count *= length
        if len(data) != (count if objects else count * dtype.value.itemsize):
            raise ValueError("an array's length")
        checked: Any = (1, shape, dtype.value, bool(fortran), data)  # NumPy's stub has it wrong
        super().__setstate__(checked)


class _Reconstruct:
    __slots__ = ()

    def __call__(self, subtype: object, shape: object, code: object) -> _Array:
        return _Array((0,), np.uint8)


class _FromBuffer:  # how protocol 5 writes arrays
    __slots__ = ()

    def __call__(
        self, data: bytes | bytearray, dtype: _Dtype, shape: tuple[int, ...], order: str
    ) -> np.ndarray[Any, Any]:
        if not isinstance(dtype, _Dtype) or dtype.value.hasobject or order not in ("C", "F"):
            raise ValueError("an array of objects")
        values: np.ndarray[Any, Any] = np.frombuffer(bytes(data), dtype.value)
        return values.reshape(shape) if order == "C" else values.reshape(shape[::-1]).T


class _MakeScalar:
    __slots__ = ()

    def __call__(self, dtype: _Dtype, data: Any) -> np.generic:
        if not isinstance(dtype, _Dtype) or dtype.value.hasobject:
            raise ValueError("a scalar's dtype")
        data = _raw(data)
        if len(data) != dtype.value.itemsize:
            raise ValueError("a scalar's length")
        return np.frombuffer(data, dtype.value)[0]


class _EncodeLatin:  # how protocols 0 to 2 write bytes
    __slots__ = ()

    def __call__(self, text: str, encoding: str) -> bytes:
        if not isinstance(text, str) or encoding != "latin1":
            raise ValueError(f"bytes as {encoding!r}")
        return text.encode("latin1")


class _NoBytes:  # and how they write none
    __slots__ = ()

    def __call__(self) -> bytes:
        return b""


def _raw(data: Any) -> Any:
    """The bytes of a string of Python 2, as `_byte_strings` reads it; anything else as it is."""
    return data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data


def text_of(raw: bytes) -> str:
    """Text of Python 2, or of anybody who wrote bytes: UTF-8, or else Latin-1."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin1")


def _numpy_table(make_dtype: _MakeDtype) -> GlobalTable:
    table: dict[tuple[str, str], object] = {
        ("numpy", "ndarray"): "ndarray",  # only ever handed to _reconstruct
        ("numpy", "dtype"): make_dtype,
        ("_codecs", "encode"): _EncodeLatin(),
    }
    for builtins in ("__builtin__", "builtins"):
        table[builtins, "bytes"] = _NoBytes()
    for core in ("numpy.core", "numpy._core"):  # NumPy 2 renamed it
        table[f"{core}.multiarray", "_reconstruct"] = _Reconstruct()
        table[f"{core}.multiarray", "scalar"] = _MakeScalar()
        table[f"{core}.numeric", "_frombuffer"] = _FromBuffer()
    return MappingProxyType(table)


NO_GLOBALS: GlobalTable = MappingProxyType({})
NUMPY_ARRAYS: GlobalTable = _numpy_table(_MakeDtype())  # arrays and scalars of numbers alone
OBJECT_ARRAYS: GlobalTable = _numpy_table(_MakeObjectDtype())  # and of what a pickle may hold


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
            raise BadInput(
                f"a pickle asks for {module}.{name}, which is not allowed; nothing was run",
                where=self._path,
                expected=", ".join(".".join(known) for known in self._allowed) or "plain data",
                remedy="take the file from its publisher again, or convert it to a native format",
            )
        return self._allowed[module, name]


def read_pickle(path: str | Path, allowed: GlobalTable = NO_GLOBALS) -> object:
    """What a pickle holds: dicts, lists, strings, numbers, and what `allowed` lets it make.

    allowed: a table such as NUMPY_ARRAYS, (module, name) to what stands in for it. Raises
    MissingFile where there is no file; BadInput, with path and module.name, at any other global,
    and where the stream is damaged or forged.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFile("a pickle is missing", where=path)
    with open(path, "rb") as file:
        return read_pickled(file, path, allowed)


def read_pickled(
    file: IO[bytes], path: Path, allowed: GlobalTable = NO_GLOBALS, *, persistent: bool = False
) -> object:
    """`read_pickle` from where an open file stands; path: for messages.

    persistent: references to objects outside of the pickle are allowed, and stand for themselves.
    """
    start = file.tell()
    try:
        try:
            return _AllowListUnpickler(file, path, allowed, persistent).load()
        except UnicodeDecodeError:
            file.seek(start)
            return _byte_strings(file, path, allowed)
    except BadInput:
        raise
    except _BROKEN as error:
        reason = str(error) or type(error).__name__
        expected = "a whole pickle of plain data"
        raise BadInput(
            f"a pickle cannot be read ({reason})", where=path, expected=expected
        ) from error


def _byte_strings(file: IO[bytes], path: Path, allowed: GlobalTable) -> object:
    """The content of a pickle of Python 2, whose strings are bytes: of text, or of an array."""
    strings: Any = {"encoding": "utf-8", "errors": "surrogateescape"}  # gives all bytes back
    content = _AllowListUnpickler(file, path, allowed, **strings).load()
    return _with_text(content, {})


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
        value = done[id(value)] = tuple(_with_text(entry, done) for entry in value)
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
