"""Candidate lists as arrays of gallery rows: faiss, VPR-methods-evaluation, published pickles."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ames_lite.errors import explained, require
from ames_lite.io.arrays import read_npz
from ames_lite.records import Neighbors
from ames_lite.retrieval.knn import exact_knn
from ames_lite.stores.candidates.record import PAD
from ames_lite.stores.published.neighbors import open_planes, write_published_neighbors
from ames_lite.stores.published.safe_pickle import read_npy

Array = npt.NDArray[Any]
Both = tuple[Array, Array | None]  # ids and sims [Q, K]
NEAREST = 100  # candidates of global descriptors
NO_SIM = np.finfo(np.float32).min  # of faiss, with the id -1
DESCRIPTORS = ("queries_descriptors.npy", "database_descriptors.npy")


def read_faiss(path: Path) -> Both:
    """An archive of ids and sims, whatever they are called: integers and floats."""
    with explained("no archive of arrays ({})", Exception, where=path):
        arrays = read_npz(path)
    kinds = {array.dtype.kind.replace("u", "i"): array for array in arrays.values()}
    fine = len(arrays) == 2 and kinds.keys() == {"i", "f"}
    what = f"the archive holds {', '.join(f'{k} ({a.dtype})' for k, a in arrays.items())}"
    require(fine, what, where=path, expected="integers (ids) and floats (sims), both [Q, K]")
    return kinds["i"], kinds["f"]


def read_published(path: Path) -> Both:
    sims, ids = open_planes(path).values[:2]
    whole = np.isfinite(ids).all() and (ids == np.floor(ids)).all()
    require(whole, "ids are no whole numbers", where=path, expected="rows of the gallery list")
    return ids.astype(np.int64), sims


def read_descriptors(path: Path) -> Both:
    """The NEAREST of global descriptors, which are brought to unit length, by their cosines."""
    sides = {name: read_npy(path / name) for name in DESCRIPTORS}
    for name, side in sides.items():
        what, fits = f"{side.dtype} {list(side.shape)}", side.ndim == 2 and side.dtype.kind in "fiu"
        require(fits, what, where=path / name, expected="global descriptors, numbers [N, D]")
    query, gallery = (side.astype(np.float32) for side in sides.values())
    with explained(where=path):
        query, gallery = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (query, gallery))
        near = exact_knn(query, gallery, NEAREST)
    return near.ids, near.sims


def write_faiss(path: Path, ids: Array, sims: Array) -> None:
    with path.open("wb") as file:
        np.savez(file, ids=ids, sims=sims)


def write_npy(path: Path, ids: Array, sims: Array) -> None:
    with path.open("wb") as file:
        np.save(file, ids)


def write_published(path: Path, ids: Array, sims: Array) -> None:
    what = "lists of several lengths in an array without padding"
    require((ids != PAD).all(), what, where=path, expected="lists of one length, or form faiss")
    num = int(ids.max(initial=0)) + 1
    write_published_neighbors(path, Neighbors(ids.astype(np.int32), sims, num))
