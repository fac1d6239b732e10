"""The index of a folder of images: `index.json`, and stores in segments, one a run that found any.

Files of an index folder (n: number of a segment, six digits; v: of the vocabulary's digest, eight):
  index.json              what stands where; written last, so what it names is whole
  pending.json            the segment that a run is at, for the next one to finish
  n_local.hdf5            local descriptors (`descriptor_store`)
  n_vlad_v.hdf5           one VLAD vector an image (`global_store`), or
  n_global.hdf5           the backbone's own global vector
  vocabulary_v.npz        what the VLAD vectors were made with
Rows never shift: an image that changed gets a row in a new segment, and the row of one that has
gone is no longer named. An image's id is its place in the sorted names, whatever its segment;
images that could not be described have no id.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ames_lite.errors import MissingFile, explained, require
from ames_lite.io import remedies
from ames_lite.io.images import is_image_name, left_out
from ames_lite.io.json_file import read_json_file, write_json_file
from ames_lite.io.provenance import Provenance
from ames_lite.io.walking import walk_images
from ames_lite.io.writing import LOCK
from ames_lite.records import LAST_ROW, LocalDescriptors
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.global_store import GlobalStore

SCHEMA = 1
INDEX, PENDING = "index.json", "pending.json"
REMEDY = "make the index again: rebuild=true"
KINDS = {"images": str, "backbone": dict, "vocabulary": str, "scanned_ns": int}
KEYS = {"schema", *KINDS, "entries"}
NUMBER = "[0-9]" * 6
BLOCK_BYTES = 1 << 26  # of vectors, as stored, read at a time


class ImageFile(NamedTuple):
    """An image as a folder lists it."""

    name: str
    size: int
    mtime_ns: int


class Entry(NamedTuple):
    """An image as an index knows it."""

    name: str
    size: int
    mtime_ns: int
    digest: str  # sha256 of the file; empty where it could not be read
    segment: int
    row: int
    failed: str  # why it has no descriptors; empty where it was described


@dataclass(frozen=True)
class IndexRecord:
    images: str  # absolute path of the folder
    backbone: Provenance  # of the local descriptors
    vocabulary: str  # digest; empty where the vectors are the backbone's own
    scanned_ns: int  # when the folder was listed
    entries: tuple[Entry, ...]  # by name


def segments_of(entries: Sequence[Entry]) -> list[int]:
    return sorted({entry.segment for entry in entries})


def scan_images(folder: str | Path) -> tuple[list[ImageFile], tuple[str, ...]]:
    """All images below a folder, as `list_images` names them, and notes on what was left out."""
    walk = walk_images(folder, is_image_name)
    with explained("an image cannot be read: {}", OSError, where=Path(folder)):
        stats = [(name, entry.stat()) for name, entry in walk.files]
    files = [ImageFile(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]
    return files, walk.notes + left_out(walk.others)


def is_index(folder: Path) -> bool:
    """Whether a folder holds an index, finished or begun."""
    return any((folder / name).exists() for name in (INDEX, PENDING, LOCK))


def first_free(folder: Path) -> int:
    """A segment number above all that the folder has stores of."""
    return max((int(path.name[:6]) for path in folder.glob(f"{NUMBER}_*.hdf5")), default=0) + 1


def local_path(folder: Path, segment: int) -> Path:
    return folder / f"{segment:06}_local.hdf5"


def vector_path(folder: Path, segment: int, vocabulary: str) -> Path:
    """The vectors of a segment: VLAD, or without a vocabulary the backbone's own."""
    kind = f"vlad_{vocabulary[:8]}" if vocabulary else "global"
    return folder / f"{segment:06}_{kind}.hdf5"


def vocabulary_path(folder: Path, vocabulary: str) -> Path:
    return folder / f"vocabulary_{vocabulary[:8]}.npz"


def read_record(folder: Path, file: str = INDEX) -> IndexRecord | None:
    """The content of index.json (or pending.json); None where it is missing. Raises BadInput."""
    path, expected = folder / file, f"what this version of ames_lite writes, schema {SCHEMA}"
    if not path.is_file():
        return None
    read = read_json_file(path, expected, REMEDY)
    what, kinds = "the index cannot be read: {}", (ValueError, TypeError, KeyError)
    with explained(what, kinds, where=path, expected=expected, remedy=REMEDY):
        if read["schema"] != SCHEMA or read.keys() != KEYS:
            raise ValueError(f"schema {read['schema']!r} with {sorted(read)}")
        entries = tuple(Entry(*entry) for entry in read["entries"])
        odd = [entry for entry in entries if not _is_entry(entry)]
        if odd:
            raise ValueError(f"an entry is {odd[0]!r:.200}")
        known = {key: read[key] for key in KINDS}
        for key, value in known.items():  # a digest is part of file names
            if type(value) is not KINDS[key] or key == "vocabulary" and not f"0{value}".isalnum():
                raise ValueError(f"'{key}' is {value!r:.200}")
        return IndexRecord(entries=entries, **known)


