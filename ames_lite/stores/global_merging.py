"""One file of global descriptors from several that hold its rows, in their order; a copy.

Input: open files, made alike; whether they fit together is for the caller. Output: a complete file
that equals an unbroken run byte for byte. Only files with `status` and `reason` can be shards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ames_lite.stores import hdf5
from ames_lite.stores.disk import announce
from ames_lite.stores.global_store import SCHEMA, GlobalStore
from ames_lite.stores.global_writer import globals_layout

RUN_BYTES = 1 << 26  # copied at a time


def copy_globals(
    stores: Sequence[GlobalStore],
    output: str | Path,
    *,
    names: Sequence[str] | None = None,
    overwrite: bool = False,
    progress: Callable[[int], object] = lambda images: None,
) -> Path:
    """Write all rows into a file of its own; returns the path.

    names: of all rows, where they are called otherwise than in the sources. progress: called with
    the number of images that were copied. Raises BadInput for NaN and zeros
    among them, and where the disk is too small or refuses.
    """
    output, first = Path(output), stores[0]
    if names is None:
        names = [name for store in stores for name in store.names]
    wanted = globals_layout(names, first.dim, first.dtype.name)
    if overwrite or not output.exists():
        announce(output, wanted, overwrite=overwrite)
    with hdf5.new_file(output, SCHEMA, first.provenance, overwrite=overwrite) as file:
        for name, (shape, dtype) in wanted.items():
            hdf5.create_contiguous(file, name, shape, dtype)
        file["name"][:] = hdf5.encode_names(names)
        file["status"][:] = np.concatenate([store.status for store in stores])
        reasons = np.concatenate([store.reasons(0, len(store)) for store in stores])
        file["reason"][:] = reasons.astype(wanted["reason"][1])
        start = 0
        for store in stores:
            _copy(store, file["descriptors"], start, progress)
            start += len(store)
    return output


def _copy(
    store: GlobalStore, target: hdf5.DataSet, start: int, progress: Callable[[int], object]
) -> None:
    step = max(1, RUN_BYTES // (store.dim * store.dtype.itemsize))
    for first in range(0, len(store), step):
        stop = min(first + step, len(store))
        target[start + first : start + stop] = store.read(first, stop)
        progress(stop - first)
