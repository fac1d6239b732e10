"""Rows that are searched: checked (NaN, widths, names), as contiguous float32, in blocks."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput, require

Floats = npt.NDArray[np.floating[Any]]
Float32 = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]


def not_finite(what: str, *, where: str | Path | None = None) -> BadInput:
    return BadInput(
        f"{what} has NaN or infinite entries",
        where=where,
        expected="finite numbers in the range of float32",
        remedy="extract that image again, or drop it from the list",
    )


def float_rows(values: Floats, what: str, width: int | None = None) -> Float32:
    """The rows as contiguous float32. Raises BadInput for anything but finite rows of a width."""
    if values.ndim != 2 or values.dtype.kind != "f" or 0 in values.shape:
        raise BadInput(
            f"{what} are {list(values.shape)} ({values.dtype.name})",
            expected="rows [N, D] of floating-point numbers, at least one",
        )
    if width is not None and values.shape[1] != width:
        raise BadInput(
            f"{what} have width {values.shape[1]}",
            expected=f"width {width}, as the query descriptors",
            remedy="extract both with the same backbone and settings",
        )
    with np.errstate(over="ignore"):
        rows: Float32 = np.ascontiguousarray(values, dtype=np.float32)
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        raise not_finite(f"{what}: row {int((~finite).argmax())}")
    return rows


def real_descriptors(descriptors: Floats, count: npt.NDArray[np.integer]) -> Iterator[Floats]:
    """Of every image its real descriptors [count[n], D], of descriptors [N, K, D]."""
    if descriptors.ndim != 3 or descriptors.dtype.kind != "f" or descriptors.shape[2] == 0:
        raise BadInput(
            f"descriptors are {list(descriptors.shape)} ({descriptors.dtype})",
            expected="floating-point descriptors [N, K, D]",
        )
    fits = count.shape == descriptors.shape[:1] and np.issubdtype(count.dtype, np.integer)
    if not fits or (count.size and (count.min() < 0 or count.max() > descriptors.shape[1])):
        raise BadInput(
            f"count is {count}",
            expected=f"{len(descriptors)} numbers from 0 to {descriptors.shape[1]}",
        )
    return (descriptors[n, :real] for n, real in enumerate(count.tolist()))


def own_rows(query_names: Sequence[str], gallery_names: Sequence[str]) -> Ids:
    """For each query the gallery row of the same name, or -1. Raises BadInput for a name twice."""
    row_of = {name: row for row, name in enumerate(gallery_names)}
    if len(row_of) != len(gallery_names):
        twice = next(name for row, name in enumerate(gallery_names) if row_of[name] != row)
        raise BadInput(f"the gallery list has '{twice}' more than once", expected="unique names")
    return np.array([row_of.get(name, -1) for name in query_names], np.int64)


def checked_own(own: Ids | None, num_query: int) -> Ids:
    """The gallery row of each query's own image, or -1; None: no query is in the gallery."""
    if own is None:
        return np.full(num_query, -1, np.int64)
    require(own.shape == (num_query,), f"own is {list(own.shape)}", expected=f"[{num_query}]")
    return own


def check_gallery(num_gallery: int, own: Ids) -> None:
    """Raises BadInput for an empty gallery, and own rows beyond it."""
    require(num_gallery, "the gallery is empty", expected="at least one descriptor")
    most = int(own.max(initial=-1))
    expected = f"rows of a gallery of {num_gallery}"
    require(most < num_gallery, f"own has the row {most}", expected=expected)


def row_blocks(
    gallery: Floats | Iterable[Floats], width: int, block_rows: int
) -> Iterator[Float32]:
    """The gallery, checked, in blocks of block_rows (the last may be shorter), in its order.

    Small blocks are joined, as every search has a fixed cost.
    """
    block: Float32 | None = None
    num_filled = num_seen = 0
    for given in [gallery] if isinstance(gallery, np.ndarray) else gallery:
        for start in range(0, len(given), block_rows):
            part = given[start : start + block_rows]
            rows = float_rows(part, f"gallery descriptors from row {num_seen}", width)
            num_seen += len(rows)
            while len(rows):
                if block is None:
                    whole = len(rows) == block_rows
                    block = rows if whole else np.empty((block_rows, width), np.float32)
                taken = min(len(rows), block_rows - num_filled)
                if block is not rows:
                    block[num_filled : num_filled + taken] = rows[:taken]
                rows, num_filled = rows[taken:], num_filled + taken
                if num_filled == block_rows:
                    yield block
                    block, num_filled = None, 0
    if block is not None:
        yield block[:num_filled]


def sampled_points(num_points: int, limit: int, seed: int) -> Ids:
    """Which of num_points points a sample has, ascending: at most `limit`, at random."""
    if num_points <= limit:
        return np.arange(num_points)
    return np.sort(np.random.default_rng(seed).choice(num_points, limit, replace=False))
