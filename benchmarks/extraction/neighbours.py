"""Neighbour lists of a set against itself: `exact_knn` against one flat search of faiss.

Input: `NeighbourSpeed`. Output: one JSON-able dict. exact_knn excludes every row itself by its name
and gives k; the flat search has k + 1, the row itself among them.

The cell: part, rows, dim, k, threads (of faiss), repeats, `seconds`, `ratio` (seconds of exact_knn
/ of the flat search: lower is better), `difference` (share of exact_knn's neighbours that the flat
search has too; largest difference of their sorted similarities), `peak_memory_mib` of a process
that has the vectors and searches.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt
import torch

from ames_lite.retrieval.knn import exact_knn
from ames_lite.retrieval.rows import own_rows
from benchmarks.extraction.turns import in_turns
from benchmarks.own_process import peak_of
from benchmarks.timing import middle

Float32 = npt.NDArray[np.float32]
CPU = torch.device("cpu")


@dataclass(frozen=True)
class NeighbourSpeed:
    """What to measure."""

    rows: int = 100_000
    dim: int = 768
    k: int = 300
    repeats: int = 5
    seed: int = 0
    budget: float = 240.0  # seconds; one round, and one run of each for memory, are run anyway


def unit_rows(rows: int, dim: int, seed: int) -> Float32:
    """Vectors [rows, dim] of unit length, from the seed."""
    vectors = np.random.default_rng(seed).standard_normal((rows, dim), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def flat_search(query: Float32, gallery: Float32, k: int) -> tuple[Any, Any]:
    """Ids and similarities [Q, k] of faiss' flat index; ties come in any order."""
    index = faiss.IndexFlatIP(gallery.shape[1])
    index.add(gallery)
    sims, ids = index.search(query, k)
    return ids, sims


def _project(vectors: Float32, names: Sequence[str], k: int) -> tuple[Any, Any]:
    found = exact_knn(vectors, vectors, k, own=own_rows(names, names))
    return found.ids, found.sims


def _flat(vectors: Float32, names: Sequence[str], k: int) -> tuple[Any, Any]:
    return flat_search(vectors, vectors, k + 1)


WORKS: dict[str, Callable[..., tuple[Any, Any]]] = {"project": _project, "flat": _flat}


def measure_neighbours(options: NeighbourSpeed) -> list[dict[str, Any]]:
    """The cell. Raises RuntimeError where the neighbours are not those of the flat search."""
    until = time.perf_counter() + options.budget
    vectors = unit_rows(options.rows, options.dim, options.seed)
    names = [str(row) for row in range(options.rows)]
    found: dict[str, tuple[Any, Any]] = {}

    def work(what: str) -> Callable[[], None]:
        def run() -> None:
            found[what] = WORKS[what](vectors, names, options.k)

        return run

    few = min(options.rows, 2 * options.k)
    for what in WORKS:
        WORKS[what](vectors[:few], names[:few], min(options.k, few - 1))
    seconds = in_turns({what: work(what) for what in WORKS}, options.repeats, CPU, until)
    difference = compare(*found["project"], *found["flat"])
    found.clear()
    given = {key: value for key, value in asdict(options).items() if key in KEYS}
    peaks = {what: peak_of(f"{__name__}:peak_job", what=what, **given) for what in WORKS}
    medians = {what: middle(values) for what, values in seconds.items()}
    cell = {
        "part": "knn",
        "device": "cpu",
        "threads": int(faiss.omp_get_max_threads()),
        **given,
        "repeats": len(seconds["flat"]),
        "seconds": seconds,
        "ratio": medians["project"] / medians["flat"],
        "difference": difference,
        "peak_memory_mib": peaks,
    }
    return [cell]


def peak_job(rows: int, dim: int, k: int, seed: int, what: str) -> Callable[[], object]:
    """Neighbours of vectors of noise, for `own_process.peak_of`."""
    vectors, names = unit_rows(rows, dim, seed), [str(row) for row in range(rows)]
    few = min(rows, 2 * k)
    WORKS[what](vectors[:few], names[:few], k)
    return lambda: WORKS[what](vectors, names, k)


KEYS = ("rows", "dim", "k", "seed")


def compare(
    ids: npt.NDArray[Any], sims: Float32, flat_ids: npt.NDArray[Any], flat_sims: Float32
) -> dict[str, float]:
    """Of [N, K] neighbours and [N, K + 1] of the flat search, which holds the rows themselves."""
    rows = np.arange(len(ids))[:, None]
    own = flat_ids == rows
    own[~own.any(axis=1), -1] = True  # the row itself is not there: its copies fill the list
    others = flat_ids[~own].reshape(ids.shape)
    gap = np.abs(sims - flat_sims[~own].reshape(sims.shape)).max()
    if not gap <= TOLERANCE:
        raise RuntimeError(
            f"similarities differ from the flat search's by {gap:.1e}; at most {TOLERANCE:g} was "
            "expected"
        )
    both = np.sort(np.concatenate([ids, others], axis=1), axis=1)
    shared = (both[:, 1:] == both[:, :-1]).sum() / ids.size
    return {"ids_shared": float(shared), "sims": float(gap)}


TOLERANCE = 1e-5  # of a similarity of unit vectors
