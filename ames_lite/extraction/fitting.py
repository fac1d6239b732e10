"""What is fitted on images spread over one store: a projection to bits, a whitening, and product
codes (a byte for several numbers), which a store is then kept as.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ames_lite.errors import BadInput, explained, require
from ames_lite.io.digest import names_digest
from ames_lite.io.writing import refuse_existing, replacing
from ames_lite.models.binarization import fit_itq
from ames_lite.retrieval.faiss_calls import CODE_ROWS, lloyd
from ames_lite.retrieval.product_codes import VALUES, Codebook, check_code_bytes
from ames_lite.retrieval.rows import not_finite, runs
from ames_lite.retrieval.whitening import fit_class_whitening
from ames_lite.retrieval.whitening import fit_whitening as fit
from ames_lite.stores import hdf5
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.fitted import write_binarization, write_whitening
from ames_lite.stores.global_store import GlobalStore
from ames_lite.stores.published.store import open_store
from ames_lite.stores.row_layout import DONE, FAILED, LOCAL_SCHEMA

Rows = npt.NDArray[np.int64]
METHODS = ("pca", "within_class")
RUN_IMAGES, RUN_ROWS = 64, 256  # read at a time, of local and global descriptors
SAMPLE = VALUES * CODE_ROWS  # descriptors that a codebook is fitted on: more cost time alone
MAX_IMAGES = 2000
ITERATIONS = 10  # of k-means


def open_floats(path: str | Path, names: Sequence[str] | None) -> DescriptorStore:
    """A store; names: the image list, which a published one needs. Raises BadInput if packed."""
    store = DescriptorStore.open(path) if names is None else open_store(path, names)
    refuse_packed(store)
    return store


def refuse_packed(store: DescriptorStore) -> None:
    require(not store.packed, "a packed store", "float descriptors", where=store.path)


def spread(rows: Rows, count: int) -> Rows:
    """At most `count` of the rows, evenly over them."""
    if len(rows) <= count:
        return rows
    return rows[np.linspace(0, len(rows) - 1, count).round().astype(np.int64)]


def fit_binarization(
    store_path: str | Path,
    output: str | Path,
    *,
    names: Sequence[str] | None = None,  # the image list, which a published store needs
    bits: int = 128,  # a multiple of 8, at most Din
    seed: int = 0,
    iterations: int = 50,
    max_descriptors: int = 100_000,  # sampled; memory is about 32 bytes * Din of each
    max_images: int = 5000,
    overwrite: bool = False,
) -> Path:
    """Write the projection; returns its path. BadInput for packed stores and few descriptors."""
    refuse_existing(Path(output), overwrite)
    require(bits >= 8 and bits % 8 == 0, f"bits is {bits}", "a multiple of 8")
    store = open_floats(store_path, names)
    sample, rows = sample_evenly(store, max_images, max_descriptors, seed)
    generator = torch.Generator().manual_seed(seed)
    projection = fit_itq(torch.from_numpy(sample), bits, generator, iterations=iterations)
    provenance = {
        **store.provenance,
        "images": len(rows),
        "image_names": names_digest([store.names[row] for row in rows]),
        "descriptors": len(sample),
        "bits": bits,
        "seed": seed,
        "iterations": iterations,
        "method": "itq",
    }
    return write_binarization(output, projection.numpy(), provenance, overwrite=overwrite)


def sample_evenly(
    store: DescriptorStore, max_images: int, max_descriptors: int, seed: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Descriptors [M, D], at most max_descriptors, of images spread over a store, and their rows.
    Images that failed are left out; of an image as many as of others, at random, in their order.
    """
    what = f"max_images is {max_images}, max_descriptors {max_descriptors}"
    require(min(max_images, max_descriptors) >= 1, what, "both at least 1")
    done = np.flatnonzero(store.status == DONE)
    require(len(done), "all images failed in extraction", where=store.path, remedy=store.remedy)
    rows = spread(done, max_images)
    each = -(-max_descriptors // len(rows))
    rng = np.random.default_rng(seed)
    parts = []
    for start in range(0, len(rows), RUN_IMAGES):
        descriptors, valid = store.read_descriptors(rows[start : start + RUN_IMAGES])
        for one, real in zip(descriptors, valid, strict=True):
            found = one[real]
            kept = np.sort(rng.permutation(len(found))[:each])
            parts.append(found[kept].astype(np.float32))
    return np.concatenate(parts)[:max_descriptors], rows


def fit_whitening(
    globals_path: str | Path,
    output: str | Path,
    *,
    method: str = "pca",  # or within_class, which needs labels [N] and shrinkage
    dim: int = 512,  # output width of pca; directions that within_class estimates
    shrinkage: float = 0.3,
    labels: npt.NDArray[Any] | None = None,
    names: Sequence[str] | None = None,  # the image list, which a published file needs
    max_images: int = 10_000,  # evenly over the file, without those that failed
    overwrite: bool = False,
) -> Path:
    """Write the whitening of a complete file of global descriptors; returns its path. BadInput."""
    refuse_existing(Path(output), overwrite)
    require(method in METHODS, f"method is '{method}'", f"one of {', '.join(METHODS)}")
    require(max_images >= 1, f"max_images is {max_images}", "at least 1")
    with GlobalStore(globals_path, names=names) as store:
        rows = spread(np.flatnonzero(store.status == DONE), max_images)
        chosen_rows = _Chosen(store, rows)
        how: dict[str, Any] = {"method": "PCA, exact"}
        with explained(where=store.path):
            if method == "pca":
                whitening = fit(chosen_rows, dim)
            else:
                if labels is None or len(labels) != len(store):
                    what = f"{0 if labels is None else len(labels)} labels, {len(store)} images"
                    raise BadInput(what, expected="a label for every image", remedy="method=pca")
                whitening = fit_class_whitening(chosen_rows, labels[rows], dim, shrinkage)
                how = {"method": "within classes", "shrinkage": shrinkage}
        chosen = [store.names[row] for row in rows]
        provenance = {
            **store.provenance,
            "images": len(rows),
            "image_names": names_digest(chosen),
            "fitted_on": Path(globals_path).name,
            "dim": dim,
            **how,
        }
    return write_whitening(output, whitening, chosen, provenance, overwrite=overwrite)


class _Chosen:
    """Some rows of a file as a matrix: parts are read when they are asked for, in runs of rows."""

    def __init__(self, store: GlobalStore, rows: Rows) -> None:
        self.store, self.rows = store, rows
        self.shape = (len(rows), store.dim)
        for at in runs(rows, RUN_ROWS):
            store.rows(int(rows[at][0]), int(rows[at][-1]) + 1)  # whole, to be verified

    def __getitem__(self, part: tuple[slice, slice]) -> npt.NDArray[Any]:
        rows, columns = self.rows[part[0]], part[1]
        out = np.empty((len(rows), len(range(self.store.dim)[columns])), np.float32)
        for at in runs(rows, RUN_ROWS):
            out[at] = self.store.part(slice(int(rows[at][0]), int(rows[at][-1]) + 1), columns)
        bad = ~np.isfinite(out).all(axis=1)
        if bad.any():
            row = int(rows[int(bad.argmax())])
            raise not_finite(f"the descriptor of '{self.store.names[row]}' (row {row})")
        return out


def fit_codebook(store: DescriptorStore, code_bytes: int, seed: int = 0) -> Codebook:
    """Centroids of a sample of a store's descriptors. Raises BadInput for bits and few of them."""
    refuse_packed(store)
    check_code_bytes(code_bytes, store.dim)
    sample, _ = sample_evenly(store, MAX_IMAGES, SAMPLE, seed)
    what, remedy = f"{len(sample)} descriptors are too few for product codes", "keep float16"
    require(len(sample) >= VALUES, what, f"{VALUES}", where=store.path, remedy=remedy)
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
    """Put one with product codes in place of a store, atomically. BadInput for codes, bits."""
    with DescriptorStore.open(path) as store, replacing(path, overwrite=True) as partial:
        refuse_packed(store)
        what = "the store has product codes already"
        require(store.codebook is None, what, "float descriptors", where=store.path)
        sizes = (store.max_count, store.dim, store.dtype.name, store.provenance)
        with DescriptorStore.create(partial, store.names, *sizes, codebook=codebook) as writer:
            for row, name in enumerate(store.names):
                if store.status[row] == FAILED:
                    writer.mark_failed(name, store.reason(row))
                else:
                    writer.append(name, store.read(row))
                progress()
