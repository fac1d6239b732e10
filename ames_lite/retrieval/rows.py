"""Rows that are searched: checked (NaN, widths, names), as contiguous float32, in blocks."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput, require

Floats = npt.NDArray[np.floating[Any]]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int64]
Ids32 = npt.NDArray[np.int32]
READ_BYTES = 1 << 27  # of gallery rows in float32, read at a time


class Gallery(Protocol):
    """Rows that are read by the range; a `GlobalStore` is one."""

    dim: int

    def __len__(self) -> int: ...

    def read(self, first: int, stop: int) -> Floats: ...


class Held:
    """Rows [N, D] in memory as a `Gallery`."""

    def __init__(self, rows: Floats) -> None:
        self.rows, self.dim = rows, rows.shape[-1]

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, first: int, stop: int) -> Floats:
        return self.rows[first:stop]


def not_finite(what: str, *, where: str | Path | None = None) -> BadInput:
    what, expected = f"{what} has NaN or infinite entries", "finite numbers in the range of float32"
    remedy = "extract that image again, or drop it from the list"
    return BadInput(what, where=where, expected=expected, remedy=remedy)


def float_rows(values: Floats, what: str, width: int | None = None) -> Float32:
    """The rows as contiguous float32. Raises BadInput for anything but finite rows of a width."""
    fits = values.ndim == 2 and values.dtype.kind == "f" and 0 not in values.shape
    said = f"{what} are {list(values.shape)} ({values.dtype.name})"
    require(fits, said, "rows [N, D] of floating-point numbers, at least one")
    if width is not None:
        _check_width(values.shape[1], width, what)
    with np.errstate(over="ignore"):
        rows: Float32 = np.ascontiguousarray(values, dtype=np.float32)
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        raise not_finite(f"{what}: row {int((~finite).argmax())}")
    return rows


def _check_width(width: int, wanted: int, what: str) -> None:
    said, expected = f"{what} have width {width}", f"width {wanted}, as the query descriptors"
    remedy = "extract both with the same backbone and settings"
    require(width == wanted, said, expected, remedy=remedy)


def own_rows(query_names: Sequence[str], gallery_names: Sequence[str]) -> Ids:
    """For each query the gallery row of the same name, or -1. Raises BadInput for a name twice."""
    row_of = {name: row for row, name in enumerate(gallery_names)}
    if len(row_of) != len(gallery_names):
        twice = next(name for row, name in enumerate(gallery_names) if row_of[name] != row)
        raise BadInput(f"the gallery list has '{twice}' more than once", expected="unique names")
    return np.array([row_of.get(name, -1) for name in query_names], np.int64)


def search_sides(
    query: Floats, gallery: Floats | Gallery, own: Ids | None
) -> tuple[Float32, Gallery, Ids]:
    """Queries as float32, the gallery, and `own` (None: no query is in the gallery). BadInput."""
    rows = float_rows(query, "query descriptors")
    searched = Held(gallery) if isinstance(gallery, np.ndarray) else gallery
    require(len(searched), "the gallery is empty", "at least one descriptor")
    _check_width(searched.dim, rows.shape[1], "gallery descriptors")
    return rows, searched, np.full(len(rows), -1, np.int64) if own is None else own


def float_range(gallery: Gallery, first: int, stop: int) -> Float32:
    """Rows `first` to before `stop` as float32."""
    return float_rows(gallery.read(first, stop), f"gallery descriptors from row {first}")


def ranges(gallery: Gallery, num_bytes: int | None = None) -> list[tuple[int, int]]:
    """(first, stop) of successive blocks of a gallery, of so many bytes (READ_BYTES) in float32."""
    step, num = max(1, (num_bytes or READ_BYTES) // (4 * gallery.dim)), len(gallery)
    return [(first, min(first + step, num)) for first in range(0, num, step)]


def rows_of(gallery: Gallery, rows: Ids) -> Float32:
    """Ascending rows as float32, read by blocks."""
    found = np.empty((len(rows), gallery.dim), np.float32)
    for first, stop in ranges(gallery):
        start, end = np.searchsorted(rows, (first, stop))
        if end > start:
            low = int(rows[start])
            block = float_range(gallery, low, int(rows[end - 1]) + 1)
            found[start:end] = block[rows[start:end] - low]
    return found


def runs(ordered: Ids, limit: int) -> Iterator[slice]:
    """Parts of a sorted list of rows that are consecutive or equal, at most `limit` long."""
    edges = [0, *(np.flatnonzero(np.diff(ordered) > 1) + 1).tolist(), len(ordered)]
    for start, stop in pairwise(edges):
        for at in range(start, stop, limit):
            yield slice(at, min(at + limit, stop))


def rows_in(blocks: Iterable[Floats], rows: Ids) -> Floats:
    """Ascending rows of all blocks together."""
    parts, first = [], 0
    for block in blocks:
        start, stop = np.searchsorted(rows, [first, first + len(block)])
        parts.append(block[rows[start:stop] - first])
        first += len(block)
    return np.concatenate(parts)


def sampled_points(num_points: int, limit: int, seed: int) -> Ids:
    """Which of num_points points a sample has, ascending: at most `limit`, at random."""
    if num_points <= limit:
        return np.arange(num_points)
    return np.sort(np.random.default_rng(seed).choice(num_points, limit, replace=False))
