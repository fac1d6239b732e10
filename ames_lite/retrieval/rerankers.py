"""The visible dict of training-free rerankers of lists by global descriptors: `rerank=` by name."""

from collections.abc import Callable

from ames_lite.retrieval.expansion import Aqe, Dba, Mda
from ames_lite.retrieval.graphs import Diffusion, Kreciprocal
from ames_lite.retrieval.rerank_parts import Reranker

RERANKERS: dict[str, Callable[..., Reranker]] = {
    kind.name: kind for kind in (Mda, Aqe, Dba, Kreciprocal, Diffusion)
}
