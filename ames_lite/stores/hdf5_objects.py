"""HDF5 files and data sets whose damage is a user's error: what `hdf5` hands out.

A damaged file makes h5py raise nearly anything, when it is opened or much later; an OSError in
writing (a full disk) stays what it is. Values are in the byte order of this machine.
"""

import atexit
import math
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput
from ames_lite.stores.checksums import checksum
from ames_lite.stores.hdf5_metadata import check_object

AGAIN = "make the file again"
HARD = 0  # a type of links: an object itself
LINKS = 16  # soft links of a path, at most
METADATA = 64 << 20  # bytes that one part of it may take
SMALL, SPARSE = 64 << 20, 1000  # bytes, and the file's size so often: see _refuse_beyond


@contextmanager
def write_errors() -> Iterator[None]:
    """A refusal of the operating system as the OSError that it is: HDF5 has other names for it."""
    try:
        yield
    except RuntimeError as error:
        if "errno = " in str(error):
            raise OSError(str(error)) from error
        raise


class Selection(NamedTuple):
    """The bounding box of a part of a data set (first and last entry), and how many entries."""

    first: tuple[int, ...]
    last: tuple[int, ...]
    points: int

    @classmethod
    def of(cls, space: Any) -> "Selection":
        first, last = space.get_select_bounds()
        return cls(tuple(map(int, first)), tuple(map(int, last)), int(space.get_select_npoints()))

    def rows(self, shape: tuple[int, ...]) -> tuple[slice, bool]:
        """The rows that it spans in a data set of this shape, and whether it takes them whole."""
        first, last = self.first[0], self.last[0]
        whole = self.points == (last - first + 1) * math.prod(shape[1:])
        return slice(first, last + 1), whole


class Source(NamedTuple):
    """A part of a virtual data set; where it lies; taken: the part of it there, None: all of it."""

    file_name: str
    dset_name: str
    placed: Selection
    taken: Selection | None


class _Guarded:
    """An h5py object of a file. new: made by this process, so that what is raised is no damage."""

    def __init__(self, inner: Any, path: Path, remedy: str | None = None, new: bool = False):
        self.inner, self.path, self.remedy, self._new = inner, path, remedy, new

    def damaged(self, what: str) -> BadInput:
        expected, remedy = "a whole HDF5 file, as it was written", self.remedy or AGAIN
        return BadInput(what, where=self.path, expected=expected, remedy=remedy)

    @contextmanager
    def reading(self, what: str) -> Iterator[None]:
        """Within: whatever is raised becomes a BadInput that names the file and `what` of it."""
        try:
            yield
        except Exception as error:
            said = error.args[0] if isinstance(error, KeyError) and error.args else error
            said = said or type(error).__name__
            raise self.damaged(f"the file is damaged: {what} cannot be used ({said})") from error

    @contextmanager
    def writing(self, what: str) -> Iterator[None]:
        """Within: what is raised is a full disk (OSError), or damage."""
        try:
            with write_errors():
                yield
        except OSError as error:
            error.filename = error.filename or str(self.path)
            raise
        except Exception:
            if self._new:
                raise
            with self.reading(what):
                raise


