"""Candidates of queries as other programs list them: by names or by rows, lists of any lengths."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput, explained, require
from ames_lite.io.names import pair_names
from ames_lite.records import Neighbors

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]
Array = npt.NDArray[Any]
Names = Sequence[str]
PAD = -1  # faiss's id where it found no more


@dataclass(frozen=True, eq=False)
class Candidates:
    """The candidates of Q queries, best first; a query may have none. Raises BadInput."""

    queries: tuple[str, ...] | None  # unique names; None: all are rows, the queries 0 to Q - 1
    found: tuple[Sequence[Any] | Ids, ...]  # names or rows, each once a query
    sims: tuple[Floats, ...] | None = None  # finite, higher is better; None: not known
    source: str = "the candidates"  # the file
    form: str = ""
    lines: tuple[Sequence[int], ...] | None = None  # where each stands

    def __post_init__(self) -> None:
        lengths = [(len(names),) for names in self.found]
        fits = self.queries is None or len(set(self.queries)) == len(self.queries) == len(lengths)
        require(fits, "queries and lists do not fit", where=self.source, expected="a list a query")
        for q, names in enumerate(self.found):
            if len(set(names)) < len(names):
                k = next(k for k, name in enumerate(names) if name in names[:k])
                what = f"'{names[k]}' is listed twice for a query"
                raise BadInput(what, where=self.at(q, k), expected="every candidate once")
        if self.sims is None:
            return
        with np.errstate(over="ignore"):
            sims = tuple(np.ascontiguousarray(row, np.float32) for row in self.sims)
        fits = [row.shape for row in sims] == lengths
        require(fits, "sims and lists differ in length", where=self.source)
        for q, row in enumerate(sims):
            for k in np.flatnonzero(~np.isfinite(row)).tolist():
                what = f"the score of '{self.found[q][k]}' is {row[k]}"
                raise BadInput(what, where=self.at(q, k), expected="a finite number")
        object.__setattr__(self, "sims", sims)

    @classmethod
    def of_arrays(
        cls, ids: Array, sims: Array | None = None, source: str = "the arrays", form: str = ""
    ) -> "Candidates":
        """Of rows [Q, K] of a gallery and their sims, as faiss returns both: -1 ends a list."""
        given = ids if sims is None else sims
        fits = ids.ndim == 2 and given.shape == ids.shape
        fits = fits and ids.dtype.kind in "iu" and given.dtype.kind in "fiu"
        what = f"ids {list(ids.shape)} of {ids.dtype}, sims {list(given.shape)} of {given.dtype}"
        require(fits, what, where=source, expected="integers [Q, K], and numbers [Q, K]")
        lengths = (ids != PAD).sum(axis=1)
        found = tuple(row[:n].astype(np.int64) for row, n in zip(ids, lengths, strict=True))
        cut = tuple(row[:n] for row, n in zip(given, lengths, strict=True))
        for q, row in enumerate(found):
            what = f"query row {q} has the id {row.min(initial=0)} before others"
            require((row >= 0).all(), what, where=source, expected="rows, and -1 at the end alone")
        return cls(None, found, None if sims is None else cut, source, form)

    def __len__(self) -> int:
        return len(self.found)

    def __str__(self) -> str:
        lengths = [len(names) for names in self.found]
        some, without = [n for n in lengths if n] or [0], lengths.count(0)
        said = f"{self.source} is read as {self.form}: {len(self)} queries, {min(some)} to "
        said += f"{max(some)} candidates each" + f", {without} with none" * (without > 0)
        return said + ", without similarities" * (self.sims is None)

    def at(self, q: int, k: int = 0) -> str:
        """Where a candidate stands, in words."""
        line = self.lines[q][k] if self.lines is not None and len(self.lines[q]) else 0
        query = f"query row {q}" if self.queries is None else f"query '{self.queries[q]}'"
        return f"{self.source}, " + (f"line {line}" if line else f"{query}, place {k + 1}")

    def reordered(self, orders: Sequence[Any], sims: Sequence[Floats]) -> "Candidates":
        """Each list by places in it, with new sims in the new order."""

        def taken(part: Sequence[Any]) -> tuple[list[Any], ...]:
            return tuple([row[k] for k in at] for row, at in zip(part, orders, strict=True))

        lines = None if self.lines is None else taken(self.lines)
        return replace(self, found=taken(self.found), sims=tuple(sims), lines=lines)

    def first(self, num: int | None) -> "Candidates":
        """The first so many of every list; None: all."""
        sims = self.sims and tuple(row[:num] for row in self.sims)
        return replace(self, found=tuple(row[:num] for row in self.found), sims=sims)

    def named(self, query_names: Names, gallery_names: Names) -> "Candidates":
        """With names in place of rows."""
        _, found = self.rows(query_names, gallery_names)
        names = tuple([gallery_names[row] for row in rows] for rows in found)
        return replace(self, queries=tuple(query_names[: len(self)]), found=names)

    def numbered(self, query_names: Names, gallery_names: Names) -> "Candidates":
        """With rows in place of names, a list for every query; BadInput as of `rows`."""
        at, found = self.rows(query_names, gallery_names)
        empty: list[Any] = [np.zeros(0, np.int64)] * len(query_names)
        ids, sims = empty.copy(), empty.copy()
        for q, row in enumerate(at):
            ids[row], sims[row] = found[q], self.sims[q] if self.sims else sims[row]
        given = tuple(sims) if self.sims else None
        return replace(self, queries=None, found=tuple(ids), sims=given, lines=None)

    def rows(self, query_names: Names, gallery_names: Names) -> tuple[Ids, tuple[Ids, ...]]:
        """The row of each query [Q] in a list of names, and those of its candidates, matched as in
        `pair_names`. Raises BadInput for what is in no list, with its place.
        """
        places = dict[Any, tuple[int, int]]()
        for q, names in enumerate(self.found):
            places |= {name: (q, k) for k, name in enumerate(names) if name not in places}
        if self.queries is None:
            most, num = max(places, default=0), len(gallery_names)
            fits = len(self) <= len(query_names)
            what = f"lists of {len(self)} queries, the query list has {len(query_names)}"
            require(fits, what, where=self.source, expected="lists of these very queries")
            where, expected = self.at(*places.get(most, (0, 0))), f"rows 0 to {num - 1}"
            require(most < num, f"the id {most} is no gallery row", where=where, expected=expected)
            return np.arange(len(self)), tuple(np.asarray(row, np.int64) for row in self.found)
        at_query = {name: (q, 0) for q, name in enumerate(self.queries)}
        rows = _match(at_query, query_names, "the queries", self.at)
        row_of = _match(places, gallery_names, "the gallery", self.at)
        found = tuple(np.array([row_of[one] for one in names], np.int64) for names in self.found)
        return np.array([*rows.values()], np.int64), found

    def neighbors(self, query_names: Names, gallery_names: Names) -> Neighbors:
        """Lists [Q, K] for all of the queries; sims are 0 where they are not known. BadInput."""
        rows, found = self.rows(query_names, gallery_names)
        missing = sorted(set(range(len(query_names))) - set(rows.tolist()))
        few = ", ".join(f"'{query_names[row]}'" for row in missing[:3])
        what = f"{len(missing)} of {len(query_names)} queries have no list: {few}"
        require(not missing, what, where=self.source, expected="a list for every query")
        lengths = [len(row) for row in found]
        q, longest = int(np.argmin(lengths)), max(lengths)
        what = f"a query has {lengths[q]} candidates, others up to {longest}"
        remedy = "lists of any lengths can be reranked, not evaluated: ames rerank"
        same = lengths[q] == longest
        require(same, what, where=self.at(q), expected="lists of one length", remedy=remedy)
        order, ids = np.argsort(rows), np.stack(found).astype(np.int32)
        sims = np.stack(self.sims) if self.sims else np.zeros(ids.shape, np.float32)
        with explained(where=self.source):
            return Neighbors(ids[order], sims[order], len(gallery_names))


def _match(
    wanted: Mapping[str, tuple[int, int]], names: Names, what: str, at: Callable[[int, int], str]
) -> dict[str, int]:
    """The row of each wanted name; wanted: where each stands, for messages."""
    row_of = {name: row for row, name in enumerate(names)}
    whole = wanted.keys() <= row_of.keys()  # looking for ends takes long
    pairs = {} if whole else pair_names(names, [*wanted], f"the candidates against {what}")
    found = row_of if whole else {key: row_of[name] for name, key in pairs.items()}
    absent = [name for name in wanted if name not in found]
    if absent:
        few = ", ".join(f"'{name}'" for name in absent[:3])
        said = f"{len(absent)} of {len(wanted)} names fit no image: {few}"
        where, example = f"{at(*wanted[absent[0]])} against {what}", next(iter(names), "")
        raise BadInput(said, where=where, expected=f"names such as '{example}'")
    return {name: found[name] for name in wanted}
