"""Who may ask, how much at a time, how long; and what pages say."""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path
from typing import Any

import pytest

from ames_lite.reranking.reranker import Reranker
from tests.search.server.servers import Limits, Server, images_of, photos, sent, some

BODY = {"query": sent(some(5)[0]), "documents": [sent(some(6)[0])]}
RERANK = {"url": "/rerank", "json": BODY}


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A head that takes 0.3 s."""
    logits_of = Reranker.logits_of

    def slowly(self: Reranker, requests: Any) -> Any:
        time.sleep(0.3)
        return logits_of(self, requests)

    monkeypatch.setattr(Reranker, "logits_of", slowly)


def together(server: Server, *requests: dict[str, Any]) -> list[Any]:
    return asyncio.run(server.client_of(requests))


@pytest.mark.parametrize("url", ["/healthz", "/rerank", "/docs"])
def test_a_page_of_another_address_is_not_answered(url: str) -> None:
    server = Server()
    for host, status in (("evil.example", 400), ("localhost:8000", 0), ("127.0.0.1", 0)):
        answer = server.ask(url, method="GET", headers={"host": host})
        assert answer.status_code == (status or (405 if url == "/rerank" else 200))


def test_a_token_is_needed_for_all_but_the_health() -> None:
    server = Server(token="näh 1")
    good = {"authorization": "Bearer näh 1".encode()}
    for headers in ({}, {"authorization": "Bearer x"}, {"authorization": "näh 1".encode()}):
        answer = server.ask(json=BODY, headers=headers)
        assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
        for page in ("/docs", "/openapi.json", "/metrics"):
            assert server.ask(page, method="GET", headers=headers).status_code == 401
    assert server.ask(json=BODY, headers=good).status_code == 200
    assert server.get("/healthz").json() == {"status": "ok", "model": "sift_elvis", "images": None}


def test_more_requests_than_wait_are_sent_away_and_told_when_to_come_again(slow: None) -> None:
    server = Server(limits=Limits(requests=3))
    answers = together(server, *[RERANK] * 8)
    assert sorted(one.status_code for one in answers) == [200] * 3 + [503] * 5
    assert all(one.headers["retry-after"] == "1" for one in answers if one.status_code == 503)
    assert together(server, RERANK)[0].status_code == 200


def test_a_request_that_takes_too_long_is_answered_in_time(slow: None) -> None:
    server = Server(limits=Limits(seconds=0.1))
    began = time.perf_counter()
    answer = server.ask(json=BODY)
    assert answer.status_code == 504 and "0.1 s" in answer.json()["detail"]
    assert time.perf_counter() - began < 5


def test_images_are_not_described_for_a_request_that_has_ended(tmp_path: Path) -> None:
    files = photos(tmp_path / "photos")
    images, described = images_of(), []
    describe = images.describe

    def slowly(image: Any) -> Any:
        described.append(image)
        time.sleep(0.05)
        return describe(image)

    images.describe = slowly  # type: ignore[method-assign]
    server = Server(images, Limits(seconds=0.1), roots=[files[0].parent])
    answer = server.ask(json={"query": files[0].name, "documents": [one.name for one in files]})
    assert answer.status_code == 504
    time.sleep(0.3)
    assert 0 < len(described) < len(files)


def test_a_body_that_never_ends_is_answered_in_time() -> None:
    server = Server(limits=Limits(seconds=0.1))

    async def content() -> Any:
        yield b"{"
        await asyncio.sleep(30)

    answer = server.ask(content=content(), headers={"content-type": "application/json"})
    assert answer.status_code == 504


def test_the_health_is_told_while_the_head_works(slow: None) -> None:
    server = Server()

    async def both() -> float:
        work = asyncio.ensure_future(server.client_of([RERANK]))
        await asyncio.sleep(0.1)
        began = time.perf_counter()
        assert (await server.client_of([{"method": "GET", "url": "/healthz"}]))[0].is_success
        seconds = time.perf_counter() - began
        assert not work.done() and (await work)[0].is_success
        return seconds

    assert asyncio.run(both()) < 0.15


def test_answers_are_counted_and_strange_paths_together() -> None:
    server = Server()
    server.ask(json=BODY)
    server.ask(json={})
    for number in range(3):
        assert server.get(f"/{number}").status_code == 404
    assert server.ask("/search", json=BODY).status_code == 404
    text = server.get("/metrics").text
    for line in (
        'ames_requests_total{path="/rerank",status="200"} 1.0',
        'ames_requests_total{path="/rerank",status="422"} 1.0',
        'ames_requests_total{path="other",status="404"} 4.0',
        "ames_open_requests 0.0",
    ):
        assert line in text, text


def test_the_pages_load_nothing_from_another_machine() -> None:
    server = Server()
    page, described = server.get("/docs"), server.get("/openapi.json").json()
    assert "POST /rerank" in page.text and "GET /metrics" in page.text
    assert not re.search("https?:|<script|src=", page.text)
    assert set(described["paths"]) == {"/rerank", "/healthz", "/metrics"}
    names = re.findall(r"#/components/schemas/(\w+)", str(described))
    assert set(names) <= set(described["components"]["schemas"]) and "Descriptors" in names
    assert server.get("/redoc").status_code == 404
