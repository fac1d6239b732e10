"""HDF5 files that say what they are: the sole owner of h5py.

Every file has four attributes: `schema`, `provenance` (a flat dict as JSON), `checksums` of the
others and of small data sets, and `complete` (0 or 1), written last and checked first. A file
appears whole, by a rename; only a store that can be resumed appears with `complete` 0.
"""

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput, MissingFile, disk_errno, disk_error, explained, require
from ames_lite.io.json_file import parse_json
from ames_lite.io.provenance import ABSENT, Provenance, check_provenance
from ames_lite.io.writing import replacing
from ames_lite.records import unique_names
from ames_lite.stores import checksums
from ames_lite.stores.hdf5_objects import AGAIN, DataSet, File, Selection, Source, write_errors

__all__ = ["DataSet", "File", "Selection", "Source", "write_errors"]
Came = Callable[[File], str]  # how far, in words
Wanted = tuple[int | None, ...]
Names = Sequence[str]
VirtualLayout, VirtualSource = h5py.VirtualLayout, h5py.VirtualSource
filter_available = h5py.h5z.filter_avail
FORMAT = ("v108", "v108")  # fixed, so that the same content gives the same bytes everywhere
VIRTUAL_FORMAT = ("v110", "v110")
CHECKSUMS = "checksums"
ATTRIBUTE_BYTES = 60_000  # HDF5 ends a compact attribute at 64 KiB
LOCK_REMEDY = "wait until that process has ended (or end it), then try again"
BEGIN_ANEW = "begin anew: overwrite=true on the command line, overwrite=True in Python"


class Schema(NamedTuple):
    """What kind of file it is: as it is written, and as it was before files had checksums."""

    name: str
    older: str | None = None


def check_names(names: Sequence[str], what: str) -> tuple[str, ...]:
    """The names as a tuple. Raises BadInput where there is none, an empty one or one twice."""
    if isinstance(names, str) or len(names) == 0:
        raise BadInput(f"{what} is {names!r}", expected="a list of at least one name")
    for row, name in enumerate(names):
        if not name or "\0" in name:
            raise BadInput(f"{what} has the name {name!r} in row {row}", expected="a path")
    return unique_names(names, what)


@contextmanager
def new_file(
    path: str | Path,
    schema: Schema,
    provenance: Mapping[str, Any],
    *,
    overwrite: bool = False,
    complete: bool = True,  # False: the mark stays 0, the store is filled in place afterwards
    virtual: bool = False,  # for virtual data sets, which need a newer format
    small: Sequence[str] = (),  # see `mark_complete`
) -> Iterator[File]:
    """An empty file to fill in the block; it takes its name when the block ends without error."""
    checked = check_provenance(provenance)
    if overwrite and Path(path).is_file():
        refuse_being_written(Path(path))
    with replacing(path, overwrite) as partial:
        libver = VIRTUAL_FORMAT if virtual else FORMAT
        file = File(h5py.File(partial, "w", libver=libver), partial, new=True)
        try:
            with write_errors():
                write_json(file, "provenance", checked)
                file.set_attribute("schema", _fixed_text(schema.name))
                file.set_attribute("complete", np.uint8(0))
                _write_sums(file, dict.fromkeys((*small, *(key for key, _ in _texts(file))), 0))
                yield file
                if complete:
                    mark_complete(file, small)
                file.flush()
                file.close()
        except BaseException:
            abandon(file, new=True)
            raise


def abandon(file: File, *, new: bool = False) -> None:
    """Let go of a file that cannot be written to its end; what is not on disk is lost. HDF5 tries
    again when it is closed and when the process ends, and brings that down when it fails: so its
    descriptor is led elsewhere first. new: created by this handle, which gives a file its length;
    that no place takes under a limit on the size of files.
    """
    if not file:
        return
    _lead(file, os.open(os.devnull, os.O_RDWR))
    if new:
        with suppress(Exception):
            file.write_ends()
        if hasattr(os, "memfd_create"):
            _lead(file, os.memfd_create("abandoned"))
    with suppress(Exception):
        file.close()


def _lead(file: File, descriptor: int) -> None:
    os.dup2(descriptor, file.inner.id.get_vfd_handle())
    os.close(descriptor)