def _is_entry(entry: Entry) -> bool:
    kinds = (str, int, int, str, int, int, str)
    typed = all(type(value) is kind for value, kind in zip(entry, kinds, strict=True))
    return typed and 0 <= min(entry.segment, entry.row) <= max(entry.segment, entry.row) <= LAST_ROW


def write_record(folder: Path, record: IndexRecord, file: str = INDEX) -> None:
    """Write index.json (or pending.json), in place of one that is there."""
    write_json_file(folder / file, {"schema": SCHEMA, **vars(record)}, indent=None)


def remove_unnamed(folder: Path, records: Sequence[IndexRecord]) -> None:
    """Remove the stores and vocabularies of a folder that none of its records names."""
    kept = {vocabulary_path(folder, record.vocabulary) for record in records}
    for record in records:
        for segment in segments_of(record.entries):
            kept |= {local_path(folder, segment), vector_path(folder, segment, record.vocabulary)}
    for pattern in (f"{NUMBER}_*.hdf5", "vocabulary_*.npz"):
        for path in set(folder.glob(pattern)) - kept:
            path.unlink()


class OpenIndex(ExitStack):
    """An index of N described images, open for searching; an image's id is its place in `names`."""

    def __init__(self, folder: str | Path) -> None:
        """Raises MissingFile where there is no finished index, BadInput where it has no image."""
        super().__init__()
        self.folder = Path(folder)
        record, where = read_record(self.folder), self.folder.absolute()
        if record is None:
            expected = "the folder of an index, finished"
            what, remedy = "there is no index here", remedies.SEARCH
            raise MissingFile(what, where=where, expected=expected, remedy=remedy)
        self.record: IndexRecord = record
        described = [entry for entry in record.entries if not entry.failed]
        what, expected = "the index has no image that could be described", "images that can be read"
        require(described, what, where=where, expected=f"{expected} in {record.images}")
        self.names = tuple(entry.name for entry in described)  # sorted
        self.id_of = {name: number for number, name in enumerate(self.names)}
        self.segment = np.array([entry.segment for entry in described], np.int64)  # [N]
        self.row = np.array([entry.row for entry in described], np.int64)  # [N]
        self.failed = {entry.name: entry.failed for entry in record.entries if entry.failed}
        self._stores: dict[int, DescriptorStore] = {}

    def __len__(self) -> int:
        return len(self.names)

    @property
    def vocabulary(self) -> Path:
        return vocabulary_path(self.folder, self.record.vocabulary)

    def store(self, segment: int) -> DescriptorStore:
        if segment not in self._stores:
            path = local_path(self.folder, segment)
            self._stores[segment] = self.enter_context(DescriptorStore.open(path, REMEDY))
        return self._stores[segment]

    def read(self, number: int, max_count: int | None = None) -> LocalDescriptors:
        """The local descriptors of an image, or the strongest of them."""
        return self.store(int(self.segment[number])).read(int(self.row[number]), max_count)

    def vectors(self) -> Iterator[tuple[npt.NDArray[np.floating[Any]], npt.NDArray[np.int64]]]:
        """All vectors, of unit length, in blocks [n, V], and the ids [n] that they are of."""
        for segment in segments_of(self.record.entries):
            ids = np.flatnonzero(self.segment == segment)
            ids = ids[np.argsort(self.row[ids])]
            path = vector_path(self.folder, segment, self.record.vocabulary)
            if len(ids):
                with GlobalStore(path, remedy=REMEDY) as store:
                    yield from _blocks(store, self.row[ids], ids)

    def empty(self) -> list[str]:
        return empty_names(self.folder, self.record.entries)


def empty_names(folder: Path, entries: Sequence[Entry]) -> list[str]:
    """Names of the entries that were described and have no descriptor, in their order."""
    places = set()
    for segment in segments_of(entries):
        with DescriptorStore.open(local_path(folder, segment), REMEDY) as store:
            places |= {(segment, int(row)) for row in store.empty_rows()}
    return [entry.name for entry in entries if (entry.segment, entry.row) in places]


def _blocks(
    store: GlobalStore, rows: npt.NDArray[np.int64], ids: npt.NDArray[np.int64]
) -> Iterator[tuple[npt.NDArray[np.floating[Any]], npt.NDArray[np.int64]]]:
    """Those rows of a file, which ascend, and their ids; a bounded number of bytes at a time."""
    step = max(1, BLOCK_BYTES // (store.dim * store.dtype.itemsize))
    for first in range(0, len(store), step):
        stop = min(first + step, len(store))
        start, end = np.searchsorted(rows, [first, stop])
        if start < end:
            block = store.rows(first, stop)
            alive = rows[start:end] - first
            yield block if len(alive) == len(block) else block[alive], ids[start:end]