class DataSet(_Guarded):
    """A data set with values; chunks: their shape, or None; is_virtual: they lie in others."""

    def __init__(self, inner: Any, path: Path, remedy: str | None, new: bool, name: str) -> None:
        """Raises BadInput where `inner` is a group, or has neither shape nor numbers."""
        super().__init__(inner, path, remedy, new)
        self.name, self._what = name, f"'{name}'"
        with self.reading(self._what):
            shape = getattr(inner, "shape", None)
        if shape is None:
            raise self.damaged(f"{self._what} is a group or without values, not a data set")
        self.shape: tuple[int, ...] = tuple(map(int, shape))
        with self.reading(self._what):
            if inner.external:  # a pipe among them would not end
                raise ValueError(f"its values lie in another file, '{inner.external[0][0]}'")
            self.stored_dtype: np.dtype[Any] = inner.dtype
            if not _in_order(self.stored_dtype):  # reading it would bring HDF5 down
                raise ValueError("fields that overlap")
            self.dtype = self.stored_dtype.newbyteorder("=")
            self.chunks: tuple[int, ...] | None = inner.chunks
            self.is_virtual = bool(inner.is_virtual)
            if not (new or self.is_virtual):
                self._refuse_beyond(os.path.getsize(path))

    def _refuse_beyond(self, size: int) -> None:
        """Raise ValueError where more is declared than a file of that size can hold: values in one
        piece that end beyond it; and, of more than SMALL and than SPARSE times the file, those of
        which a part was never written. What was written is never refused, however small.
        """
        begins = self.inner.id.get_offset()  # None of chunks, and of what was never written
        declared = math.prod(self.shape) * self.stored_dtype.itemsize
        if begins is not None and begins + declared > size:
            raise ValueError("its values end beyond the end of the file")
        if begins is not None or declared <= max(SMALL, SPARSE * size):
            return
        axes = zip(self.shape, self.chunks or self.shape, strict=True)
        every = math.prod(-(-length // chunk) for length, chunk in axes)
        if self.chunks is None or self.inner.id.get_num_chunks() < every:
            raise ValueError(f"of {declared} bytes, parts were never written")

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, selection: Any) -> npt.NDArray[Any]:
        with self.reading(self._what):
            return np.asarray(self.inner[selection], self.dtype)

    def __setitem__(self, selection: Any, values: Any) -> None:
        with self.writing(self._what):
            self.inner[selection] = values

    @property
    def offset(self) -> int | None:
        """The byte of the file where all its values begin; None where they lie in another way."""
        with self.reading(self._what):
            found = self.inner.id.get_offset()
            return None if found is None else int(found)

    def over(self, buffer: Any) -> npt.NDArray[Any]:
        """The array in a buffer that begins where the file does; `offset` is not None."""
        count = math.prod(self.shape)
        return np.frombuffer(buffer, self.stored_dtype, count, self.offset or 0).reshape(self.shape)

    def filters(self) -> list[tuple[int, str]]:
        with self.reading(self._what):
            created = self.inner.id.get_create_plist()
            found = [created.get_filter(at) for at in range(created.get_nfilters())]
            return [(number, name.decode(errors="replace")) for number, _, _, name in found]

    def sources(self) -> list[Source]:
        """Where the parts of a virtual data set lie; nowhere for a plain one."""
        with self.reading(self._what):
            found = self.inner.virtual_sources() if self.is_virtual else ()
            taken = [Selection.of(s.src_space) if s.src_space.shape else None for s in found]
            placed = [(s.file_name, s.dset_name, Selection.of(s.vspace)) for s in found]
            return [Source(*one, part) for one, part in zip(placed, taken, strict=True)]


def _in_order(dtype: np.dtype[Any]) -> bool:
    """Whether no field of records begins before the one before it has ended."""
    reached = 0
    for field, offset, *_ in sorted((dtype.fields or {}).values(), key=lambda entry: entry[1]):
        if offset < reached or not _in_order(field.base):
            return False
        reached = offset + field.itemsize
    return reached <= dtype.itemsize


class File(_Guarded):
    """An open file; a context manager, false once it is closed.

    has_checksums: older files have none; verifies: they are compared; sums: of what is read whole.
    """

    def __init__(self, inner: Any, path: Path, remedy: str | None = None, new: bool = False):
        super().__init__(inner, path, remedy, new)
        self._found: dict[str, DataSet] = {}  # looking one up takes as long as reading a row
        self._checked: set[int | None] = set()  # addresses, of paths that were followed
        self._userblock = int(inner.userblock_size)
        self.has_checksums = self.verifies = self._broken = False
        self.sums: dict[str, Any] = {}

    def __contains__(self, name: str) -> bool:
        if name in self._found:
            return True
        with self.reading(f"'{name}'"):
            self._follow(name)
            return name in self.inner

    def __getitem__(self, name: str) -> DataSet:
        if name not in self._found:
            with self.reading(f"'{name}'"):
                self._follow(name)
                inner = self.inner[name]
            self._found[name] = DataSet(inner, self.path, self.remedy, self._new, name)
        return self._found[name]

    def _follow(self, name: str) -> None:
        """Raise ValueError for links out of the file, or in circles, and for damaged metadata."""
        self._check()
        at, left, followed = "/", name.split("/"), 0
        while left:
            part = left.pop(0)
            group = self.inner[at]
            link: Any = group.get(part, getlink=True) if part else None
            if hasattr(link, "filename"):
                raise ValueError(f"a link to another file, '{link.filename}'")
            if hasattr(link, "path"):
                followed += 1
                at = "/" if link.path.startswith("/") else at
                left = [*link.path.split("/"), *left]
            elif link is not None:
                at = f"{at}{part}/"
                self._check(group.id.links.get_info(os.fsencode(part)).u)
            if followed > LINKS:
                raise ValueError(f"more than {LINKS} links behind each other")

    def groups(self, member: str) -> Iterator[str]:
        """Paths of all groups that have such a member. Raises BadInput at any link."""
        with self.reading("'/'"):
            self._check()
        left, met = [""], set()
        while left:
            at = left.pop()
            with self.reading(f"'{at}'"):
                group = self.inner[at or "/"]
                if not hasattr(group, "keys"):
                    continue
                names = list(group)
                if member in names and at:
                    yield at
                    continue
                for name in names:
                    address = self._address(group, name)
                    if address in met:
                        raise ValueError(f"'{name}' is there twice")
                    met.add(address)
                    left.append(f"{at}/{name}" if at else name)

    def members(self, path: str, names: Iterable[str]) -> dict[str, DataSet]:
        """Data sets of a group by name, where they are there; none is kept. Raises BadInput."""
        with self.reading(f"'{path}'"):
            self._follow(path)
            group = self.inner[path]
            there = [name for name in names if name in group]
            inner = {name: group[name] for name in there if self._address(group, name)}
        found = {}
        for name, one in inner.items():
            whole = f"{path}/{name}"
            found[name] = DataSet(one, self.path, self.remedy, self._new, whole)
            if found[name].is_virtual:
                raise self.damaged(f"'{whole}' is spread over files")
        return found

    def _address(self, group: Any, name: str) -> int:
        """Where an object of a group lies. Raises ValueError for links, and damaged metadata."""
        link = group.id.links.get_info(os.fsencode(name))
        if link.type != HARD:
            raise ValueError(f"'{name}' is a link")
        if not self._new:
            check_object(self._bytes, link.u)  # not kept: there may be millions
        return int(link.u)

    def _check(self, address: int | None = None) -> None:
        """Look once at an object's metadata (the root's), unless this process makes the file."""
        if not self._new and address not in self._checked:
            check_object(self._bytes, address)
            self._checked.add(address)

    def _bytes(self, begin: int, size: int) -> bytes:
        """Of the file itself, from an address of HDF5 on: at most METADATA, fewer at its end."""
        descriptor, begin = self.inner.id.get_vfd_handle(), begin + self._userblock
        left = min(size, METADATA, os.fstat(descriptor).st_size - begin)
        return os.pread(descriptor, left, begin) if left > 0 else b""

    def __setitem__(self, name: str, values: Any) -> None:
        with self.writing("the file"):
            inner = self.inner.create_dataset(None, data=values)
            self.inner[name] = inner
        # kept and flushed: what fails when it is closed would not be said
        self._found[name] = DataSet(inner, self.path, self.remedy, self._new, name)
        with self.writing("the file"):
            inner.flush()

    def whole(self, name: str) -> npt.NDArray[Any]:
        """All of a small data set. Raises BadInput where its checksum is another."""
        values = self[name][:]
        if self.verifies:
            self.verify(name, checksum(values))
        return values

    def verify(self, name: str, found: int | None) -> None:
        if found is None or self.sums.get(name) != f"{found:016x}":
            what = f"'{name}' was changed after it was written: its checksum is another"
            raise self.damaged(what)

    def attributes(self) -> list[str]:
        with self.reading("the attributes"):
            return sorted(self.inner.attrs)

    def attribute(self, key: str) -> object:
        """The value of an attribute; None where it is absent. Refused is text of any length, which
        is never written: it lies where HDF5 may go in circles.
        """
        with self.reading(f"the attribute '{key}'"):
            attributes = self.inner.attrs
            if key in attributes and attributes.get_id(key).dtype.hasobject:
                raise ValueError("it is of any length")
            return attributes.get(key)

    def set_attribute(self, key: str, value: Any) -> None:
        """Set an attribute; one of the same type is rewritten in place: a kill cannot lose it."""
        with self.writing("the file"):
            attributes = self.inner.attrs
            if key in attributes and attributes.get_id(key).dtype == np.asarray(value).dtype:
                attributes.modify(key, value)
            else:
                attributes[key] = value

    def flush(self) -> None:
        with self.writing("the file"):
            self.inner.flush()

    def write_ends(self) -> None:
        """Write the last entry of each data set that lies in the file in one piece."""
        for inner in self.inner.values():
            if inner.id.get_offset() is not None:
                last = tuple(length - 1 for length in inner.shape)
                inner[last] = np.zeros((), inner.dtype)
        self.inner.flush()

    def close(self) -> None:
        self._found.clear()
        try:
            with self.writing("the file"):
                self.inner.close()
        except (OSError, BadInput):  # HDF5 tries again when the process ends, which crashes it
            self._broken = True
            atexit.register(_leave)
            raise

    def __bool__(self) -> bool:
        return not self._broken and bool(self.inner)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self:
            self.close()


def _leave() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)