def mark_complete(file: File, small: Sequence[str] = ()) -> None:
    """Set the mark, once all else is with the system. small: data sets to have a checksum each."""
    sums = {name: checksums.checksum(file[name][:]) for name in small}
    _write_sums(file, sums | {key: checksums.checksum(text) for key, text in _texts(file)})
    file.flush()
    file.set_attribute("complete", np.uint8(1))
    file.flush()


def _write_sums(file: File, sums: Mapping[str, int]) -> None:
    """As text of a length that does not depend on the values, to be rewritten in place."""
    write_json(file, CHECKSUMS, {key: f"{value:016x}" for key, value in sums.items()})


def _texts(file: File) -> Iterator[tuple[str, bytes]]:
    for key in file.attributes():
        if key not in (CHECKSUMS, "complete"):
            yield f"attribute {key}", str(file.attribute(key)).encode("utf-8", "surrogateescape")


def is_complete(file: File) -> bool:
    mark = file.attribute("complete")
    return isinstance(mark, np.integer) and bool(mark)


def _fixed_text(text: str) -> npt.NDArray[np.bytes_]:
    encoded = text.encode("utf-8")
    return np.array(encoded, dtype=text_dtype(len(encoded)))


def write_json(file: File, key: str, value: Mapping[str, Any]) -> None:
    """Store a flat dict as the attribute `key`, as readable JSON with sorted keys."""
    text = json.dumps(dict(value), sort_keys=True)
    size, most = len(text.encode()), ATTRIBUTE_BYTES
    require(size <= most, f"{key} takes {size} bytes", expected=f"at most {most}")
    file.set_attribute(key, _fixed_text(text))


def read_json(file: File, key: str) -> Provenance:
    """The dict that `write_json` stored. Raises BadInput where it is absent or damaged."""
    found = file.attribute(key)
    if found is None:
        raise file.damaged(f"the attribute '{key}' is absent")
    expected = f"the attribute '{key}' as ames_lite wrote it"
    value = parse_json(_text(found), file.path, expected, file.remedy or AGAIN)
    if not isinstance(value, dict):
        raise file.damaged(f"the attribute '{key}' is {value!r}, not a dict")
    return value


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def open_foreign(path: str | Path, mode: str = "r", *, remedy: str | None = None) -> File:
    """A file that others wrote. MissingFile; BadInput: no HDF5, cut short, or being written."""
    path = Path(path)
    if not path.is_file():  # a pipe would not end
        there = "is a folder" if path.is_dir() else "is no file"
        what = f"the path {there}" if path.exists() else "the file is missing"
        raise MissingFile(what, where=path, expected="an HDF5 file", remedy=remedy)
    try:
        return File(h5py.File(path, mode, libver=None if mode == "r" else FORMAT), path, remedy)
    except BlockingIOError as error:
        what = "the file is being written by another process"
        raise BadInput(what, where=path, remedy=LOCK_REMEDY) from error
    except Exception as error:  # of a damaged file h5py raises nearly anything
        if mode != "r" and isinstance(error, OSError) and disk_errno(error):
            raise disk_error(error, path) from error
        expected = "a whole HDF5 file (this one is empty, cut short, damaged or of another kind)"
        what = f"the file cannot be opened: {error}"
        raise BadInput(what, where=path, expected=expected, remedy=remedy or AGAIN) from error


def refuse_being_written(path: Path) -> None:
    """Raise BadInput where another process holds the file open for writing."""
    try:
        open_foreign(path).close()
    except BadInput as error:
        if isinstance(error.__cause__, BlockingIOError):
            raise
        # not HDF5 or damaged: nobody writes it, and it is about to be replaced


def open_unfinished(
    path: str | Path, schema: Schema, mode: str = "r", *, remedy: str | None = None
) -> File:
    """A file of this schema, complete or not; mode: `r`, or `r+` to write. As `open_foreign`."""
    file = open_foreign(path, mode, remedy=remedy)
    with closed_on_error(file):
        marked = file.attribute("schema")
        found = ABSENT if marked is None else _text(marked)
        what, expected = f"the file's schema is '{found}'", f"schema '{schema.name}'"
        other = "name a file of that kind, or make it with this version of ames_lite"
        fine = found == schema.name or (found == schema.older and mode == "r")
        require(fine, what, where=path, expected=expected, remedy=other)
        file.has_checksums = found == schema.name
    return file


