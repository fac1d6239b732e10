"""What the server does with a request, once it is read: describe, score, order. One thread alone
runs the backbone and searches, those of `batches` run the head, so that descriptors do not wait for
images. Others read and check: the event loop only waits.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import Any, TypeVar
from uuid import uuid4

import numpy as np
import numpy.typing as npt
import torch

from ames_lite.errors import require
from ames_lite.models import SimilarityHead
from ames_lite.records import as_sims
from ames_lite.search.image_reranker import ImageReranker
from ames_lite.search.server import forms
from ames_lite.search.server.batches import Batches
from ames_lite.search.server.forms import Descriptors, Given, Options
from ames_lite.search.server.sources import Array, Image, Upload, descriptors_of, image_file, named
from ames_lite.search.session import Listing, Query, Session

T = TypeVar("T")


@dataclass(frozen=True)
class Limits:
    body: int = 64 << 20  # bytes of a request
    documents: int = 1000  # of a request
    seconds: float = 30.0  # from its first byte to its answer
    requests: int = 32  # at a time, others are sent away
    query_count: int = 1 << 20  # strongest descriptors of a query that count
    gallery_count: int = 1 << 20  # and of a document


class Service:
    """roots: folders that may be read, resolved; session: of an index that is searched."""

    def __init__(
        self,
        images: ImageReranker,
        name: str,
        limits: Limits = Limits(),
        roots: Sequence[Path] = (),
        session: Session | None = None,
        note: Callable[[int], None] = lambda requests: None,
    ) -> None:
        self.name, self.limits, self.session = name, limits, session
        self._images, self._reranker = images, images.reranker
        self._roots = [root.resolve() for root in roots]
        self._batches = Batches(images.reranker, note)
        threads = torch.get_num_threads()
        self._describing = ThreadPoolExecutor(1, "describing", torch.set_num_threads, (threads,))

    async def rerank(
        self,
        options: Options,
        query: Given | Upload,
        documents: Sequence[Given | Upload],
        sims: Sequence[float] | None = None,
    ) -> forms.Reranked:
        """Raises BadInput, which names the document."""
        count, most, model = len(documents), self.limits.documents, options.model
        require(model in (None, self.name), f"there is no model '{model}'", expected=self.name)
        require(0 < count <= most, f"there are {count} documents", expected=f"1 to {most}")
        given = None if sims is None else as_sims(sims, count, "similarity")
        arrays = await self._arrays([query, *documents])
        logits = await self._batches.logits(arrays[0], arrays[1:])
        found = self._reranker.ordered(logits, given)
        scores = self._relevance(found.sims[0], 0.0 if given is None else self._reranker.lamb)
        ids = found.ids[0, : options.top_n].tolist()
        both = zip(ids, scores, strict=False)
        results = [forms.Result(index=n, relevance_score=x) for n, x in both]
        for one in results if options.return_documents else ():
            one.document = _sent(documents[one.index])
        usage = {"total_tokens": sum(map(len, arrays))}
        return forms.Reranked(id=str(uuid4()), model=self.name, results=results, usage=usage)

    async def search(self, asked: forms.Search) -> forms.Found:
        """Raises BadInput."""
        assert self.session is not None
        session, settings = self.session, self.session.settings

        def find(path: Path) -> Listing:
            return session.find(Query(path, asked.box), settings, asked.top_n)

        listing = (await self._each([("query", asked.query)], find))[0]
        scores = self._relevance(np.array([r.score for r in listing.results]), settings.lamb)
        hits = [
            forms.Hit(image=r.name, relevance_score=score, score=r.score, global_rank=r.global_rank)
            for r, score in zip(listing.results, scores, strict=True)
        ]
        return forms.Found(model=self.name, results=hits, absent=listing.absent)

    def close(self) -> None:
        for pool in (self._describing, self._batches.pool):
            pool.shutdown(wait=False, cancel_futures=True)

    def _relevance(self, scores: npt.NDArray[np.floating[Any]], lamb: float) -> list[float]:
        """Of scores [K] that fall, made with that λ."""
        calibration = self._images.calibration
        if calibration is not None and lamb == self._reranker.lamb:
            scores = calibration.probability(scores[None])[0]
        return list(map(float, scores))

    async def _arrays(self, given: Sequence[Given | Upload]) -> list[Array]:
        """The descriptors of the query and all documents, of one width and kind."""
        parts = [(f"documents[{n - 1}]" if n else "query", one) for n, one in enumerate(given)]
        pictures = [(which, one) for which, one in parts if not isinstance(one, Descriptors)]
        sent = [(which, one) for which, one in parts if isinstance(one, Descriptors)]
        arrays = iter(await asyncio.to_thread(_checked, sent, self._reranker.model))
        described = iter(await self._each(pictures, self._describe) if pictures else [])
        found = [next(arrays if isinstance(one, Descriptors) else described) for one in given]
        kinds = {(array.dtype, array.shape[1]) for array in found}
        require(len(kinds) == 1, "widths or kinds differ", expected="descriptors of one kind")
        limits = self.limits
        return [x[: limits.gallery_count if n else limits.query_count] for n, x in enumerate(found)]

    def _describe(self, path: Path) -> Array:
        return self._images.describe(path).local.descriptors.astype(np.float32)

    async def _each(self, parts: Sequence[tuple[str, Image]], work: Callable[[Path], T]) -> list[T]:
        """Work on the file of every part, on the thread that describes; stops with its caller."""
        stop = Event()

        def run() -> list[T]:
            found: list[T] = []
            with TemporaryDirectory(prefix="ames_lite_") as scratch:
                for which, image in parts:
                    if not stop.is_set():
                        found.append(self._one(which, image, Path(scratch), work))
            return found

        try:
            return await asyncio.get_running_loop().run_in_executor(self._describing, run)
        finally:
            stop.set()

    def _one(self, which: str, image: Image, scratch: Path, work: Callable[[Path], T]) -> T:
        with named(which):
            path = image_file(image, self._roots, scratch)
        with named(which, path):
            return work(path)


def _checked(parts: Sequence[tuple[str, Descriptors]], head: SimilarityHead) -> list[Array]:
    found = []
    for which, one in parts:
        with named(which):
            found.append(descriptors_of(one, head))
    return found


def _sent(document: Given | Upload) -> dict[str, Any]:
    if isinstance(document, Upload):
        return {"image": document.name}
    return {"image": document} if isinstance(document, str) else document.model_dump()
