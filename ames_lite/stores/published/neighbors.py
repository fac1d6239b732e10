"""Published neighbour lists, `nn_*.pkl`: read without trust, and written so that their code reads
them.

In: a pickled float tensor (or NumPy array) [2, Q, K] or [3, Q, K]. Its planes: sims; ids, as
floats; and, where it is there, rows in a store that has the images of the lists alone (the
shortlist). Out: `Neighbors`. The conventions to know: ids are rows of the gallery list, float32 is
exact below 2^24 only; the file names no list, so that only numbers of rows can be checked; an image
is taken out of its own list by its name.
"""

from __future__ import annotations

import io
import mmap
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ames_lite.errors import BadInput
from ames_lite.io.checkpoint import UNREADABLE
from ames_lite.io.writing import replacing
from ames_lite.records import Neighbors
from ames_lite.stores.published.planes import locate_planes
from ames_lite.stores.published.safe_pickle import (
    NUMPY_ARRAYS,
    GlobalTable,
    read_pickle,
    write_pickle,
)

FORM = "a float tensor [2, Q, K] (sims, ids) or [3, Q, K]"
WHOLE_BYTES = 1 << 30  # lists that take more are read as far as they are needed
EXACT = {"float32": 1 << 24, "float64": 1 << 53}  # gallery rows that the dtype tells apart


class _Storage:
    """The numbers of a tensor while it is put together."""

    __slots__ = ("values",)

    def __init__(self, values: torch.Tensor) -> None:
        self.values = values


