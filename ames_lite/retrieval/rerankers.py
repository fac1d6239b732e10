"""The visible dict of training-free rerankers of lists by global descriptors: `rerank=` by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ames_lite.records import Neighbors
from ames_lite.retrieval.compressed import Gallery
from ames_lite.retrieval.diffusion import Diffusion, rerank_diffusion
from ames_lite.retrieval.expansion import Aqe, Dba, rerank_aqe, rerank_dba
from ames_lite.retrieval.kreciprocal import Kreciprocal, rerank_kreciprocal
from ames_lite.retrieval.mda import Mda, rerank_mda
from ames_lite.retrieval.rerank_parts import NO_OWN, Search, Settings
from ames_lite.retrieval.rows import Floats


class Reranker(NamedTuple):
    """The class of the settings, and what makes lists by them, as `rerank_lists` does."""

    settings: Callable[..., Settings]
    rerank: Callable[[Floats, Floats | Gallery, Neighbors, Any, Search], Neighbors]


RERANKERS = {
    "mda": Reranker(Mda, rerank_mda),
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
    """The lists of queries [Q, D] in a gallery [N, D], reranked by these settings.

    A gallery that holds nothing but the query itself has empty lists, which stay.
    """
    if neighbors.ids.size == 0:
        return neighbors
    return RERANKERS[options.name].rerank(query, gallery, neighbors, options, search)
