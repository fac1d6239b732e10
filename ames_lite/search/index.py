"""The index of a folder of images: `index.json`, and stores in segments, one for every run that
found something new.

In: a folder of images. Out: what it holds now, what the index knows of it, where the descriptors of
an image are. Files of an index folder (n: number of a segment, six digits; v: eight digits of the
vocabulary's digest):
  index.json              what stands where; written last, so what it names is whole
  pending.json            the segment that a run is at, for the next one to finish
  n_local.hdf5            local descriptors (`descriptor_store`)
  n_vlad_v.hdf5           one VLAD vector an image (`global_store`), or
  n_global.hdf5           the backbone's own global vector
  vocabulary_v.npz        what the VLAD vectors were made with
Rows never shift; an image that changed gets a row in a new segment, and
the row of one that has gone is no longer named. Images are counted in the order of their names,
whatever segments they lie in.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ames_lite.errors import BadInput
from ames_lite.io.images import is_image_name, left_out
from ames_lite.io.json_file import read_json_file
from ames_lite.io.locking import LOCK
from ames_lite.io.provenance import Provenance
from ames_lite.io.walking import walk_images
from ames_lite.io.writing import replacing

SCHEMA = 1
INDEX, PENDING = "index.json", "pending.json"
REMEDY = "make the index again: rebuild=true"
KEYS = {"schema", "images", "backbone", "vocabulary", "scanned_ns", "entries"}
NUMBER = "[0-9]" * 6


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
    path = folder / file
    if not path.is_file():
        return None
    read = read_json_file(path, f"what this version of ames_lite writes, schema {SCHEMA}", REMEDY)
    try:
        if read["schema"] != SCHEMA or read.keys() != KEYS:
            raise ValueError(f"schema {read['schema']!r} with {sorted(read)}")
        entries = tuple(Entry(*entry) for entry in read["entries"])
        return IndexRecord(entries=entries, **{key: read[key] for key in _plain_keys()})
    except (ValueError, TypeError, KeyError) as error:
        raise BadInput(
            f"the index cannot be read: {error}",
            where=path,
            expected=f"what this version of ames_lite writes, schema {SCHEMA}",
            remedy=REMEDY,
        ) from error


def write_record(folder: Path, record: IndexRecord, file: str = INDEX) -> Path:
    """Write index.json (or pending.json) whole, in place of one that is there."""
    content: dict[str, Any] = {"schema": SCHEMA}
    content |= {key: getattr(record, key) for key in _plain_keys()}
    path = folder / file
    with replacing(path, overwrite=True) as partial:
        text = json.dumps(content | {"entries": record.entries}, separators=(",", ":"))
        partial.write_text(text, encoding="utf-8")
    return path


def _plain_keys() -> list[str]:
    return sorted(KEYS - {"schema", "entries"})


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


class Changes(NamedTuple):
    """What a folder has against what an index knows of it.

    kept: entries that still hold, with the file's time of change as it is now; todo: images to
    describe; new, changed, gone: how many of each.
    """

    kept: list[Entry]
    todo: list[ImageFile]
    new: int
    changed: int
    gone: int


def compare(
    found: Sequence[ImageFile],
    known: Mapping[str, Entry],
    same_bytes: Mapping[str, str],
) -> Changes:
    """What changed. same_bytes: digests now of those files that `doubtful` named."""
    kept, todo, new = [], [], 0
    for file in found:
        entry = known.get(file.name)
        unread = entry is not None and same_bytes.get(file.name, entry.digest) != entry.digest
        if entry is None or entry.size != file.size or unread:
            todo.append(file)
            new += entry is None
        else:
            kept.append(entry._replace(mtime_ns=file.mtime_ns))
    gone = len(known.keys() - {file.name for file in found})
    return Changes(kept, todo, new, len(todo) - new, gone)


def doubtful(
    found: Sequence[ImageFile], known: Mapping[str, Entry], scanned_ns: int, tick_ns: int
) -> list[str]:
    """Files that size and time cannot settle: touched, or changed about when they were looked at.

    A file that changes within tick_ns of `scanned_ns` may keep the time that it had then.
    """
    names = []
    for file in found:
        entry = known.get(file.name)
        if entry is None or entry.size != file.size:
            continue
        if entry.mtime_ns != file.mtime_ns or file.mtime_ns > scanned_ns - tick_ns:
            names.append(file.name)
    return names