class _LoadFromBytes:
    # instances without a __dict__: a pickle cannot set attributes on what it may call
    __slots__ = ()

    def __call__(self, content: bytes) -> _Storage:
        try:
            loaded = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        except UNREADABLE as error:
            raise ValueError(f"a tensor's storage: {error}") from error
        if not isinstance(loaded, torch.storage.TypedStorage):
            raise ValueError(f"a tensor's storage is a {type(loaded).__name__}")
        raw, values = loaded._untyped_storage, torch.empty(0, dtype=loaded.dtype)
        return _Storage(values.set_(raw, 0, (raw.nbytes() // values.element_size(),), (1,)))


class _RebuildTensor:
    __slots__ = ()

    def __call__(
        self, storage: _Storage, offset: int, shape: Any, stride: Any, *_: object
    ) -> npt.NDArray[Any]:
        whole = [*shape, *stride, offset]
        if not isinstance(storage, _Storage) or len(shape) != len(stride):
            raise ValueError("a tensor's parts")
        if any(isinstance(n, bool) or not isinstance(n, int) or n < 0 for n in whole):
            raise ValueError("a tensor's shape")
        reach = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
        if 0 in shape or reach >= len(storage.values):
            raise ValueError("a tensor's shape and storage do not fit")
        array: npt.NDArray[Any] = storage.values.as_strided(shape, stride, offset).numpy()
        return array


class _NoHooks:
    __slots__ = ()

    def __call__(self) -> tuple[()]:
        return ()


TENSORS: GlobalTable = MappingProxyType(
    {
        **NUMPY_ARRAYS,
        ("torch._utils", "_rebuild_tensor_v2"): _RebuildTensor(),
        ("torch.storage", "_load_from_bytes"): _LoadFromBytes(),
        ("collections", "OrderedDict"): _NoHooks(),  # of backward hooks, and empty
    }
)


def read_published_neighbors(
    path: str | Path,
    query_names: Sequence[str],
    gallery_names: Sequence[str],
    *,
    most: int | None = None,
) -> Neighbors:
    """The lists of the queries among the gallery, each image left out of its own.

    most: where the lists would take more than WHOLE_BYTES, so many of each query are read, and
    looked at, and the others stay in the file (as far as `planes` finds them there).
    Raises MissingFile; BadInput where the file holds anything else, its Q is not the number of
    queries, an id is no row of the gallery or listed twice, or a sim is not finite.
    """
    path = Path(path)
    counts = len(query_names), len(gallery_names)
    first = None if most is None else _first_columns(path, *counts, most + 1)
    sims, floats = _planes(path, *counts)[:2] if first is None else first
    ids = rows_of(floats, "id", len(gallery_names), path)
    own = own_rows(query_names, gallery_names)
    if (ids == own[:, None]).any():
        ids, sims = without_own(ids, sims, own)
    if first is not None:
        ids, sims = ids[:, :most], sims[:, :most]
    try:
        sims = sims.astype(np.float32, copy=False)
        return Neighbors(ids.astype(np.int32, copy=False), sims, len(gallery_names))
    except BadInput as error:
        raise BadInput(str(error), where=path) from error


def read_shortlist(
    path: str | Path, query_names: Sequence[str], gallery_names: Sequence[str]
) -> npt.NDArray[np.int64] | None:
    """The third plane: for each image of the gallery list its row in a store that has some of them.

    int64 [N], -1 where it is in no list; None where the file has two planes. Raises BadInput where
    an image has two rows, or a row two images.
    """
    path = Path(path)
    located = locate_planes(path) if path.is_file() else None
    if located is not None and len(located) == 2:  # nothing to read
        return None
    planes = _planes(path, len(query_names), len(gallery_names))
    if len(planes) == 2:
        return None
    ids = rows_of(planes[1], "id", len(gallery_names), path).ravel()
    rows = rows_of(planes[2], "row in the shortlist", len(gallery_names), path).ravel()
    of_image = np.full(len(gallery_names), -1)
    of_image[ids] = rows
    listed = of_image[of_image >= 0]
    if (of_image[ids] != rows).any() or len(np.unique(listed)) != len(listed):
        raise BadInput(
            "the shortlist gives an image two rows, or a row two images",
            where=path,
            expected="one row of the shortlist's store an image",
        )
    return of_image


def rows_of(
    floats: npt.NDArray[Any], what: str, num_gallery: int, path: Path, first: int = 0
) -> npt.NDArray[np.int32]:
    """Row numbers that are stored as floats [n, K], of the queries from `first` on.

    Raises BadInput where one is none.
    """
    with np.errstate(invalid="ignore"):  # what is no number is found below
        rows = floats.astype(np.int32)
    fine = np.isfinite(floats) & (rows == floats) & (rows >= 0) & (rows < num_gallery)
    if not fine.all():
        q, k = np.argwhere(~fine)[0]
        raise BadInput(
            f"query {first + q} has the {what} {floats[q, k]} in place {k}",
            where=path,
            expected=f"rows 0 to {num_gallery - 1} of the gallery list",
            remedy="use the gallery list that the file was made for",
        )
    return rows


def _planes(path: Path, num_queries: int, num_gallery: int) -> npt.NDArray[Any]:
    content = read_pickle(path, TENSORS)
    planes = np.asarray(content) if isinstance(content, np.ndarray) else None
    if planes is None or planes.ndim != 3 or planes.shape[0] not in (2, 3):
        said = type(content).__name__ if planes is None else f"{list(planes.shape)}"
        raise BadInput(f"the file holds {said}", where=path, expected=FORM)
    check_planes(planes.dtype, planes.shape[1:], num_queries, num_gallery, path)
    return planes


def _first_columns(
    path: Path, num_queries: int, num_gallery: int, most: int
) -> list[npt.NDArray[Any]] | None:
    """sims and ids [Q, most] of a large file; None where it is small, or to be read as a whole."""
    planes = locate_planes(path) if path.is_file() else None
    if planes is None or 8 * planes[0].shape[0] * planes[0].shape[1] <= WHOLE_BYTES:
        return None
    check_planes(planes[0].dtype, planes[0].shape, num_queries, num_gallery, path)
    with open(path, "rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return [np.array(plane.over(mapped)[:, :most]) for plane in planes[:2]]


def check_planes(
    dtype: np.dtype[Any], shape: tuple[int, ...], num_queries: int, num_gallery: int, path: Path
) -> None:
    """Raise BadInput where planes [Q, K] are not of these queries, or cannot count the gallery."""
    if dtype.name not in EXACT or num_gallery > EXACT[dtype.name]:
        raise BadInput(
            f"ids of {num_gallery} gallery images are stored as {dtype}",
            where=path,
            expected="float32 (up to 2^24 images) or float64",
        )
    if shape[0] != num_queries or shape[1] < 1:
        raise BadInput(
            f"the file has lists of {shape[0]} queries, the query list has {num_queries}",
            where=path,
            expected="the lists of these very queries",
        )


def own_rows(query_names: Sequence[str], gallery_names: Sequence[str]) -> npt.NDArray[np.int64]:
    """The gallery row of each query [Q], -1 where it is not in the gallery."""
    queries = set(query_names)
    row_of = {name: row for row, name in enumerate(gallery_names) if name in queries}
    return np.array([row_of.get(name, -1) for name in query_names], np.int64)


def without_own(
    ids: npt.NDArray[np.int32], sims: npt.NDArray[Any], own: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int32], npt.NDArray[Any]]:
    """The lists without the row `own` of each query; those that lack it end one place earlier."""
    is_own = ids == own[:, None]
    if (is_own.sum(axis=1) > 1).any():
        return ids, sims  # an image twice in a list: refused as such by Neighbors
    width = ids.shape[1] - 1
    keep = np.argsort(is_own, axis=1, kind="stable")[:, :width]
    return np.take_along_axis(ids, keep, axis=1), np.take_along_axis(sims, keep, axis=1)


def write_published_neighbors(
    path: str | Path, neighbors: Neighbors, *, overwrite: bool = False
) -> Path:
    """Write the lists as a pickled float32 tensor [2, Q, K]; returns the path.

    Raises BadInput for a gallery that float32 ids cannot count, and for an existing file unless
    overwrite.
    """
    if neighbors.num_gallery > EXACT["float32"]:
        raise BadInput(
            f"float32 ids cannot tell {neighbors.num_gallery} gallery images apart",
            where=path,
            expected=f"at most {EXACT['float32']}, or the native form (.hdf5)",
        )
    planes = np.stack([neighbors.sims, neighbors.ids]).astype(np.float32)
    with replacing(path, overwrite) as partial:
        write_pickle(partial, torch.from_numpy(planes))
    return Path(path)
