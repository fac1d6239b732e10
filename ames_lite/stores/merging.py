"""One store from several that hold its rows, in their order: copied, or virtual.

Input: open stores, made alike; whether they fit together is for the caller. Output: a complete
native store. A virtual store holds what is small (names, counts, states) itself; what is large
stays in the sources, which must not be moved without it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput
from ames_lite.stores import compression as compressing
from ames_lite.stores import hdf5, virtual
from ames_lite.stores.descriptor_layout import PER_DESCRIPTOR, SCHEMA, store_layout
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.disk import free_bytes
from ames_lite.stores.row_layout import Layout, num_bytes
from ames_lite.stores.virtual import Chunk

RUN_BYTES = 1 << 26  # copied at a time


def copy_stores(
    stores: Sequence[DescriptorStore],
    output: str | Path,
    *,
    compression: str | None = None,
    overwrite: bool = False,
    progress: Callable[[int], object] = lambda images: None,
) -> Path:
    """Write all rows into a store of its own; returns the path.

    compression: a name of `ames_lite.stores.compression`, or None. progress: called with the number
    of images that were copied. Raises BadInput where the disk is too small or refuses.
    """
    output = Path(output)
    compressing.check_compression(compression)
    names = _names(stores)
    wanted = _layout(stores, names)
    if compression is None and num_bytes(wanted) > free_bytes(output):
        raise BadInput(
            f"the store takes {num_bytes(wanted) / 2**30:.2f} GiB, "
            f"{free_bytes(output) / 2**30:.2f} GiB are free",
            where=output,
            expected="a disk that holds the whole store",
            remedy="how=virtual copies nothing",
        )
    with hdf5.new_file(output, SCHEMA, stores[0].provenance, overwrite=overwrite) as file:
        for name, (shape, dtype) in wanted.items():
            if compression is not None and name in PER_DESCRIPTOR:
                compressing.create_compressed(file, name, shape, dtype, compression)
            else:
                hdf5.create_contiguous(file, name, shape, dtype)
        _write_small(file, stores, names)
        for name in PER_DESCRIPTOR:
            at_end = progress if name == "descriptors" else None
            _copy(stores, file[name], name, at_end)
    return output


def link_stores(
    stores: Sequence[DescriptorStore],
    output: str | Path,
    *,
    names: Sequence[str] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a virtual store over the stores, which stay where they are; returns the path.

    names: of all rows, where they are called otherwise than in the sources.
    """
    output, names = Path(output), _names(stores) if names is None else names
    chunks, start = [], 0
    for store in stores:
        chunks.append(Chunk(store.path, start, len(store)))
        start += len(store)
    made = stores[0].provenance
    with hdf5.new_file(output, SCHEMA, made, overwrite=overwrite, virtual=True) as file:
        for name, (shape, dtype) in _layout(stores, names).items():
            if name in PER_DESCRIPTOR:
                virtual.create_virtual(file, output, name, shape, dtype, chunks)
            else:
                hdf5.create_contiguous(file, name, shape, dtype)
        _write_small(file, stores, names)
    return output


def _names(stores: Sequence[DescriptorStore]) -> list[str]:
    return [name for store in stores for name in store.names]


def _layout(stores: Sequence[DescriptorStore], names: Sequence[str]) -> Layout:
    first = stores[0]
    return store_layout(names, first.max_count, first.dim, first.dtype.name)


def _write_small(file: hdf5.File, stores: Sequence[DescriptorStore], names: Sequence[str]) -> None:
    """What a store keeps of every image, but for its descriptors."""
    file["name"][:] = hdf5.encode_names(names)
    for name in ("count", "size", "status"):
        file[name][:] = np.concatenate([getattr(store, name) for store in stores])
    file["reason"][:] = np.concatenate([store.stored("reason", np.s_[:]) for store in stores])


def _copy(
    stores: Sequence[DescriptorStore],
    target: hdf5.DataSet,
    name: str,
    progress: Callable[[int], object] | None,
) -> None:
    """All rows of a data set, in runs; of compressed ones in whole chunks."""
    row_bytes = max(1, int(np.prod(target.shape[1:])) * target.dtype.itemsize)
    unit = target.chunks[0] if target.chunks else 1
    step = max(1, RUN_BYTES // row_bytes // unit) * unit
    for first in range(0, target.shape[0], step):
        stop = min(first + step, target.shape[0])
        target[first:stop] = _rows(stores, name, first, stop)
        if progress is not None:
            progress(stop - first)


def _rows(stores: Sequence[DescriptorStore], name: str, first: int, stop: int) -> npt.NDArray[Any]:
    """Rows first to stop of all stores in a row."""
    parts, start = [], 0
    for store in stores:
        low, high = max(first - start, 0), min(stop - start, len(store))
        if low < high:
            parts.append(store.stored(name, np.s_[low:high]))
        start += len(store)
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
