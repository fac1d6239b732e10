"""One store from several that hold its rows, in their order: copied, or virtual.

Stores are of local or of global descriptors; whether they fit together is for the caller. A copy
equals an unbroken run byte for byte. A virtual store holds what is small (names, counts, states)
itself; what is large stays in the sources, which must not be moved without it.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ames_lite.errors import require
from ames_lite.io.provenance import compare_provenance
from ames_lite.stores import hdf5, storage
from ames_lite.stores.descriptor_store import RowStore
from ames_lite.stores.row_layout import PER_DESCRIPTOR, require_room

RUN_BYTES = 1 << 26  # copied at a time
REMEDY = "free space, or write elsewhere; how=virtual copies no local descriptors"


def check_alike(
    first: RowStore, other: RowStore, attributes: Sequence[str], keys: Sequence[str] | None = None
) -> None:
    """Raise BadInput where two stores differ in an attribute or their provenance (keys; all)."""
    files = (first.path, other.path)
    compare_provenance(first.provenance, other.provenance, keys, files=files)
    where, expected = f"{first.path} and {other.path}", "stores that were made alike"
    for name in attributes:
        a, b = getattr(first, name), getattr(other, name)
        what = f"{name} is {a} in {first.path} and {b} in {other.path}"
        require(a == b, what, where=where, expected=expected)


def join_stores(
    stores: Sequence[RowStore],
    output: str | Path,
    *,
    names: Sequence[str] | None = None,
    linked: bool = False,
    compression: str | None = None,
    overwrite: bool = False,
    progress: Callable[[int], object] = lambda images: None,
) -> Path:
    """Write all rows into one store; returns the path.

    names: of all rows, where they are called otherwise than in the sources. linked: a virtual store
    over local ones, which stay where they are. compression: of local descriptors, a name of
    `ames_lite.stores.storage`. progress: called with the number of images that were copied.
    Raises BadInput for NaN or zeros, and where the disk refuses.
    """
    output, first = Path(output), stores[0]
    storage.check_compression(compression)
    names = [name for store in stores for name in store.names] if names is None else names
    wanted = first.layout(names)
    if not linked and compression is None and (overwrite or not output.exists()):
        require_room(output, wanted, REMEDY)
    made = first.provenance
    with hdf5.new_file(output, first.schema, made, overwrite=overwrite, virtual=linked) as file:
        for name, (shape, dtype) in wanted.items():
            if name in PER_DESCRIPTOR and linked:
                storage.create_virtual(file, output, name, shape, dtype, _chunks(stores))
            elif name in PER_DESCRIPTOR and compression is not None:
                storage.create_compressed(file, name, shape, dtype, compression)
            else:
                hdf5.create_contiguous(file, name, shape, dtype)
        file["name"][:] = hdf5.encode_names(names)
        for name in wanted:
            if name != "name" and not (name in PER_DESCRIPTOR and linked):
                for copied in _copy(stores, file[name]):
                    progress(copied if name == "descriptors" else 0)
    return output


def _chunks(stores: Sequence[RowStore]) -> list[storage.Chunk]:
    starts = itertools.accumulate(map(len, stores), initial=0)
    return [storage.Chunk(s.path, at, len(s)) for s, at in zip(stores, starts, strict=False)]


def _copy(stores: Sequence[RowStore], target: hdf5.DataSet) -> Iterator[int]:
    """Write all rows of a data set, in runs of whole chunks; yields how many were written."""
    row_bytes = max(1, math.prod(target.shape[1:]) * target.dtype.itemsize)
    unit = target.chunks[0] if target.chunks else 1
    step = max(1, RUN_BYTES // row_bytes // unit) * unit
    at = 0
    for store in stores:
        begin, end = at, at + len(store)
        while at < end:
            stop = min(end, (at // step + 1) * step)
            rows = store.stored(target.name, slice(at - begin, stop - begin))
            target[at:stop] = rows.astype(target.dtype, copy=False)
            yield stop - at
            at = stop
