"""Neighbour lists by global similarity: `python extract/prepare_topk_global.py global=vlad`.

In: the global descriptors of queries and gallery (or of a training set, searched against itself).
Out: `nn_{desc}_{global}.hdf5`, exact inner products, each image left out of its own list by name.
An output that ends in `.pkl` is of the published form, which names neither lists nor provenance.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from ames_lite.errors import BadInput
from ames_lite.io.global_store import read_globals
from ames_lite.io.neighbor_lists import is_pickle, read_neighbors, write_neighbors
from ames_lite.io.provenance import SAME_STORES, compare_provenance
from ames_lite.io.published_store import ORIGIN
from ames_lite.io.writing import refuse_existing
from ames_lite.retrieval.knn import exact_knn

SAME = (
    *SAME_STORES,
    *("global", "vocabulary", "assignment", "unit_descriptors", "power", "averaged_by"),
    *("normalisation", "whitening"),
)


def prepare_topk(
    query_path: str | Path,
    gallery_path: str | Path,
    output: str | Path,
    *,
    num_neighbors: int = 1600,
    names: Sequence[Sequence[str] | None] = (None, None),
    overwrite: bool = False,
) -> Path:
    """Write the neighbour lists and return the path.

    num_neighbors is clamped to the gallery. names: the image lists of queries and gallery, which
    global descriptors of the published form need. Memory: the descriptors, the lists and one block
    of the gallery in float32. Raises BadInput where the two sides were not made alike.
    """
    refuse_existing(Path(output), overwrite)
    query_names, query, made = read_globals(query_path, names=names[0])
    gallery_names, gallery, gallery_made = query_names, query, made
    if Path(gallery_path).absolute() != Path(query_path).absolute():
        gallery_names, gallery, gallery_made = read_globals(gallery_path, names=names[1])
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


def convert_topk(
    source: str | Path,
    output: str | Path,
    query_names: Sequence[str],
    gallery_names: Sequence[str],
    *,
    overwrite: bool = False,
) -> Path:
    """Write lists that are there already in the other form (by the suffix, `.pkl` or `.hdf5`).

    Raises MissingFile; BadInput where the lists are not those of these images.
    """
    if Path(source).absolute() == Path(output).absolute():
        raise BadInput("source and output are one file", where=source, expected="another form=")
    refuse_existing(Path(output), overwrite)
    neighbors = read_neighbors(source, query_names, gallery_names)
    provenance = {"origin": ORIGIN if is_pickle(source) else Path(source).name}
    return write_neighbors(
        output, neighbors, query_names, gallery_names, provenance, overwrite=overwrite
    )


if __name__ == "__main__":
    from ames_lite.cli.store_stages import topk_main

    sys.exit(topk_main())
