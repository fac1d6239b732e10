"""The index of a folder of images: `index.json`, and stores in segments, one for every run that
found something new.

Files of an index folder (n: number of a segment, six digits; v: eight digits of the vocabulary's
digest):
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

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput, MissingFile
from ames_lite.io import remedies
from ames_lite.io.images import is_image_name, left_out
from ames_lite.io.json_file import read_json_file
from ames_lite.io.provenance import Provenance
from ames_lite.io.walking import walk_images
from ames_lite.io.writing import LOCK, replacing
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.global_store import GlobalStore

SCHEMA = 1
INDEX, PENDING = "index.json", "pending.json"
REMEDY = "make the index again: rebuild=true"
KEYS = {"schema", "images", "backbone", "vocabulary", "scanned_ns", "entries"}
NUMBER = "[0-9]" * 6
BLOCK_BYTES = 1 << 26  # of vectors, as stored, read at a time


class ImageFile(NamedTuple):
    """An image as a folder lists it: mtime_ns is its time of change, in nanoseconds."""

    name: str
    size: int
    mtime_ns: int


class Entry(NamedTuple):
    """An image as an index knows it: the file, sha256 of its bytes, its row, why it has none.

    digest: empty where the file could not be read; failed: empty where it was described.
    """

    name: str
    size: int
    mtime_ns: int
    digest: str
    segment: int
    row: int
    failed: str


@dataclass(frozen=True)
class IndexRecord:
    """What index.json says.

    images: absolute path of the folder; backbone: provenance of the local descriptors; vocabulary:
    digest of that of the vectors, empty where they are the backbone's own; scanned_ns: when the
    folder was looked at; entries: by name.
    """

    images: str
    backbone: Provenance
    vocabulary: str
    scanned_ns: int
    entries: tuple[Entry, ...]

    @property
    def segments(self) -> list[int]:
        """The segments that are in use, ascending."""
        return sorted({entry.segment for entry in self.entries})


def scan_images(folder: str | Path) -> tuple[list[ImageFile], tuple[str, ...]]:
    """All images below a folder, sorted by name, and notes on what was left out.

    The names are those of `list_images`. Raises MissingFile where there is no such folder, BadInput
    where part of it cannot be read.
    """
    walk = walk_images(folder, is_image_name)
    try:
        stats = [entry.stat() for _, entry in walk.files]
    except OSError as error:
        raise BadInput(f"an image cannot be read: {error}", where=Path(folder)) from error
    files = [
        ImageFile(name, stat.st_size, stat.st_mtime_ns)
        for (name, _), stat in zip(walk.files, stats, strict=True)
    ]
    return files, walk.notes + left_out(walk.others)


def is_index(folder: Path) -> bool:
    """Whether a folder is that of an index, finished or begun."""
    return any((folder / name).exists() for name in (INDEX, PENDING, LOCK))


def first_free(folder: Path) -> int:
    """The number of a segment that no store of the folder has, nor a later one."""
    return max((int(path.name[:6]) for path in folder.glob(f"{NUMBER}_*.hdf5")), default=0) + 1


def local_path(folder: Path, segment: int) -> Path:
    """Where the local descriptors of a segment are."""
    return folder / f"{segment:06}_local.hdf5"


def vector_path(folder: Path, segment: int, vocabulary: str) -> Path:
    """Where the vectors of a segment are: VLAD, or without a vocabulary the backbone's own."""
    kind = f"vlad_{vocabulary[:8]}" if vocabulary else "global"
    return folder / f"{segment:06}_{kind}.hdf5"


def vocabulary_path(folder: Path, vocabulary: str) -> Path:
    """Where the vocabulary of that digest is."""
    return folder / f"vocabulary_{vocabulary[:8]}.npz"


def read_record(folder: Path, file: str = INDEX) -> IndexRecord | None:
    """What index.json (or pending.json) says; None where there is none. Raises BadInput."""
    path, expected = folder / file, f"what this version of ames_lite writes, schema {SCHEMA}"
    if not path.is_file():
        return None
    read = read_json_file(path, expected, REMEDY)
    try:
        if read["schema"] != SCHEMA or read.keys() != KEYS:
            raise ValueError(f"schema {read['schema']!r} with {sorted(read)}")
        entries = tuple(Entry(*entry) for entry in read["entries"])
        known = {key: read[key] for key in KEYS - {"schema", "entries"}}
        return IndexRecord(entries=entries, **known)
    except (ValueError, TypeError, KeyError) as error:
        what = f"the index cannot be read: {error}"
        raise BadInput(what, where=path, expected=expected, remedy=REMEDY) from error


