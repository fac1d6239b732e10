"""Neighbour lists by global similarity: `python extract/prepare_topk_global.py global=vlad`.

In: the global descriptors of queries and gallery (or of a training set, searched against itself).
Out: `nn_{desc}_{global}.hdf5`, exact inner products, each image left out of its own list by name.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ames_lite.io.global_store import read_globals
from ames_lite.io.neighbor_lists import write_neighbors
from ames_lite.io.provenance import compare_provenance
from ames_lite.retrieval.knn import exact_knn

SAME = ("backbone", "variant", "detector", "top_k", "global", "vocabulary")


def prepare_topk(
    query_path: str | Path,
    gallery_path: str | Path,
    output: str | Path,
    *,
    num_neighbors: int = 1600,
    overwrite: bool = False,
) -> Path:
    """Write the neighbour lists and return the path.

    num_neighbors is clamped to the gallery. Raises BadInput where the two sides were not made
    alike.
    """
    query_names, query, made = read_globals(query_path)
    gallery_names, gallery, gallery_made = read_globals(gallery_path)
    compare_provenance(made, gallery_made, SAME, files=(Path(query_path), Path(gallery_path)))
    neighbors = exact_knn(
        query,
        gallery,
        num_neighbors,
        query_names=query_names,
        gallery_names=gallery_names,
    )
    provenance = {**gallery_made, "search": "exact inner product"}
    return write_neighbors(
        output, neighbors, query_names, gallery_names, provenance, overwrite=overwrite
    )


if __name__ == "__main__":
    from ames_lite.cli.stages import topk_main

    sys.exit(topk_main())
