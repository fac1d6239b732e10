"""Searching a folder of one's own images.

    indexed = index_images("photos", "photos.index", backbone)
    found = search_images("photos.index", "query.jpg", backbone, Ranker(scorer, 0.2, 0.1))
    found.names(0)[:10]

Ties are in the order of names, so that how the index grew does not show. A query that is a file of
the indexed folder is left out of its own ranking, a copy of it elsewhere is not.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput, UserError, existing_file
from ames_lite.extraction.aggregators import Vlad
from ames_lite.extraction.backbones.interface import Backbone, Described, unit_vector
from ames_lite.extraction.batches import Job, describe_all
from ames_lite.extraction.globals import from_store
from ames_lite.io.images import Box, list_folder, no_images
from ames_lite.io.provenance import check_provenance, compare_provenance
from ames_lite.io.walking import names_of, real_folders
from ames_lite.records import NO_EVIDENCE, LocalDescriptors, Neighbors
from ames_lite.reranking.cascade import Cascade
from ames_lite.reranking.ensemble import ensemble_scores, rerank
from ames_lite.reranking.scorer import PairScorer, ScoringOptions
from ames_lite.retrieval.knn import most_similar
from ames_lite.search.databases.database import VectorDatabase
from ames_lite.search.databases.gallery import database_candidates
from ames_lite.search.index import OpenIndex, read_record
from ames_lite.stores.descriptor_store import DescriptorStore

STEP = 20  # candidates that are scored between two looks at the best score
Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int32]
Place = str | Path


class FirstStage(NamedTuple):
    """The cheap model of a cascade, and what the head scores after it."""

    scorer: PairScorer
    cascade: Cascade


@dataclass(frozen=True)
class Ranker:
    """How candidates are retrieved and reranked."""

    scorer: PairScorer
    lamb: float
    temp: float
    num_rerank: int = 100  # candidates per query, clamped to the size of the index
    # once a candidate reaches this score, the query's others are not scored and stay behind
    certain: float = np.inf
    options: ScoringOptions = ScoringOptions()
    database: VectorDatabase | None = None  # that has the vectors; None: the index folder has them
    filter: str | None = None  # of candidates, in the language of the database
    first: FirstStage | None = None  # None: the head scores all candidates


@dataclass(frozen=True, eq=False)
class Hits:
    """The K candidates of Q queries, best first."""

    ids: Ids  # [Q, K] into the names of the index
    scores: Floats  # [Q, K] after the ensemble, descending
    global_rank: npt.NDArray[np.int64]  # [Q, K] before reranking, from 1
    sims: Floats  # [Q, K] global similarities
    scored: int  # pairs that the head saw
    near: Neighbors  # before reranking
    logits: Floats  # [Q, K] of `near`; NO_EVIDENCE where none was needed

    def again(self, lamb: float, temp: float, num_rerank: int) -> "Hits":
        """The same candidates, of which the first num_rerank are reordered by other settings; the
        scores of those behind are their sims. Nothing is scored.
        """
        part = _ordered(self.near, self.logits[:, :num_rerank], lamb, temp, self.scored)
        return replace(part, logits=self.logits)


@dataclass(frozen=True, eq=False)
class Found:
    root: Path  # folder that query names are relative to
    queries: tuple[str, ...]
    own: tuple[str | None, ...]  # each query's name in the gallery, where it was left out
    failed: dict[str, str]  # queries that could not be described, and why
    empty: frozenset[str]  # queries without descriptors, whose hits mean nothing: all sims are 0
    gallery: tuple[str, ...]
    hits: Hits  # a row a query
    box: Box | None
    local: tuple[LocalDescriptors, ...] = ()  # of the first `keep` queries

    def names(self, query: int) -> list[str]:
        """The images found for a query, best first."""
        return [self.gallery[n] for n in self.hits.ids[query].tolist()]


def search_images(
    index: Place,
    query: Place,
    backbone: Backbone,
    ranker: Ranker,
    *,
    box: Box | None = None,
    workers: int = 1,
    keep: int = 0,
) -> Found:
    """Search the index in a folder for an image, or for every image of a folder; one that is
    updated meanwhile is searched as it is afterwards.

    box: the part of a single query to search for; workers: processes that describe queries; keep:
    so many queries' descriptors are kept, as they were scored. Raises MissingFile; BadInput where
    things do not fit and where no query can be described.
    """
    while True:
        record = read_record(Path(index))
        try:
            return _search(index, query, backbone, ranker, box, workers, keep)
        except UserError:
            if read_record(Path(index)) == record:
                raise


def _search(
    index: Place,
    query: Place,
    backbone: Backbone,
    ranker: Ranker,
    box: Box | None,
    workers: int,
    keep: int,
) -> Found:
    root, query_names, _ = list_queries(query)
    if box is not None and Path(query).is_dir():
        raise BadInput("a crop box for a folder of queries", expected="a single image")
    with ExitStack() as stack:
        opened = stack.enter_context(OpenIndex(index))
        vlad = _vocabulary(opened, backbone)
        scratch = Path(stack.enter_context(TemporaryDirectory(prefix="ames_lite_")))
        jobs = [Job(name, root / name, box) for name in query_names]
        described, failed = _describe(jobs, backbone, workers)
        store = stack.enter_context(_query_store(described, backbone, scratch / "query_local.hdf5"))
        vectors = _own_vectors(described, backbone) if vlad is None else query_vectors(store, vlad)
        folders = real_folders(opened.record.images, opened.names)
        same = (names_of(root / name, folders) for name in store.names)
        own = [next((one for one in names if one in opened.id_of), None) for names in same]
        hits = search_index(opened, vectors, store, ranker, own)
        empty = frozenset(store.names[row] for row in store.empty_rows())
        most = ranker.options.query_count
        local = tuple(store.read(row, most) for row in range(min(keep, len(store))))
        return Found(root, store.names, tuple(own), failed, empty, opened.names, hits, box, local)


def list_queries(query: str | Path) -> tuple[Path, list[str], tuple[str, ...]]:
    """The folder of the queries, their names, notes. Raises MissingFile, BadInput."""
    path = Path(query).expanduser().absolute()
    if path.is_dir():
        names, notes = list_folder(path)
        if not names:
            raise no_images(path)
        return path, names, notes
    existing_file(path, "the query is missing", expected="an image, or a folder")
    return path.parent, [path.name], ()


def _describe(
    jobs: Sequence[Job], backbone: Backbone, workers: int
) -> tuple[dict[str, Described], dict[str, str]]:
    """Queries by name, and why the others could not be described. BadInput where none can be."""
    names = [job.name for job in jobs]
    results = dict(zip(names, describe_all(jobs, backbone, workers), strict=True))
    good = {name: result for name, result in results.items() if not isinstance(result, str)}
    failed = {k: why.split("\n")[0] for k, why in results.items() if isinstance(why, str)}
    if not good:
        listed = "\n".join(f"  {name}: {why}" for name, why in failed.items())
        raise BadInput(f"no query can be described:\n{listed}", expected="images that can be read")
    return good, failed


def _query_store(images: dict[str, Described], backbone: Backbone, path: Path) -> DescriptorStore:
    made = backbone.provenance
    sizes = (int(made["top_k"]), backbone.dim, "float16")
    with DescriptorStore.create(path, list(images), *sizes, made) as writer:
        for name, found in images.items():
            writer.append(name, found.local)
    return DescriptorStore.open(path)


def _own_vectors(described: dict[str, Described], backbone: Backbone) -> Floats:
    """The backbone's own vectors [Q, V], of unit length; zero as in `query_vectors`."""
    vectors = np.zeros((len(described), backbone.global_dim), np.float32)
    for row, found in enumerate(described.values()):
        if found.vector is not None and found.local.count:
            vectors[row] = unit_vector(found.vector)
    return vectors


