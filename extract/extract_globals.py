"""Global descriptors from local ones: `python extract/extract_globals.py global=vlad`.

In: a complete store and a vocabulary of the same backbone. Out: `{desc}_{split}_vlad.hdf5`, float32
[N, C * D], one unit vector an image (hard assignment, intra-normalised).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ames_lite.errors import BadInput
from ames_lite.io.descriptor_store import DescriptorStore
from ames_lite.io.digest import array_digest
from ames_lite.io.global_store import write_globals
from ames_lite.io.provenance import compare_provenance
from ames_lite.io.vocabulary import read_vocabulary
from ames_lite.retrieval.vlad import vlad_images

SAME = ("backbone", "variant", "detector")  # what a vocabulary and a store must share


def extract_vlad(
    store_path: str | Path,
    vocabulary_path: str | Path,
    output: str | Path,
    *,
    block_images: int = 256,
    overwrite: bool = False,
) -> Path:
    """Write the VLAD of every image of a store and return the path.

    Raises BadInput where store and vocabulary are of different backbones or widths.
    """
    store = DescriptorStore.open(store_path)
    centroids, built_from = read_vocabulary(vocabulary_path)
    if store.packed or store.dim != centroids.shape[1]:
        raise BadInput(
            f"the store has {'packed bits' if store.packed else f'width {store.dim}'}, the "
            f"vocabulary width {centroids.shape[1]}",
            where=f"{store_path} and {vocabulary_path}",
            expected="float descriptors of the vocabulary's width",
        )
    compare_provenance(
        store.provenance, built_from, SAME, files=(Path(store_path), Path(vocabulary_path))
    )
    parts = []
    for start in tqdm(range(0, len(store), block_images), desc="vlad", unit="block"):
        rows = np.arange(start, min(start + block_images, len(store)))
        descriptors, _ = store.read_descriptors(rows)
        parts.append(vlad_images(descriptors, store.count[rows], centroids))
    provenance = {
        **store.provenance,
        "global": "vlad",
        "vocabulary": array_digest(centroids),
        "assignment": "hard, euclidean",
        "normalisation": "intra, then L2",
    }
    return write_globals(
        output, store.names, np.concatenate(parts), provenance, overwrite=overwrite
    )


if __name__ == "__main__":
    from ames_lite.cli.stages import globals_main

    sys.exit(globals_main())
