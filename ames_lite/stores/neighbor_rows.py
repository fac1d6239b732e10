"""Neighbour lists in memory or left in their file, each image left out of its own list."""

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput, explained
from ames_lite.io import remedies
from ames_lite.records import Neighbors, count_rising
from ames_lite.retrieval.rows import Float32, Ids32
from ames_lite.stores.checksums import row_checksums

BLOCK, BLOCK_BYTES = 8192, 1 << 26  # lists that are looked at together, at most
Array = npt.NDArray[Any]
Rows = npt.NDArray[np.integer[Any]]
Where = str | Path | None  # a file, for messages


@dataclass(eq=False)
class NeighborRows:
    """Lists of Q queries among N images; width: K."""

    ids: Array  # [Q, K] integers, or whole floats
    sims: Array  # [Q, K]
    num_gallery: int
    own: Rows | None = None  # [Q] the gallery row of each query, or -1; None: a set against itself
    where: Where = None
    mapped: mmap.mmap | None = None  # where the lists lie; None: in memory
    checksums: Array | None = None  # [Q] of the lists, to be verified; None: there are none

    def __post_init__(self) -> None:
        self.width = int(self.ids.shape[1])
        self._own = np.arange(len(self.ids)) if self.own is None else self.own

    @classmethod
    def of(cls, neighbors: Neighbors) -> "NeighborRows":
        return cls(neighbors.ids, neighbors.sims, neighbors.num_gallery)

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: Rows | slice, depth: int) -> tuple[Ids32, Float32]:
        """ids and sims [n, min(depth, K)] of some lists, copied; an own entry goes to the end."""
        self._verify(rows)
        ids = self.ids[rows, : depth + 1].astype(np.int32)
        sims = self.sims[rows, : depth + 1].astype(np.float32)
        own = ids == self._own[rows, None]
        if own.any():
            order = np.argsort(own, axis=1, kind="stable")
            sims[own] = 0
            ids = np.take_along_axis(ids, order, axis=1)
            sims = np.take_along_axis(sims, order, axis=1)
        return ids[:, :depth], sims[:, :depth]

    def check(self, rows: slice, depth: int) -> int:
        """How many lists are not in the order of their sims. BadInput for bad ids, NaN."""
        self._verify(rows)
        ids, sims = self.ids[rows, :depth], self.sims[rows, :depth]
        check_ids(ids, "id", self.num_gallery, self.where, rows.start)
        _refuse_first(~np.isfinite(sims), sims, "sim", "finite sims", self.where, rows.start)
        return count_rising(sims)

    def _verify(self, rows: Rows | slice) -> None:
        if self.checksums is not None:
            parts = self.ids[rows], self.sims[rows], self.checksums[rows]
            verify_lists(*parts, np.arange(len(self))[rows], self.where)

    def block(self, rows: slice, depth: int | None = None) -> Neighbors:
        """Lists of some queries, checked; all end one earlier where a query is in its own."""
        self.check(rows, self.width if depth is None else depth + 1)
        ids, sims = self.take(rows, self.width if depth is None else depth)
        own = self._own[rows, None]
        if ids.shape[1] == self.width and (ids == own).any():
            ids, sims = ids[:, :-1], sims[:, :-1]
        twice = ids == own
        _refuse_first(twice, ids, "own id twice,", "every image once", self.where, rows.start)
        counted = f", queries counted from {rows.start}" if rows.start else ""
        with explained(where=f"{self.where}{counted}"):
            return Neighbors(ids, sims, self.num_gallery)

    def blocks(self) -> Iterator[slice]:
        """All queries, a bounded number of bytes at a time, which are then given back."""
        for rows in row_blocks(len(self), self.ids.strides[0] or self.ids.itemsize):
            yield rows
            self.release()

    @property
    def has_own(self) -> bool:
        """Whether a query is in its own list. Looks at all of them."""
        return any((self.ids[rows] == self._own[rows, None]).any() for rows in self.blocks())

    def release(self) -> None:
        """Give back the memory that mapped rows took; what is taken next is read anew."""
        if self.mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
            self.mapped.madvise(mmap.MADV_DONTNEED)

    def expect_single_rows(self) -> None:
        """From now on rows are taken here and there: what follows one is not read ahead."""
        if self.mapped is not None and hasattr(mmap, "MADV_RANDOM"):
            self.mapped.madvise(mmap.MADV_RANDOM)


def row_blocks(num: int, row_bytes: int) -> Iterator[slice]:
    """All of `num` rows, a bounded number of bytes at a time."""
    step = max(1, min(BLOCK, BLOCK_BYTES // max(1, row_bytes)))
    for first in range(0, num, step):
        yield slice(first, min(first + step, num))


def verify_lists(ids: Array, sims: Array, wanted: Array, queries: Rows, where: Where) -> None:
    """Raise BadInput where lists [n, K] of these queries [n] are not those that were written."""
    changed = row_checksums(ids, sims) != wanted
    if changed.any():
        what = f"the list of query {queries[int(changed.argmax())]} was changed: another checksum"
        remedy = f"make the neighbour lists again: {remedies.NEIGHBORS}"
        raise BadInput(what, where=where, expected="the list as it was written", remedy=remedy)


def check_ids(ids: Array, what: str, num_gallery: int, where: Where, first: int = 0) -> None:
    """Raise BadInput where ids [n, K], of the queries from `first` on, are no gallery rows."""
    with np.errstate(invalid="ignore"):  # NaN is found by the comparison
        bad = ~((ids >= 0) & (ids < num_gallery))
        if ids.dtype.kind == "f":
            bad |= np.floor(ids) != ids
    _refuse_first(bad, ids, what, f"rows 0 to {num_gallery - 1} of the gallery list", where, first)


def _refuse_first(
    bad: npt.NDArray[np.bool_], values: Array, what: str, expected: str, where: Where, first: int
) -> None:
    if bad.any():
        q, k = np.argwhere(bad)[0]
        what = f"query {first + q} has the {what} {values[q, k]} in place {k}"
        remedy = "use the lists that the file was made for, or make the neighbour lists again"
        raise BadInput(what, where=where, expected=expected, remedy=remedy)
