"""One store from several that hold its rows, in their order: copied, or virtual.

Stores are of local or of global descriptors; whether they fit together is for the caller. A copy
equals an unbroken run byte for byte. A virtual store holds what is small (names, counts, states)
itself; what is large stays in the sources, which must not be moved without it.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput
from ames_lite.io.provenance import Provenance, compare_provenance
from ames_lite.stores import compression as compressing
from ames_lite.stores import hdf5, virtual
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.row_layout import PER_DESCRIPTOR, Layout, require_room

RUN_BYTES = 1 << 26  # copied at a time
REMEDY = "free space, or write elsewhere; how=virtual copies no local descriptors"


class Part(Protocol):
    """What a copy takes of a store: DescriptorStore or GlobalStore."""

    schema: str
    path: Path
    names: tuple[str, ...]
    provenance: Provenance

    def layout(self, names: Sequence[str]) -> Layout: ...
    def stored(self, name: str, rows: slice) -> npt.NDArray[Any]: ...


def check_alike(
    first: Part, other: Part, attributes: Sequence[str], keys: Sequence[str] | None = None
) -> None:
    """Raise BadInput where two stores differ in an attribute or their provenance (keys; all)."""
    files = (first.path, other.path)
    compare_provenance(first.provenance, other.provenance, keys, files=files)
    for what in attributes:
        a, b = getattr(first, what), getattr(other, what)
        if a != b:
            raise BadInput(
                f"{what} is {a} in {first.path} and {b} in {other.path}",
                where=f"{first.path} and {other.path}",
                expected="stores that were made alike",
            )


def copy_stores(
    stores: Sequence[Part],
    output: str | Path,
    *,
    names: Sequence[str] | None = None,
    compression: str | None = None,
    overwrite: bool = False,
    progress: Callable[[int], object] = lambda images: None,
) -> Path:
    """Write all rows into a store of its own; returns the path.

    names: of all rows, where they are called otherwise than in the sources. compression: of local
    descriptors, a name of `ames_lite.stores.compression`. progress: called with the number of
    images that were copied. Raises BadInput for NaN or zeros, and where the disk refuses.
    """
    output, first = Path(output), stores[0]
    compressing.check_compression(compression)
    names = _names(stores) if names is None else names
    wanted = first.layout(names)
    if compression is None and (overwrite or not output.exists()):
        require_room(output, wanted, REMEDY)
    with hdf5.new_file(output, first.schema, first.provenance, overwrite=overwrite) as file:
        for name, (shape, dtype) in wanted.items():
            if compression is not None and name in PER_DESCRIPTOR:
                compressing.create_compressed(file, name, shape, dtype, compression)
            else:
                hdf5.create_contiguous(file, name, shape, dtype)
        file["name"][:] = hdf5.encode_names(names)
        for name in wanted:
            if name != "name":
                _copy(stores, file[name], progress if name == "descriptors" else None)
    return output


def link_stores(
    stores: Sequence[DescriptorStore],
    output: str | Path,
    *,
    names: Sequence[str] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a virtual store over the stores, which stay where they are; returns the path."""
    output, first = Path(output), stores[0]
    names = _names(stores) if names is None else names
    chunks, start = [], 0
    for store in stores:
        chunks.append(virtual.Chunk(store.path, start, len(store)))
        start += len(store)
    made = first.provenance
    with hdf5.new_file(output, first.schema, made, overwrite=overwrite, virtual=True) as file:
        for name, (shape, dtype) in first.layout(names).items():
            if name in PER_DESCRIPTOR:
                virtual.create_virtual(file, output, name, shape, dtype, chunks)
                continue
            hdf5.create_contiguous(file, name, shape, dtype)
            if name != "name":
                _copy(stores, file[name], None)
        file["name"][:] = hdf5.encode_names(names)
    return output


def _names(stores: Sequence[Part]) -> list[str]:
    return [name for store in stores for name in store.names]


def _copy(
    stores: Sequence[Part], target: hdf5.DataSet, progress: Callable[[int], object] | None
) -> None:
    """All rows of a data set, in runs; of compressed ones in whole chunks."""
    row_bytes = max(1, int(np.prod(target.shape[1:])) * target.dtype.itemsize)
    unit = target.chunks[0] if target.chunks else 1
    step = max(1, RUN_BYTES // row_bytes // unit) * unit
    for first in range(0, target.shape[0], step):
        stop = min(first + step, target.shape[0])
        target[first:stop] = _rows(stores, target, first, stop)
        if progress is not None:
            progress(stop - first)


def _rows(stores: Sequence[Part], target: hdf5.DataSet, first: int, stop: int) -> npt.NDArray[Any]:
    """Rows first to stop of all stores in a row."""
    parts, start = [], 0
    for store in stores:
        num = len(store.names)
        low, high = max(first - start, 0), min(stop - start, num)
        if low < high:
            parts.append(
                store.stored(target.name, slice(low, high)).astype(target.dtype, copy=False)
            )
        start += num
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
