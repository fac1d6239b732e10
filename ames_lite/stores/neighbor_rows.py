"""Neighbour lists of a set against itself that stay where they are: rows are taken as needed.

They are in memory, or mapped from a file that is far larger; what was mapped counts as memory of
the process only until `release`. An image's own entry goes to the end of its list with sim 0.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput, MissingFile
from ames_lite.records import Neighbors, count_rising
from ames_lite.stores import hdf5
from ames_lite.stores.neighbor_lists import REMEDY, SCHEMA, datasets_of, is_pickle, read_neighbors
from ames_lite.stores.published.neighbors import checked_planes

BLOCK = 8192  # lists that are looked at together
Rows = npt.NDArray[np.integer[Any]]


class NeighborRows:
    """Lists of N images among the same N. ids, sims [N, K]: integers or whole floats, and floats.

    where: their file, for messages.
    """

    def __init__(
        self,
        ids: npt.NDArray[Any],
        sims: npt.NDArray[Any],
        num_gallery: int,
        where: str | Path | None = None,
        mapped: mmap.mmap | None = None,
    ) -> None:
        self.num_gallery, self.where = num_gallery, where
        self._ids, self._sims, self._mapped = ids, sims, mapped

    @classmethod
    def of(cls, neighbors: Neighbors) -> NeighborRows:
        """Lists that are in memory."""
        return cls(neighbors.ids, neighbors.sims, neighbors.num_gallery)

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def width(self) -> int:
        """Neighbours of an image, K."""
        return int(self._ids.shape[1])

    def take(self, rows: Rows, depth: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
        """ids and sims [n, min(depth, K)] of the lists of rows [n], copied."""
        at: Any = rows
        if len(rows) and rows[-1] - rows[0] + 1 == len(rows) and (np.diff(rows) == 1).all():
            at = slice(int(rows[0]), int(rows[-1]) + 1)  # read in one piece
        ids = self._ids[at, : depth + 1].astype(np.int32)
        sims = self._sims[at, : depth + 1].astype(np.float32)
        own = ids == rows[:, None]
        if own.any():
            order = np.argsort(own, axis=1, kind="stable")
            sims[own] = 0
            ids = np.take_along_axis(ids, order, axis=1)
            sims = np.take_along_axis(sims, order, axis=1)
        return ids[:, :depth], sims[:, :depth]

    def check(self, rows: Rows, depth: int) -> int:
        """How many lists of rows are not in the order of their sims.

        Raises BadInput where an id is no row of the set, or a sim is no finite number.
        """
        at = slice(int(rows[0]), int(rows[-1]) + 1)
        ids, sims = self._ids[at, :depth], self._sims[at, :depth]
        with np.errstate(invalid="ignore"):  # NaN is found by the comparison
            fine = (ids >= 0) & (ids < self.num_gallery) & np.isfinite(sims)
            if ids.dtype.kind == "f":
                fine &= np.floor(ids) == ids
        if not fine.all():
            row, place = np.argwhere(~fine)[0]
            raise BadInput(
                f"the list of image {rows[0] + row} has id {ids[row, place]} with sim "
                f"{sims[row, place]} in place {place}",
                where=self.where,
                expected=f"ids from 0 to {self.num_gallery - 1}, finite sims",
                remedy="make the neighbour lists again",
            )
        return count_rising(sims)

    def release(self) -> None:
        """Give back the memory that mapped rows took; what is taken next is read anew."""
        if self._mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
            self._mapped.madvise(mmap.MADV_DONTNEED)

    def expect_single_rows(self) -> None:
        """From now on rows are taken here and there: what follows one is not read ahead."""
        if self._mapped is not None and hasattr(mmap, "MADV_RANDOM"):
            self._mapped.madvise(mmap.MADV_RANDOM)


def open_neighbor_rows(
    path: str | Path, names: Sequence[str], *, remedy: str = REMEDY
) -> NeighborRows:
    """The lists of a training set against itself, left in their file where that is possible.

    names: its image list. Raises MissingFile; BadInput where the lists are of other images.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFile("the neighbour lists are missing", where=path, remedy=remedy)
    if is_pickle(path):
        values, mapped = checked_planes(path, len(names), len(names))
        parts = [values[1], values[0]]
    else:
        parts, mapped = _mapped(path, names, remedy)
    if mapped is None:
        return NeighborRows.of(read_neighbors(path, names, names, remedy=remedy))
    ids, sims = parts
    return NeighborRows(ids, sims, len(names), path, mapped)


def _mapped(
    path: Path, names: Sequence[str], remedy: str
) -> tuple[list[npt.NDArray[Any]], mmap.mmap | None]:
    """ids and sims of a native file, where each lies in one piece."""
    with hdf5.open_complete(path, SCHEMA, remedy=remedy) as file:
        found = datasets_of(file, names, names, remedy)
        if any(part.offset is None or 0 in part.shape for part in found):
            return [], None
        with open(path, "rb") as plain:
            mapped = mmap.mmap(plain.fileno(), 0, access=mmap.ACCESS_READ)
        return [part.over(mapped) for part in found], mapped


def blocks_of(num: int) -> Sequence[npt.NDArray[np.int64]]:
    """The rows 0 to num - 1, BLOCK at a time."""
    return [np.arange(start, min(start + BLOCK, num)) for start in range(0, num, BLOCK)]