def open_to_fill(path: str | Path, schema: Schema) -> File:
    """An unfinished file, to write; a complete one to read, as writing changes a file's time."""
    file = open_unfinished(path, schema, remedy=BEGIN_ANEW)
    with closed_on_error(file):
        if is_complete(file):
            return file
    file.close()
    return open_unfinished(path, schema, "r+", remedy=BEGIN_ANEW)


def open_complete(
    path: str | Path, schema: Schema, *, remedy: str | None = None, progress: Came | None = None
) -> File:
    """A complete file, for reading. remedy: what makes it; progress(file): how far it came."""
    file = open_unfinished(path, schema, remedy=remedy)
    with closed_on_error(file):
        if is_complete(file):
            _check_attributes(file)
            return file
        came, resume = "it was left half-way", ""
        if progress is not None:
            came, resume = progress(file), ", with resume=True to continue"
        what, expected = f"the file is not complete: {came}", "a file whose writing was finished"
        again = f"run the command that writes it again{resume}" + (f" ({remedy})" if remedy else "")
        raise BadInput(what, where=path, expected=expected, remedy=again)


def _check_attributes(file: File) -> None:
    file.verifies = file.has_checksums and checksums.verified()
    if file.verifies:
        file.sums = read_json(file, CHECKSUMS)
        found = {key: checksums.checksum(text) for key, text in _texts(file)}
        for key in found.keys() | {key for key in file.sums if key.startswith("attribute")}:
            file.verify(key, found.get(key))


@contextmanager
def closed_on_error(file: File) -> Iterator[None]:
    """Within: what is raised closes the file."""
    try:
        yield
    except BaseException:
        file.close()
        raise


def read_provenance(path: str | Path, schema: Schema, *, remedy: str | None = None) -> Provenance:
    with open_complete(path, schema, remedy=remedy) as file:
        return read_json(file, "provenance")


def create_contiguous(file: File, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> None:
    """A contiguous data set that is allocated at once, so that filling it moves no metadata."""
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_layout(h5py.h5d.CONTIGUOUS)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    file.inner.create_dataset(name, shape, dtype, dcpl=properties)


def text_dtype(num_bytes: int) -> np.dtype[Any]:
    """Fixed-length UTF-8."""
    return np.dtype(h5py.string_dtype("utf-8", max(1, num_bytes)))


def encode_names(names: Sequence[str]) -> npt.NDArray[np.bytes_]:
    """Names as fixed-length UTF-8 [N]. BadInput for one that would be read back as another."""
    with explained("a name cannot be written: {}", UnicodeEncodeError, expected="a path"):
        encoded = [name.encode("utf-8", "surrogateescape") for name in names]
    for name, written in zip(names, decode_names(encoded), strict=True):
        if written != name:
            what = f"the name {name!a} is UTF-8 on the disk, read as {sys.getfilesystemencoding()}"
            remedy = "set PYTHONUTF8=1, or LC_ALL=C.UTF-8"
            raise BadInput(what, expected="a locale of UTF-8", remedy=remedy)
    return np.array(encoded, dtype=text_dtype(max(map(len, encoded))))


def decode_names(values: Iterable[bytes]) -> tuple[str, ...]:
    return tuple(value.decode("utf-8", "surrogateescape") for value in values)


def dataset(file: File, name: str, shape: Wanted, kinds: Names, *, spread: bool = False) -> DataSet:
    """A data set of this shape (None: any) and dtype ('text': fixed length). spread: or virtual."""
    if name not in file:
        raise file.damaged(f"the data set '{name}' is absent")
    found = file[name]
    if found.is_virtual and not spread:
        raise file.damaged(f"'{name}' is spread over files")
    kind = "text" if found.dtype.kind == "S" else found.dtype.name
    fits = len(found.shape) == len(shape) and all(
        want is None or have == want for have, want in zip(found.shape, shape, strict=True)
    )
    if not fits or kind not in kinds:
        wanted = f"{list(shape)} ({', '.join(kinds)})".replace("None", "any")
        raise file.damaged(f"'{name}' is {list(found.shape)} ({kind}), not {wanted}")
    return found
