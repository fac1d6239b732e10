"""Searching a folder of one's own images: pictures in, names out.

    indexed = index_images("photos", "photos.index", backbone)
    found = search_images("photos.index", "query.jpg", backbone, scorer, lamb=0.2, temp=0.1)
    found.names(0)[:10]

Input: an index (`ames_lite.search.indexing`), an image or a folder of images, the backbone of the
index, a pair scorer. Output: `Found`. Queries are described anew every time and leave nothing in
the index; a query that is a file of the indexed folder is left out of its own list, a copy of it
elsewhere is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput, MissingFile
from ames_lite.extraction.aggregators import Vlad
from ames_lite.extraction.backbones.interface import Backbone, Described, unit_vector
from ames_lite.extraction.batches import Job, describe_all
from ames_lite.extraction.global_sources import StoreSource
from ames_lite.io.images import Box, list_folder, no_images
from ames_lite.io.provenance import check_provenance, compare_provenance
from ames_lite.io.walking import names_of, real_folders
from ames_lite.reranking.scorer import PairScorer, ScoringOptions
from ames_lite.search.index_search import Hits, search_index
from ames_lite.search.open_index import OpenIndex
from ames_lite.stores.descriptor_store import DescriptorStore


@dataclass(frozen=True, eq=False)
class Found:
    """What a search found: one row of hits for each of queries, as names of the gallery.

    root: folder that query names are relative to; queries: names; own: for each its name in the
    gallery, where it is one of its files and was left out; failed: queries that could not be
    described, and why; empty: queries without descriptors, whose hits say nothing (all similarities
    are 0, in the order of names); gallery: names that the ids of hits count in; box: as given.
    """

    root: Path
    queries: tuple[str, ...]
    own: tuple[str | None, ...]
    failed: dict[str, str]
    empty: frozenset[str]
    gallery: tuple[str, ...]
    hits: Hits
    box: Box | None

    def names(self, query: int) -> list[str]:
        """The images found for a query, best first."""
        return [self.gallery[n] for n in self.hits.ids[query].tolist()]


def search_images(
    index: str | Path,
    query: str | Path,
    backbone: Backbone,
    scorer: PairScorer,
    *,
    lamb: float,
    temp: float,
    num_rerank: int = 100,
    box: Box | None = None,
    workers: int = 1,
    options: ScoringOptions | None = None,
    certain: float = np.inf,
) -> Found:
    """Search an index for an image, or for every image of a folder.

    box: (x1, y1, x2, y2) in pixels, the part of a single image to search for. workers: as in
    `index_images`; certain: as in `search_index`. Raises MissingFile; BadInput where index and
    backbone do not fit, and where no query can be described.
    """
    root, names, _ = list_queries(query)
    if box is not None and Path(query).is_dir():
        raise BadInput("a crop box for a folder of queries", expected="a single image")
    with ExitStack() as stack:
        opened = stack.enter_context(OpenIndex(index))
        vlad = _vocabulary(opened, backbone)
        scratch = Path(stack.enter_context(TemporaryDirectory(prefix="ames_lite_")))
        jobs = [Job(name, root / name, box) for name in names]
        described = describe_queries(jobs, backbone, scratch / "query_local.hdf5", workers)
        store = stack.enter_context(described.store)
        own = own_names([root / name for name in store.names], opened)
        hits = search_index(
            opened,
            described.vectors if vlad is None else query_vectors(store, vlad),
            store,
            scorer,
            lamb=lamb,
            temp=temp,
            num_rerank=num_rerank,
            own_names=own,
            options=options,
            certain=certain,
        )
        empty = frozenset(store.names[row] for row in store.empty_rows())
        return Found(
            root, store.names, tuple(own), described.failed, empty, opened.names, hits, box
        )


def list_queries(query: str | Path) -> tuple[Path, list[str], tuple[str, ...]]:
    """The folder that query names are relative to, the names, notes. MissingFile, BadInput."""
    path = Path(query).expanduser().absolute()
    if path.is_dir():
        names, notes = list_folder(path)
        if not names:
            raise no_images(path)
        return path, names, notes
    if not path.is_file():
        raise MissingFile("the query is missing", where=path, expected="an image, or a folder")
    return path.parent, [path.name], ()


class Queries(NamedTuple):
    """Queries that could be described: their store, the backbone's own vectors [Q, V] of unit
    length (V is 0 where it has none); and why the others could not.
    """

    store: DescriptorStore
    vectors: npt.NDArray[np.float32]
    failed: dict[str, str]


def describe_queries(jobs: Sequence[Job], backbone: Backbone, path: Path, workers: int) -> Queries:
    """A store of the queries at `path`. Raises BadInput, with the reasons, where none can be."""
    good: dict[str, Described] = {}
    failed: dict[str, str] = {}
    for job, result in zip(jobs, describe_all(jobs, backbone, workers), strict=True):
        if isinstance(result, str):
            failed[job.name] = result.split("\n")[0]
        else:
            good[job.name] = result
    if not good:
        listed = "\n".join(f"  {name}: {why}" for name, why in failed.items())
        raise BadInput(f"no query can be described:\n{listed}", expected="images that can be read")
    made = backbone.provenance
    sizes = (int(made["top_k"]), backbone.dim, "float16")
    vectors = np.zeros((len(good), backbone.global_dim), np.float32)
    with DescriptorStore.create(path, list(good), *sizes, made) as writer:
        for row, (name, found) in enumerate(good.items()):
            writer.append(name, found.local)
            if found.vector is not None and found.local.count:
                vectors[row] = unit_vector(found.vector)
    return Queries(DescriptorStore.open(path), vectors, failed)


def query_vectors(store: DescriptorStore, vlad: Vlad) -> npt.NDArray[np.float32]:
    """The vectors [Q, V] of queries: as those of an index, from what a store has.

    Zero where a query has no descriptors: it is like no image, not even another of that kind.
    """
    vectors = np.concatenate([block.vectors for block in StoreSource(store, vlad).blocks(0)])
    vectors[store.empty_rows()] = 0
    return vectors


def own_names(paths: Sequence[Path], index: OpenIndex) -> list[str | None]:
    """The name of each file in the gallery, if it is one of the indexed folder's own."""
    folders = real_folders(index.record.images, index.names)
    return [next(filter(index.has, names_of(path, folders)), None) for path in paths]


def _vocabulary(index: OpenIndex, backbone: Backbone) -> Vlad | None:
    """The vocabulary of an index; None for the backbone's own vectors.

    Raises BadInput where the backbone is another than that of the index.
    """
    made, own = check_provenance(backbone.provenance), index.record.backbone
    files = (index.folder, "this run")
    remedy = "index the folder with these settings, or search with those of the index"
    compare_provenance(own, made, files=files, remedy=remedy)
    return Vlad.load(index.vocabulary) if index.record.vocabulary else None
