"""Neighbor lists by global similarity, of queries in a gallery or of a training set in itself, each
image left out of its own by name. An output that ends in `.pkl` is of the published form.
"""

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from ames_lite.errors import BadInput, require
from ames_lite.extraction.fitting import spread
from ames_lite.io.provenance import ORIGIN, SAME_GLOBALS, SAME_STORES, compare_provenance
from ames_lite.io.writing import refuse_existing
from ames_lite.retrieval.compressed import Found, IvfPq, compressed_knn
from ames_lite.retrieval.knn import exact_knn
from ames_lite.retrieval.rerank_parts import Reranker
from ames_lite.retrieval.rows import own_rows
from ames_lite.stores import neighbor_lists
from ames_lite.stores.global_store import GlobalStore
from ames_lite.stores.published.neighbors import is_pickle
from ames_lite.stores.row_layout import FAILED

Names = Sequence[str]
logger = logging.getLogger(__name__)

CHECKED_QUERIES, CHECKED_RANKS = 8, 4  # of lists that are kept
TOLERANCE = 1e-3  # of a similarity; other descriptors differ by more
SAME = (*SAME_STORES, *SAME_GLOBALS, "normalisation", "whitening")


def prepare_topk(
    query_path: str | Path,
    gallery_path: str | Path,
    output: str | Path,
    *,
    num_neighbors: int = 1600,  # clamped to the gallery
    names: Sequence[Names | None] = (None, None),  # image lists, for published files
    device: str = "cpu",
    index: IvfPq | None = None,  # some neighbors are missed, the recall is in the provenance
    rerank: Reranker | None = None,  # lists are reranked before they are cut
    overwrite: bool = False,
) -> Path:
    """Write the neighbor lists; returns the path. Memory: queries, lists, a block of the gallery in
    float32, and what index and rerank take. BadInput where the sides were not made alike.
    """
    refuse_existing(Path(output), overwrite)
    require(num_neighbors >= 1, f"num_neighbors is {num_neighbors}", "at least 1")
    with ExitStack() as stack:
        queries = gallery = stack.enter_context(GlobalStore(query_path, names=names[0]))
        if Path(gallery_path).absolute() != queries.path:
            gallery = stack.enter_context(GlobalStore(gallery_path, names=names[1]))
        files = (Path(query_path), Path(gallery_path))
        compare_provenance(queries.provenance, gallery.provenance, SAME, files=files)
        for store in dict.fromkeys((queries, gallery)):
            failed = int((store.status == FAILED).sum())
            if failed:
                text = "%s: %d of %d images failed in extraction; they are ranked by a constant "
                logger.warning(text + "vector", store.path, failed, len(store))
        longest = num_neighbors
        if rerank is not None:
            longest = max(longest, rerank.depth(len(queries), len(gallery), gallery.dim))
        rows = queries.read(0, len(queries))
        own = own_rows(queries.names, gallery.names)
        how: dict[str, Any] = {"search": "exact inner product"}
        if index is None:
            searched = rows if gallery is queries else gallery
            neighbors = exact_knn(rows, searched, longest, own=own, device=device)
        else:
            found = compressed_knn(rows, gallery, longest, index, own=own, device=device)
            neighbors, how = found.neighbors, _told(found)
        if rerank is not None:
            neighbors = rerank.rerank(rows, gallery, neighbors, own=own, device=device)
            neighbors, how = neighbors.first(num_neighbors), how | rerank.provenance
    both, made = (queries.names, gallery.names), {**gallery.provenance, **how}
    return neighbor_lists.write_neighbors(output, neighbors, *both, made, overwrite=overwrite)


def _told(found: Found) -> dict[str, Any]:
    """What the provenance of the lists says of the search."""
    recall = {f"recall@{depth}": share for depth, share in found.recall.items()}
    said = ", ".join(f"{name} {share:.4f}" for name, share in recall.items())
    logger.info("against exact, on %d queries: %s", found.settings["recall_queries"], said)
    return {"search": "ivf_pq, exact similarities", **found.settings, **recall}


def check_topk(
    path: Path, stores: Sequence[Path], names: Sequence[Names], needed: int, remedy: str
) -> None:
    """Raise BadInput where lists are not those of these descriptors (some similarities are computed
    again), or shorter than needed. stores, names: of queries and gallery.
    """
    lists = neighbor_lists.read_neighbors(path, names[0], names[1], needed, remedy=remedy)
    made = neighbor_lists.read_provenance(path)
    made.pop("search", None)  # how the neighbours were found
    rows, width = lists.ids.shape
    some, ranks = spread(np.arange(rows), CHECKED_QUERIES), spread(np.arange(width), CHECKED_RANKS)
    both = [GlobalStore(store, names=side) for store, side in zip(stores, names, strict=True)]
    with both[0] as queries, both[1] as gallery:
        compare_provenance(made, gallery.provenance, files=(path, gallery.path), remedy=remedy)
        for row, rank in product(some, ranks):
            found, stored = int(lists.ids[row, rank]), float(lists.sims[row, rank])
            pair = queries.read(row, row + 1)[0], gallery.read(found, found + 1)[0]
            value = float(pair[1].astype(np.float64) @ pair[0].astype(np.float64))
            what = f"the lists give '{queries.names[row]}' and '{gallery.names[found]}' the "
            what += f"similarity {stored:.4f}, their descriptors have {value:.4f}"
            where, expected = f"{path} and {gallery.path}", "lists of these very descriptors"
            require(abs(value - stored) <= TOLERANCE, what, expected, where=where, remedy=remedy)


def convert_topk(
    source: str | Path,
    output: str | Path,
    query_names: Names,
    gallery_names: Names,
    *,
    keep: int | None = None,
    overwrite: bool = False,
) -> Path:
    """Write lists in the other form, by the suffix; keep: neighbors, None: all. A pickle is read in
    blocks. Raises MissingFile, BadInput where they are not of these images.
    """
    if Path(source).absolute() == Path(output).absolute():
        raise BadInput("source and output are one file", where=source, expected="another form=")
    require(keep is None or keep >= 1, f"keep is {keep}", "at least 1 neighbor")
    refuse_existing(Path(output), overwrite)
    both, lists = (query_names, gallery_names), neighbor_lists
    if is_pickle(source) and not is_pickle(output):
        return lists.convert_published(source, output, *both, keep=keep, overwrite=overwrite)
    neighbors = lists.read_neighbors(source, *both).first(keep)
    lists.say_rising(neighbors.rising, len(neighbors.ids), source)
    made = {"origin": ORIGIN if is_pickle(source) else Path(source).name}
    return lists.write_neighbors(output, neighbors, *both, made, overwrite=overwrite)
