"""A small service, and what asks it, in this process."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from ames_lite.extraction.backbones.sift import Sift
from ames_lite.models import ELViS
from ames_lite.reranking.reranker import Reranker
from ames_lite.search.image_reranker import ImageReranker
from tests.search.photos import save_photos

for package in ("fastapi", "httpx", "prometheus_client", "python_multipart"):
    pytest.importorskip(package, reason="the extra serve is not installed")

import httpx as httpx  # noqa: E402

from ames_lite.search.server.forms import MOST_DESCRIPTORS as MOST_DESCRIPTORS  # noqa: E402
from ames_lite.search.server.routes import Metrics, build_web  # noqa: E402
from ames_lite.search.server.service import Limits, Service  # noqa: E402
from ames_lite.search.web import address_of, listen, server_of  # noqa: E402

SIFT = Sift(top_k=30, image_size=120)
WIDTH = SIFT.dim
ADDRESS = "http://localhost"


def elvis(**arguments: Any) -> ELViS:
    torch.manual_seed(0)
    sizes = {"dim_in": WIDTH, "dim": 16, "embed_dim": 4, "proj_dim": 4, "count_padding": False}
    return ELViS(**{**sizes, **arguments}).eval()


def images_of(lamb: float = 0.0, **more: Any) -> ImageReranker:
    return ImageReranker(SIFT, Reranker(elvis(), lamb, 0.1), **more)


class Server:
    def __init__(
        self,
        images: ImageReranker | None = None,
        limits: Limits = Limits(),  # noqa: B008
        roots: Sequence[Path] = (),
        session: Any = None,
        token: str | None = None,
    ) -> None:
        self.images, self.metrics = images or images_of(), Metrics()
        given = self.images, "sift_elvis", limits, roots, session, self.metrics.note_batch
        self.service = Service(*given)
        self.web = build_web(self.service, self.metrics, "127.0.0.1", token)

    async def client_of(self, requests: Sequence[dict[str, Any]]) -> list[httpx.Response]:
        """The answers to requests that are sent at the same time."""
        transport = httpx.ASGITransport(self.web, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=ADDRESS) as client:
            sent = [client.request(**{"method": "POST", **one}) for one in requests]
            return await asyncio.gather(*sent)

    def ask(self, url: str = "/rerank", **request: Any) -> httpx.Response:
        return asyncio.run(self.client_of([{"url": url, **request}]))[0]

    def get(self, url: str) -> httpx.Response:
        return self.ask(url, method="GET")

    def rerank(self, query: Any, documents: Sequence[Any], **more: Any) -> dict[str, Any]:
        answer = self.ask(json={"query": query, "documents": documents, **more})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


@contextmanager
def running(server: Server) -> Iterator[str]:
    """Its address."""
    with listen("127.0.0.1", 0) as port:
        uvicorn = server_of(server.web, "critical", 5)
        thread = Thread(target=uvicorn.run, kwargs={"sockets": [port]})
        thread.start()
        try:
            yield address_of("127.0.0.1", port)
        finally:
            uvicorn.should_exit = True
            thread.join()


def scores_of(answer: dict[str, Any]) -> dict[int, float]:
    return {one["index"]: one["relevance_score"] for one in answer["results"]}


def some(*counts: int, seed: int = 0) -> list[npt.NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(count, WIDTH)).astype(np.float32) for count in counts]


def sent(array: npt.NDArray[Any]) -> dict[str, Any]:
    """Descriptors as a request gives them."""
    text = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
    return {"descriptors": text, "shape": list(array.shape)}


def text_of(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def photos(folder: Path) -> list[Path]:
    return sorted(save_photos(folder).iterdir())
