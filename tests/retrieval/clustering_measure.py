"""Peak memory and time of k-means over more tokens than fit: of tokens made as they are asked for,
or of a store on disk that is made first.

python -m tests.retrieval.clustering_measure 10000000 3 [store]      (tokens, iterations)
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ames_lite.extraction.vocabulary import Source, build_vocabulary
from ames_lite.records import LocalDescriptors
from ames_lite.retrieval.clustering import kmeans_blocks
from ames_lite.stores.descriptor_store import DescriptorStore
from benchmarks.memory import peak_memory_mib

DIM, BLOCK, PER_IMAGE = 768, 1 << 14, 484


def blocks(num_tokens: int) -> Iterator[np.ndarray]:
    """float16 [m, DIM]: one random block again and again, its columns moved each time."""
    base = np.random.default_rng(0).standard_normal((BLOCK, DIM), np.float32).astype(np.float16)
    for i, start in enumerate(range(0, num_tokens, BLOCK)):
        yield np.roll(base[: num_tokens - start], i, axis=1)


def store_of(path: Path, num_images: int) -> Path:
    rng = np.random.default_rng(0)
    names = [f"{i}.jpg" for i in range(num_images)]
    xy, scale = np.zeros((PER_IMAGE, 2), np.float32), np.zeros(PER_IMAGE, np.uint8)
    with DescriptorStore.create(path, names, PER_IMAGE, DIM, "float16", {}) as store:
        for name in names:
            tokens = rng.standard_normal((PER_IMAGE, DIM), np.float32).astype(np.float16)
            weight = np.ones(PER_IMAGE, np.float32)
            store.append(name, LocalDescriptors(tokens, xy, scale, weight, size=(308, 308)))
    return path


def main(num_tokens: int, iterations: int, on_disk: bool) -> None:
    before = peak_memory_mib()
    start = time.perf_counter()
    if on_disk:
        with tempfile.TemporaryDirectory() as folder:
            store = Source(store_of(Path(folder) / "x.hdf5", num_tokens // PER_IMAGE))
            start = time.perf_counter()
            output = Path(folder) / "v.npz"
            options = {"num_clusters": 32, "iterations": iterations, "distance": "cosine"}
            build_vocabulary([store], output, unit=True, **options)
    else:
        options = {"iterations": iterations, "distance": "cosine", "tolerance": 0.0}
        found = kmeans_blocks(lambda: blocks(num_tokens), 32, 0, **options)
        assert found.tokens == num_tokens and np.isfinite(found.centroids).all()
    took = time.perf_counter() - start
    print(f"{num_tokens} tokens, {iterations} iterations: {took:.0f} s, ", end="")  # noqa: T201
    print(f"peak {peak_memory_mib():.0f} MiB (before: {before:.0f})")  # noqa: T201


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), "store" in sys.argv[3:])
