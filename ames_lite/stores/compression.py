"""Compressed data sets: chunks of whole images, about 1 MiB each, written once.

gzip is HDF5's own; the others are filters of the package hdf5plugin, an extra. A store that is
being extracted is never compressed; it is when it is copied, as stores are merged.
"""

import importlib
import math
from typing import Any

import numpy as np

from ames_lite.errors import require
from ames_lite.stores import hdf5

CHUNK_BYTES = 1 << 20
PLUGINS = {"zstd": "Zstd", "lz4": "LZ4", "blosc": "Blosc"}  # to its class in hdf5plugin
COMPRESSIONS = ("gzip", *PLUGINS)
INSTALL = "pip install hdf5plugin"


def check_compression(name: str | None) -> None:
    expected = f"one of {', '.join(COMPRESSIONS)}"
    require(name in (None, *COMPRESSIONS), f"compression is '{name}'", expected=expected)
    here = name not in PLUGINS or _plugins() is not None
    require(here, f"compression={name} needs the package hdf5plugin", remedy=INSTALL)


def create_compressed(
    file: hdf5.File, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], compression: str
) -> None:
    """An empty compressed data set `name` [N, ...], to be filled in runs of its chunks."""
    options: Any = {"compression": "gzip", "compression_opts": 4}
    if compression in PLUGINS:
        options = dict(getattr(_plugins(), PLUGINS[compression])())
    chunk = (chunk_rows(shape, dtype), *shape[1:])
    file.inner.create_dataset(name, shape, dtype, chunks=chunk, shuffle=True, **options)


def chunk_rows(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    """Rows (images) of a chunk of a data set [N, ...]."""
    row_bytes = max(1, math.prod(shape[1:]) * dtype.itemsize)
    return max(1, min(shape[0], CHUNK_BYTES // row_bytes))


def check_filters(dataset: hdf5.DataSet) -> None:
    """Raise BadInput where a data set is compressed by a filter that is not here."""
    for number, name in dataset.filters():
        known = hdf5.filter_available(number)
        known = known or (_plugins() is not None and hdf5.filter_available(number))
        what = f"'{dataset.name}' is compressed by the filter {name.split(';')[0] or number}"
        expected = "a filter that HDF5 knows here"
        require(known, what, where=dataset.path, expected=expected, remedy=INSTALL)


def _plugins() -> Any:
    """The package, which makes its filters known when imported; None where it is not installed."""
    try:
        return importlib.import_module("hdf5plugin")
    except ImportError:
        return None
