"""Searches by someone who looks: pairs are scored once, then candidates are only reordered."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from threading import RLock
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput, existing_file
from ames_lite.extraction.backbones.interface import Backbone
from ames_lite.io.images import Box
from ames_lite.search.image_search import Found, Hits, Ranker, search_images
from ames_lite.search.index import OpenIndex
from ames_lite.search.page import pair_page, views_of

Absent = Callable[[Hits], npt.NDArray[np.bool_]]  # [Q] of lists in the order of a ranker's settings
KEPT = 64  # queries whose candidates are remembered


class Query(NamedTuple):
    path: Path
    box: Box | None = None  # the part to search for, in pixels


class Settings(NamedTuple):
    lamb: float
    temp: float
    num_rerank: int


class Result(NamedTuple):
    name: str
    rank: int  # from 1
    global_rank: int
    score: float


class Listing(NamedTuple):
    """What is found for a query; absent: there is no answer among it."""

    results: list[Result]
    absent: bool
    empty: bool  # the query has no descriptors: the order means nothing
    own: str | None  # the query's name in the folder, where it was left out


class Session:
    """Thread by thread. Raises UserError, and goes on."""

    def __init__(
        self, images: Path, index: Path, backbone: Backbone, ranker: Ranker, absent: Absent
    ) -> None:
        self.images, self._index = images, index
        self._backbone, self._ranker, self._absent = backbone, ranker, absent
        self._lock, self._searched = RLock(), lru_cache(KEPT)(self._search)
        with OpenIndex(index) as opened:
            self.names = opened.names
        most = min(ranker.num_rerank, len(self.names))
        self.settings = Settings(ranker.lamb, ranker.temp, most)

    def find(self, query: Query, settings: Settings, top: int) -> Listing:
        """The first `top` images. Scores only for a query that was not asked for lately."""
        found = self._found(query)
        hits = found.hits.again(*settings)
        rows = zip(hits.ids[0, :top], hits.global_rank[0, :top], hits.scores[0, :top], strict=True)
        results = [
            Result(found.gallery[number], rank, int(before), float(score))
            for rank, (number, before, score) in enumerate(rows, 1)
        ]
        empty = found.queries[0] in found.empty
        return Listing(results, bool(self._absent(found.hits)[0]), empty, found.own[0])

    def pair(self, query: Query, settings: Settings, place: int) -> str:
        """A page of the query and the image at that place of its list, from 0."""
        found = self._found(query)
        hits = found.hits.again(*settings)
        with self._lock, OpenIndex(self._index) as index:
            if index.names != found.gallery:
                what, remedy = "the index has changed since the query was searched", "search again"
                self._searched.cache_clear()
                raise BadInput(what, where=self._index, remedy=remedy)
            return pair_page(found, hits, place, self.images, views_of(found, index, self._ranker))

    def _found(self, query: Query) -> Found:
        path = existing_file(query.path, "the query is missing", expected="an image")
        stat = path.stat()
        with self._lock:
            return self._searched(query, (stat.st_size, stat.st_mtime_ns))

    def _search(self, query: Query, _state: tuple[int, int]) -> Found:
        path, box = query
        return search_images(self._index, path, self._backbone, self._ranker, box=box, keep=1)
