"""The visible dict of training-free rerankers of lists by global descriptors: `rerank=` by name."""

from collections.abc import Callable

from ames_lite.retrieval.diffusion import Diffusion
from ames_lite.retrieval.expansion import Aqe, Dba
from ames_lite.retrieval.kreciprocal import Kreciprocal
from ames_lite.retrieval.mda import Mda
from ames_lite.retrieval.rerank_parts import Reranker

RERANKERS: dict[str, Callable[..., Reranker]] = {
    kind.name: kind for kind in (Mda, Aqe, Dba, Kreciprocal, Diffusion)
}
