"""Candidates of queries as other programs list them: by names or by rows, lists of any lengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput, explained, require
from ames_lite.io.names import pair_names
from ames_lite.records import Neighbors, unique_names

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]
PAD = -1  # faiss's id where it found no more


@dataclass(frozen=True, eq=False)
class Candidates:
    """The candidates of Q queries, best first; a query may have none. Raises BadInput.

    queries [Q]: unique names; None: all are rows of two lists that the user knows, the queries 0 to
    Q - 1. found [Q]: names or rows, each once a query; sims [Q]: finite, higher is better, None
    where they are not known. source, form, lines [Q]: the file, its form, and where each stands.
    """

    queries: tuple[str, ...] | None
    found: tuple[Sequence[Any] | Ids, ...]
    sims: tuple[Floats, ...] | None = None
    source: str = "the candidates"
    form: str = ""
    lines: tuple[Sequence[int], ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "found", tuple(self.found))
        if self.queries is not None:
            with explained(where=self.source):
                object.__setattr__(self, "queries", unique_names(self.queries, "the query list"))
            fits = len(self.queries) == len(self.found)
            what = f"{len(self.found)} lists for {len(self.queries)} queries"
            require(fits, what, where=self.source, expected="a list a query")
        for q, names in enumerate(self.found):
            if len(set(names)) < len(names):
                k = next(k for k, name in enumerate(names) if name in names[:k])
                what = f"'{names[k]}' is listed twice for {self.name(q)}"
                raise BadInput(what, where=self.at(q, k), expected="every candidate once a query")
        if self.sims is not None:
            self._check_sims(self.sims)

    def _check_sims(self, given: Sequence[Any]) -> None:
        with np.errstate(over="ignore"):
            sims = tuple(np.ascontiguousarray(row, np.float32) for row in given)
        lengths = [row.shape for row in sims] == [(len(names),) for names in self.found]
        require(lengths, "sims and lists differ in length", where=self.source)
        for q, row in enumerate(sims):
            if not np.isfinite(row).all():
                k = int((~np.isfinite(row)).argmax())
                what = f"the score of '{self.found[q][k]}' for {self.name(q)} is {row[k]}"
                raise BadInput(what, where=self.at(q, k), expected="a finite number")
        object.__setattr__(self, "sims", sims)

    @classmethod
    def of_arrays(
        cls,
        ids: npt.NDArray[Any],
        sims: npt.NDArray[Any] | None = None,
        source: str = "the arrays",
        form: str = "",
    ) -> Candidates:
        """Of rows [Q, K] of a gallery and their sims [Q, K], as faiss returns both: -1 ends a list.

        Integers and floats of any byte order and layout. Raises BadInput.
        """
        fits = ids.ndim == 2 and ids.dtype.kind in "iu"
        what = f"ids are {list(ids.shape)} of {ids.dtype}"
        require(fits, what, where=source, expected="integers [Q, K]")
        if sims is not None:
            fits, what = sims.shape == ids.shape, f"sims {list(sims.shape)}, ids {list(ids.shape)}"
            fits = fits and sims.dtype.kind in "fiu"
            require(fits, f"{what} do not fit", where=source, expected="numbers, both [Q, K]")
        lengths = (ids != PAD).sum(axis=1)
        found = tuple(row[:n].astype(np.int64) for row, n in zip(ids, lengths, strict=True))
        for q, row in enumerate(found):
            what = f"query row {q} has the id {row.min(initial=0)} before others"
            require((row >= 0).all(), what, where=source, expected="rows, and -1 at the end alone")
        if sims is None:
            return cls(None, found, None, source, form)
        cut = tuple(row[:n] for row, n in zip(sims, lengths, strict=True))
        return cls(None, found, cut, source, form)

    def __len__(self) -> int:
        return len(self.found)

    def __str__(self) -> str:
        lengths = [len(names) for names in self.found]
        some = [n for n in lengths if n] or [0]
        many = f"{some[0]}" if len(set(some)) == 1 else f"{min(some)} to {max(some)}"
        without = lengths.count(0)
        said = f", {without} with none, first {self.name(lengths.index(0))}" if without else ""
        read = f" is read as {self.form}" if self.form else ""
        unscored = "" if self.sims is not None else ", without similarities"
        return f"{self.source}{read}: {len(self)} queries, {many} candidates each{said}{unscored}"

    def name(self, q: int) -> str:
        """A query in words."""
        return f"query row {q}" if self.queries is None else f"query '{self.queries[q]}'"

    def at(self, q: int, k: int = 0) -> str:
        """Where a candidate stands, in words."""
        line = self.lines[q][k] if self.lines is not None and len(self.lines[q]) else 0
        return f"{self.source}, " + (f"line {line}" if line else f"{self.name(q)}, place {k + 1}")

    def reordered(self, orders: Sequence[Any], sims: Sequence[Floats]) -> Candidates:
        """Each list by places in it, with new sims in the new order."""

        def taken(part: Sequence[Any]) -> tuple[list[Any], ...]:
            return tuple([row[k] for k in at] for row, at in zip(part, orders, strict=True))

        lines = None if self.lines is None else taken(self.lines)
        return replace(self, found=taken(self.found), sims=tuple(sims), lines=lines)

    def first(self, num: int | None) -> Candidates:
        """The first so many of every list; None: all."""
        sims = self.sims and tuple(row[:num] for row in self.sims)
        return replace(self, found=tuple(row[:num] for row in self.found), sims=sims)

    def named(self, query_names: Sequence[str], gallery_names: Sequence[str]) -> Candidates:
        """With names in place of rows."""
        self._check_rows(len(query_names), len(gallery_names))
        found = tuple([gallery_names[n] for n in row] for row in self.found)
        return replace(self, queries=tuple(query_names[: len(self)]), found=found)

    def numbered(self, query_names: Sequence[str], gallery_names: Sequence[str]) -> Candidates:
        """With rows in place of names, a list for every query; BadInput as of `rows`."""
        rows, found = self.rows(query_names, gallery_names)
        at = {row: q for q, row in enumerate(rows.tolist())}
        lists = [at.get(row) for row in range(len(query_names))]
        ids = tuple(found[q] if q is not None else found[0][:0] for q in lists)
        none = np.zeros(0, np.float32)
        sims = self.sims and tuple(none if q is None else self.sims[q] for q in lists)
        return replace(self, queries=None, found=ids, sims=sims, lines=None)

    def rows(
        self, query_names: Sequence[str], gallery_names: Sequence[str]
    ) -> tuple[Ids, tuple[Ids, ...]]:
        """The row of each query [Q] in a list of names, and those of its candidates.

        Names match as in `pair_names`, so short forms and absolute paths do. Raises BadInput for
        what is in no list, with its place.
        """
        if self.queries is None:
            self._check_rows(len(query_names), len(gallery_names))
            return np.arange(len(self)), tuple(np.asarray(row, np.int64) for row in self.found)
        at_query = {name: q for q, name in enumerate(self.queries)}
        rows = _match(self.queries, query_names, "the queries", lambda n: self.at(at_query[n]))
        wanted = tuple(dict.fromkeys(chain.from_iterable(self.found)))
        near = _match(wanted, gallery_names, "the gallery", self._place_of)
        row_of = dict(zip(wanted, near.tolist(), strict=True))
        return rows, tuple(np.array([row_of[n] for n in names], np.int64) for names in self.found)

    def _check_rows(self, num_queries: int, num_gallery: int) -> None:
        what = f"lists of {len(self)} queries, the query list has {num_queries}"
        require(len(self) <= num_queries, what, where=self.source, expected="these very queries")
        for q, row in enumerate(self.found):
            k = int(np.argmax(row)) if len(row) else 0
            what = f"{self.name(q)} has the id {row[k]}" if len(row) else ""
            expected = f"rows 0 to {num_gallery - 1} of the gallery list"
            fits = not len(row) or row[k] < num_gallery
            require(fits, what, where=self.at(q, k), expected=expected)

    def _place_of(self, name: str) -> str:
        q = next(q for q, names in enumerate(self.found) if name in names)
        return self.at(q, list(self.found[q]).index(name))

    def neighbors(self, query_names: Sequence[str], gallery_names: Sequence[str]) -> Neighbors:
        """Lists [Q, K] for all of the queries; sims are 0 where they are not known. BadInput."""
        rows, found = self.rows(query_names, gallery_names)
        missing = sorted(set(range(len(query_names))) - set(rows.tolist()))
        few = ", ".join(f"'{query_names[row]}'" for row in missing[:3])
        what = f"{len(missing)} of {len(query_names)} queries have no list: {few}"
        require(not missing, what, where=self.source, expected="a list for every query")
        lengths = [len(row) for row in found]
        q, longest = int(np.argmin(lengths)), max(lengths)
        what = f"{self.name(q)} has {lengths[q]} candidates, others up to {longest}"
        remedy = "lists of any lengths can be reranked, not evaluated: ames rerank"
        same = lengths[q] == longest
        require(same, what, where=self.at(q), expected="lists of one length", remedy=remedy)
        order = np.argsort(rows)
        sims = np.zeros((len(found), longest), np.float32) if self.sims is None else self.sims
        ids = np.stack(found)[order].astype(np.int32)
        with explained(where=self.source):
            return Neighbors(ids, np.stack(list(sims))[order], len(gallery_names))


def _match(wanted: Sequence[str], names: Sequence[str], what: str, place: Any) -> Ids:
    """Rows of wanted names; place: names where one stands."""
    pairs = pair_names(names, wanted, f"the candidates against {what}")
    row_of = {name: row for row, name in enumerate(names)}
    found = {key: row_of[name] for name, key in pairs.items()}
    absent = [name for name in wanted if name not in found]
    if absent:
        few = ", ".join(f"'{name}'" for name in absent[:3])
        said = f"{len(absent)} of {len(wanted)} names fit no image: {few}"
        expected = f"names such as '{names[0]}'" if names else "a list that is not empty"
        raise BadInput(said, where=f"{place(absent[0])} against {what}", expected=expected)
    return np.array([found[name] for name in wanted], np.int64)
