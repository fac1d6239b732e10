"""Stores of local descriptors that are kept as product codes: a byte for several numbers."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ames_lite.errors import require
from ames_lite.extraction.fitting import refuse_packed, sample_evenly
from ames_lite.io.writing import replacing
from ames_lite.retrieval.faiss_calls import CODE_ROWS, lloyd
from ames_lite.retrieval.product_codes import VALUES, Codebook, check_code_bytes
from ames_lite.stores import hdf5
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.row_layout import FAILED, LOCAL_SCHEMA

SAMPLE = VALUES * CODE_ROWS  # descriptors that a codebook is fitted on: more cost time alone
MAX_IMAGES = 2000
ITERATIONS = 10  # of k-means


def fit_codebook(store: DescriptorStore, code_bytes: int, seed: int = 0) -> Codebook:
    """Centroids of a sample of a store's descriptors. Raises BadInput for bits and few of them."""
    refuse_packed(store)
    check_code_bytes(code_bytes, store.dim)
    sample, _ = sample_evenly(store, MAX_IMAGES, SAMPLE, seed)
    what, remedy = f"{len(sample)} descriptors are too few for product codes", "keep float16"
    require(len(sample) >= VALUES, what, where=store.path, expected=f"{VALUES}", remedy=remedy)
    parts = map(np.ascontiguousarray, np.split(sample, code_bytes, axis=1))
    books = [lloyd(part, VALUES, seed, ITERATIONS, CODE_ROWS) for part in parts]
    return np.stack(books).astype(np.float16)


def is_compressed(path: Path) -> bool:
    """Whether a store is there that has product codes; then it is whole."""
    if not path.is_file():
        return False
    with hdf5.open_unfinished(path, LOCAL_SCHEMA) as file:
        return "codebook" in file


def compress_store(
    path: str | Path, codebook: Codebook, progress: Callable[[], object] = lambda: None
) -> None:
    """Put in place of a store the same one with product codes; killed, it stays as it was.
    progress: called once an image. Raises BadInput for a store that has codes, or bits.
    """
    with DescriptorStore.open(path) as store, replacing(path, overwrite=True) as partial:
        refuse_packed(store)
        what = "the store has product codes already"
        require(store.codebook is None, what, where=store.path, expected="float descriptors")
        sizes = (store.max_count, store.dim, store.dtype.name, store.provenance)
        with DescriptorStore.create(partial, store.names, *sizes, codebook=codebook) as writer:
            for row, name in enumerate(store.names):
                if store.status[row] == FAILED:
                    writer.mark_failed(name, store.reason(row))
                else:
                    writer.append(name, store.read(row))
                progress()
