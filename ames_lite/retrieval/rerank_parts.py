"""Shared by the training-free rerankers: a further search, rows, orders, memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput
from ames_lite.io import remedies
from ames_lite.records import Neighbors
from ames_lite.retrieval.compressed import Gallery, gallery_blocks, rows_of
from ames_lite.retrieval.knn import exact_knn, norms
from ames_lite.retrieval.rows import Float32, Floats, Ids, float_rows

BLOCK_BYTES = 1 << 30  # of gallery rows in float32 that the lists of a block of queries name
HELD_BYTES = 1 << 34  # what a reranker may hold beside its arguments
REMEDY = f"rerank=aqe or mda, which read the gallery by blocks; or {remedies.WHITENED}"


class Settings(ABC):
    """Settings of a reranker, a frozen record; making it raises BadInput for values out of range.

    name: the key of `rerank=`; sims: what the similarities of its lists are; more: what else the
    lists' provenance says.
    """

    name: ClassVar[str]
    told: ClassVar[str]
    more: ClassVar[Mapping[str, Any]] = {}

    @property
    def provenance(self) -> dict[str, Any]:
        """For the lists' provenance, flat."""
        own = {f"{self.name}_{key}": self._plain(key, value) for key, value in vars(self).items()}
        return {"rerank": self.name, **own, **self.more, "sims": self.told}

    def _plain(self, key: str, value: Any) -> Any:
        return float(value) if isinstance(getattr(type(self), key), float) else value

    @abstractmethod
    def depth(self, num_query: int, num_gallery: int, dim: int) -> int:
        """Neighbours of a query that are needed. Raises BadInput beyond HELD_BYTES."""


@dataclass(frozen=True, eq=False)
class Search:
    """How a reranker searches again, exactly.

    own [Q]: the gallery row of a query's own image, which is left out of its list, or -1; None: no
    query is in the gallery. device: as in `exact_knn`.
    """

    own: Ids | None = None
    device: str = "cpu"

    def own_of(self, num_query: int) -> Ids:
        """`own`, or -1 for every query."""
        return np.full(num_query, -1, np.int64) if self.own is None else self.own

    def lists(self, query: Floats, gallery: Floats | Gallery, k: int) -> Neighbors:
        """The k most similar gallery rows of every query."""
        own = self.own_of(len(query))
        rows = gallery if isinstance(gallery, np.ndarray) else gallery_blocks(gallery)
        names: dict[str, Any] = {}
        if (own >= 0).any():
            names["gallery_names"] = [str(row) for row in range(len(gallery))]
            names["query_names"] = [str(r) if r >= 0 else f"query {q}" for q, r in enumerate(own)]
        return exact_knn(query, rows, k, device=self.device, **names)

    def among(self, rows: Float32, k: int) -> Neighbors:
        """The k most similar others of every row, clamped to the number of others."""
        return Search(np.arange(len(rows)), self.device).lists(rows, rows, k)


NO_OWN = Search()  # no query is in the gallery, on the CPU


def checked_queries(query: Floats, gallery: Floats | Gallery, neighbors: Neighbors) -> Float32:
    """The queries as float32. Raises BadInput where the lists are not those of these rows."""
    rows = float_rows(query, "query descriptors")
    if (len(rows), neighbors.num_gallery) != (len(neighbors.ids), len(gallery)):
        raise BadInput(
            f"lists of {len(neighbors.ids)} queries among {neighbors.num_gallery} images, "
            f"{len(rows)} query and {len(gallery)} gallery descriptors",
            expected="the descriptors that the lists were made from",
        )
    return rows


def list_blocks(
    gallery: Floats | Gallery, ids: npt.NDArray[np.int32], width: int
) -> Iterator[tuple[slice, Float32, Ids]]:
    """Queries, the gallery rows that their lists name, and the lists as places among those rows."""
    step = max(1, BLOCK_BYTES // (4 * width * max(1, ids.shape[1])))
    for start in range(0, len(ids), step):
        part = slice(start, min(start + step, len(ids)))
        wanted, near = np.unique(ids[part].astype(np.int64), return_inverse=True)
        if len(wanted) == 0:
            held = np.empty((0, width), np.float32)
        else:
            found = gallery[wanted] if isinstance(gallery, np.ndarray) else rows_of(gallery, wanted)
            held = float_rows(found, "gallery descriptors", width)
        yield part, held, near.reshape(ids[part].shape)


def whole_rows(gallery: Floats | Gallery, width: int) -> Float32:
    """The gallery as float32 [N, width]."""
    if not isinstance(gallery, np.ndarray):
        gallery = rows_of(gallery, np.arange(len(gallery)))
    return float_rows(gallery, "gallery descriptors", width)


def directions(rows: Float32) -> Float32:
    """Rows of unit length; rows of zeros stay."""
    length = norms(rows)
    unit: Float32 = rows / np.where(length > 0, length, 1).astype(np.float32)[:, None]
    return unit


def falling(scores: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.intp]:
    """The order of falling scores; what is equal as float32 keeps its order."""
    return np.argsort(-scores.astype(np.float32), kind="stable")


def check_memory(wanted: int, what: str, remedy: str = REMEDY) -> None:
    """Raise BadInput for more bytes than HELD_BYTES."""
    if wanted > HELD_BYTES:
        raise BadInput(
            f"{what} would take {wanted / 2**30:.3g} GiB of memory",
            expected=f"at most {HELD_BYTES / 2**30:.3g} GiB",
            remedy=remedy,
        )
