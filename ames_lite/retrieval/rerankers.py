"""The visible dict of training-free rerankers of lists by global descriptors: `rerank=` by name."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from ames_lite.records import Neighbors
from ames_lite.retrieval.compressed import Gallery
from ames_lite.retrieval.diffusion import Diffusion, rerank_diffusion
from ames_lite.retrieval.expansion import Aqe, Dba, rerank_aqe, rerank_dba
from ames_lite.retrieval.kreciprocal import Kreciprocal, rerank_kreciprocal
from ames_lite.retrieval.mda import Mda, rerank_mda
from ames_lite.retrieval.rerank_parts import NO_OWN, Search
from ames_lite.retrieval.rows import Floats


class Settings(Protocol):
    """Settings of a reranker; making them raises BadInput for values out of range."""

    @property
    def provenance(self) -> dict[str, Any]:
        """For the lists' provenance, flat."""
        ...

    def depth(self, num_query: int, num_gallery: int, dim: int) -> int:
        """Neighbours of a query that are needed. Raises BadInput where memory would not do."""
        ...


class Rerank(Protocol):
    """Lists by queries [Q, D], a gallery [N, D] and the lists of their similarity."""

    def __call__(
        self,
        query: Floats,
        gallery: Floats | Gallery,
        neighbors: Neighbors,
        options: Any,
        search: Search,
    ) -> Neighbors: ...


class Reranker(NamedTuple):
    """The class of the settings, and what is called with them."""

    settings: type[Any]
    rerank: Rerank


def _mda(
    query: Floats, gallery: Floats | Gallery, neighbors: Neighbors, options: Any, search: Search
) -> Neighbors:
    return rerank_mda(query, gallery, neighbors, options)  # searches nothing again


RERANKERS = {
    "mda": Reranker(Mda, _mda),
    "aqe": Reranker(Aqe, rerank_aqe),
    "dba": Reranker(Dba, rerank_dba),
    "kreciprocal": Reranker(Kreciprocal, rerank_kreciprocal),
    "diffusion": Reranker(Diffusion, rerank_diffusion),
}


def rerank_lists(
    query: Floats,
    gallery: Floats | Gallery,
    neighbors: Neighbors,
    options: Settings,
    search: Search = NO_OWN,
) -> Neighbors:
    """The lists, reranked by the reranker whose settings these are.

    A gallery that holds nothing but the query itself has empty lists, which stay.
    """
    if neighbors.ids.size == 0:
        return neighbors
    rerank = next(one.rerank for one in RERANKERS.values() if type(options) is one.settings)
    return rerank(query, gallery, neighbors, options, search)