def query_vectors(store: DescriptorStore, vlad: Vlad) -> Floats:
    """VLAD vectors [Q, V] of a store; zero where a query has no descriptors: its sims are 0."""
    vectors = np.concatenate([block.vectors for block in from_store(store, vlad).blocks(0)])
    vectors[store.empty_rows()] = 0
    return vectors


def _vocabulary(index: OpenIndex, backbone: Backbone) -> Vlad | None:
    """The vocabulary of an index; None: own vectors. BadInput where the backbone is another."""
    made, files = check_provenance(backbone.provenance), (index.folder, "this run")
    remedy = "index the folder with these settings, or search with those of the index"
    compare_provenance(index.record.backbone, made, files=files, remedy=remedy)
    return Vlad(index.vocabulary) if index.record.vocabulary else None


def search_index(
    index: OpenIndex,
    vectors: Floats,
    queries: DescriptorStore,
    ranker: Ranker,
    own_names: Sequence[str | None] | None = None,
) -> Hits:
    """Search for the queries, rows of a store, by their vectors [Q, V]; own_names [Q]: names of the
    index to leave out, each query's own. Raises BadInput.
    """
    if ranker.database is None:
        near = find_candidates(index, vectors, ranker.num_rerank, own_names)
    else:
        asked = (vectors, ranker.num_rerank, own_names or [None] * len(vectors))
        near = database_candidates(index, ranker.database, *asked, ranker.filter)
    lamb, temp, num = ranker.lamb, ranker.temp, near.ids.shape[1]
    logits, scored = np.full(near.ids.shape, NO_EVIDENCE, np.float32), 0
    waiting = np.ones(near.ids.shape, np.bool_)
    if ranker.first is not None:
        cheap = _logits(index, queries, ranker.first.scorer, ranker.options, near.ids, waiting)
        waiting = ranker.first.cascade.passes(cheap)
    step = num if ranker.certain == np.inf else STEP
    for start in range(0, num, step):
        part = waiting.copy()
        part[:, :start], part[:, start + step :] = False, False
        found = _logits(index, queries, ranker.scorer, ranker.options, near.ids, part)
        logits, scored = np.where(part, found, logits), scored + int(part.sum())
        best = ensemble_scores(near.sims, logits, lamb, temp).max(axis=1, initial=-np.inf)
        waiting[best >= ranker.certain] = False
    return _ordered(near, logits, lamb, temp, scored)


