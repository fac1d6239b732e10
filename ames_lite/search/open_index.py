"""An index of a folder of images, open for searching: images by number, whatever segment has them.

Input: the folder of a finished index. Output: names, vectors in blocks, stores with rows. An
image's id is its place in the sorted names; images that could not be described have no id. Vectors
come in the order of the segments, with their ids.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput, MissingFile
from ames_lite.io import remedies
from ames_lite.search.index import (
    REMEDY,
    Entry,
    IndexRecord,
    local_path,
    read_record,
    vector_path,
    vocabulary_path,
)
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.global_store import GlobalStore

BLOCK_BYTES = 1 << 26  # of vectors, as stored, read at a time


class OpenIndex:
    """folder; record; names: tuple of N; segment, row int64 [N]: where an image's descriptors are;
    failed: images without an id, and why.
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

    def has(self, name: str) -> bool:
        """Whether an image of that name can be found."""
        at = bisect_left(self.names, name)
        return at < len(self.names) and self.names[at] == name

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
