"""The base of the training-free rerankers, and what they share."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ames_lite.errors import require
from ames_lite.io import remedies
from ames_lite.records import Neighbors
from ames_lite.retrieval.knn import exact_knn, norms
from ames_lite.retrieval.rows import Float32, Floats, Gallery, Ids, Ids32, rows_of, search_sides

BLOCK_BYTES = 1 << 30  # of gallery rows in float32 that the lists of a block of queries name
HELD_BYTES = 1 << 34  # what a reranker may hold beside its arguments
REMEDY = f"rerank=aqe or mda, which read the gallery by blocks; or {remedies.WHITENED}"


@dataclass(frozen=True, eq=False)
class Search:
    """Queries [Q, D] and the gallery that they are searched in; more as in `exact_knn`."""

    query: Float32
    gallery: Gallery
    own: Ids
    device: str = "cpu"

    def lists(self, query: Float32, gallery: Float32 | Gallery, k: int) -> Neighbors:
        """The lists of changed queries, or in a changed gallery."""
        return exact_knn(query, gallery, k, own=self.own, device=self.device)

    def listed(self, ids: Ids32) -> Iterator[tuple[int, Float32]]:
        """Of every query its number and the gallery rows [K, D] of its list, read by blocks."""
        step = max(1, BLOCK_BYTES // (4 * self.gallery.dim * max(1, ids.shape[1])))
        for start in range(0, len(ids), step):
            part = ids[start : start + step].astype(np.int64)
            wanted, near = np.unique(part, return_inverse=True)
            held = rows_of(self.gallery, wanted)
            for q, places in enumerate(near.reshape(part.shape), start):
                yield q, held[places]

    def whole(self) -> Float32:
        """The gallery [N, D]."""
        return rows_of(self.gallery, np.arange(len(self.gallery)))


def among(rows: Float32, k: int, device: str = "cpu") -> Neighbors:
    """The k most similar others of every row, clamped to the number of others."""
    return exact_knn(rows, rows, k, own=np.arange(len(rows)), device=device)


class Reranker(ABC):
    """Settings of a reranker, a frozen record that raises BadInput for values out of range."""

    name: ClassVar[str]  # the key of `rerank=`
    told: ClassVar[str]  # what the similarities of its lists are
    more: ClassVar[Mapping[str, Any]] = {}  # what else the lists' provenance says

    @property
    def provenance(self) -> dict[str, Any]:
        """For the lists' provenance, flat."""
        own = {}
        for key, value in vars(self).items():
            is_float = isinstance(getattr(type(self), key), float)
            own[f"{self.name}_{key}"] = float(value) if is_float else value
        return {"rerank": self.name, **own, **self.more, "sims": self.told}

    @abstractmethod
    def depth(self, num_query: int, num_gallery: int, dim: int) -> int:
        """Neighbors of a query that are needed. Raises BadInput beyond HELD_BYTES."""

    def rerank(
        self,
        query: Floats,
        gallery: Floats | Gallery,
        neighbors: Neighbors,
        *,
        own: Ids | None = None,
        device: str = "cpu",
    ) -> Neighbors:
        """The lists of queries [Q, D] in this gallery, reranked; see `exact_knn`. BadInput."""
        if neighbors.ids.size == 0:  # a gallery of nothing but the query itself
            return neighbors
        search = Search(*search_sides(query, gallery, own), device)
        self.depth(len(search.query), len(search.gallery), search.gallery.dim)
        return self._lists(search, neighbors)

    @abstractmethod
    def _lists(self, search: Search, neighbors: Neighbors) -> Neighbors:
        """`rerank`, of checked queries."""


def directions(rows: Float32) -> Float32:
    """Rows of unit length; rows of zeros stay."""
    length = norms(rows)
    return rows / np.where(length > 0, length, 1).astype(np.float32)[:, None]


def falling(scores: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.intp]:
    """The order of falling scores; what is equal as float32 keeps its order."""
    return np.argsort(-scores.astype(np.float32), kind="stable")


def check_memory(wanted: int, what: str, remedy: str = REMEDY) -> None:
    """Raises BadInput for more bytes than HELD_BYTES."""
    what = f"{what} would take {wanted / 2**30:.3g} GiB of memory"
    require(wanted <= HELD_BYTES, what, f"at most {HELD_BYTES / 2**30:.3g} GiB", remedy=remedy)