def _ordered(near: Neighbors, logits: Floats, lamb: float, temp: float, scored: int) -> Hits:
    ranked = rerank(near, logits, lamb, temp)
    rank = np.empty(near.ids.shape, np.int64)  # of every id before
    before, after = np.argsort(near.ids, axis=1), np.argsort(ranked.ids, axis=1)
    np.put_along_axis(rank, after, before, axis=1)
    sims = np.take_along_axis(near.sims, rank, axis=1)
    return Hits(ranked.ids, ranked.sims, rank + 1, sims, scored, near, logits)


def find_candidates(
    index: OpenIndex, vectors: Floats, count: int, own_names: Sequence[str | None] | None = None
) -> Neighbors:
    """The `count` images with the highest similarity for vectors [Q, V], ties by name."""
    left_out = [None if name is None else index.id_of.get(name) for name in own_names or []]
    if len(index) == 1 and left_out[:1] == [0]:
        what = "nothing can be found: the query is the only image of the index"
        expected = "an index of at least one other image"
        raise BadInput(what, where=index.folder.absolute(), expected=expected)
    return most_similar(vectors, index.vectors(), count, len(index), left_out or None)


def _logits(
    index: OpenIndex,
    queries: DescriptorStore,
    scorer: PairScorer,
    options: ScoringOptions,
    ids: Ids,
    among: npt.NDArray[np.bool_],
) -> Floats:
    """Logits [Q, K] of the candidates ids [Q, K], those `among`; NO_EVIDENCE of the others."""
    logits = np.full(ids.shape, NO_EVIDENCE, np.float32)
    segment = index.segment[ids]
    for number in np.unique(segment[among]):
        q, k = np.nonzero(among & (segment == number))
        gallery = index.row[ids[q, k]]
        found, _ = scorer.score(queries, index.store(int(number)), q, gallery, options)
        place = np.lexsort((gallery, q))  # the order of PairScores
        logits[q[place], k[place]] = found.logit
    return logits