def write_record(folder: Path, record: IndexRecord, file: str = INDEX) -> None:
    """Write index.json (or pending.json) whole, in place of one that is there."""
    content = {"schema": SCHEMA, **vars(record)}
    with replacing(folder / file, overwrite=True) as partial:
        text = json.dumps(content, separators=(",", ":"))
        partial.write_text(text, encoding="utf-8")


def remove_unnamed(folder: Path, records: Sequence[IndexRecord]) -> None:
    """Remove the stores and vocabularies of a folder that none of its records names."""
    kept = set()
    for record in records:
        kept.add(vocabulary_path(folder, record.vocabulary))
        for segment in record.segments:
            kept |= {local_path(folder, segment), vector_path(folder, segment, record.vocabulary)}
    for pattern in (f"{NUMBER}_*.hdf5", "vocabulary_*.npz"):
        for path in folder.glob(pattern):
            if path not in kept:
                path.unlink()


class OpenIndex:
    """An index, open for searching.

    names: of N images, sorted; id_of: their ids by name; segment, row int64 [N]: where an image's
    descriptors are; failed: images without an id, and why.
    """

    def __init__(self, folder: str | Path) -> None:
        """Raises MissingFile where there is no finished index, BadInput where it has no image."""
        self.folder = Path(folder)
        found = read_record(self.folder)
        if found is None:
            raise MissingFile(
                "there is no index here",
                where=self.folder.absolute(),
                expected="the folder of an index, finished",
                remedy=remedies.SEARCH,
            )
        self.record: IndexRecord = found
        described = [entry for entry in found.entries if not entry.failed]
        if not described:
            raise BadInput(
                "the index has no image that could be described",
                where=self.folder.absolute(),
                expected=f"images that can be read in {found.images}",
            )
        self.names = tuple(entry.name for entry in described)
        self.id_of = {name: number for number, name in enumerate(self.names)}
        self.segment = np.array([entry.segment for entry in described], np.int64)
        self.row = np.array([entry.row for entry in described], np.int64)
        self.failed = {entry.name: entry.failed for entry in found.entries if entry.failed}
        self._stores: dict[int, DescriptorStore] = {}

    def __len__(self) -> int:
        return len(self.names)

    @property
    def vocabulary(self) -> Path:
        """The vocabulary that the vectors were made with."""
        return vocabulary_path(self.folder, self.record.vocabulary)

    def store(self, segment: int) -> DescriptorStore:
        """The local descriptors of a segment."""
        if segment not in self._stores:
            path = local_path(self.folder, segment)
            self._stores[segment] = DescriptorStore.open(path, REMEDY)
        return self._stores[segment]

    def vectors(self) -> Iterator[tuple[npt.NDArray[np.floating[Any]], npt.NDArray[np.int64]]]:
        """All vectors, of unit length, in blocks [n, V], and the ids [n] that they are of."""
        for segment in self.record.segments:
            ids = np.flatnonzero(self.segment == segment)
            ids = ids[np.argsort(self.row[ids])]
            path = vector_path(self.folder, segment, self.record.vocabulary)
            if len(ids):
                with GlobalStore(path, remedy=REMEDY) as store:
                    yield from _blocks(store, self.row[ids], ids)

    def empty(self) -> list[str]:
        """Names of the images that were described and have no descriptor."""
        return empty_names(self.folder, self.record.entries)

    def close(self) -> None:
        """Let go of the stores."""
        for store in self._stores.values():
            store.close()
        self._stores.clear()

    def __enter__(self) -> OpenIndex:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def empty_names(folder: Path, entries: Sequence[Entry]) -> list[str]:
    """Names of the entries that were described and have no descriptor, in their order."""
    places = set()
    for segment in {entry.segment for entry in entries}:
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
            block = store.part(np.s_[first:stop], np.s_[:])
            alive = rows[start:end] - first
            yield block if len(alive) == len(block) else block[alive], ids[start:end]
