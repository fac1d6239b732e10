"""A VLAD vocabulary from a store of local descriptors: `python extract/build_vocabulary.py`.

In: a complete float store, as a rule of a training set. Out: `vlad_{desc}_{domain}.npz`, centroids
[C, D] and what they were built from. Images are sampled evenly over the store, so memory is bounded
by the sample.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from ames_lite.errors import BadInput
from ames_lite.io.descriptor_store import DescriptorStore
from ames_lite.io.digest import names_digest
from ames_lite.io.vocabulary import write_vocabulary
from ames_lite.retrieval.knn import kmeans


def build_vocabulary(
    store_path: str | Path,
    output: str | Path,
    *,
    num_clusters: int = 64,
    seed: int = 0,
    iterations: int = 20,
    max_images: int = 5000,
    overwrite: bool = False,
) -> Path:
    """Write the vocabulary and return its path.

    max_images: images sampled, evenly over the store. Raises BadInput for packed stores and for
    fewer descriptors than clusters.
    """
    store = DescriptorStore.open(store_path)
    if store.packed:
        raise BadInput("a packed store", where=store_path, expected="float descriptors")
    if max_images < 1:
        raise BadInput(f"max_images is {max_images}", expected="at least 1")
    count = min(len(store), max_images)
    rows = np.unique(np.linspace(0, len(store) - 1, count).round().astype(np.int64))
    descriptors, valid = store.read_descriptors(rows)
    centroids = kmeans(descriptors[valid].astype(np.float32), num_clusters, seed, iterations)
    provenance = {
        **store.provenance,
        "images": len(rows),
        "image_names": names_digest([store.names[row] for row in rows]),
        "num_clusters": num_clusters,
        "seed": seed,
        "iterations": iterations,
        "distance": "euclidean",
    }
    return write_vocabulary(output, centroids, provenance, overwrite=overwrite)


if __name__ == "__main__":
    from ames_lite.cli.stages import vocabulary_main

    sys.exit(vocabulary_main())
