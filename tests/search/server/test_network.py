"""A real server on the loopback, asked as by curl, httpx and the Cohere SDK."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.search.server.servers import (
    MOST_DESCRIPTORS,
    Limits,
    Server,
    httpx,
    photos,
    running,
    scores_of,
    sent,
    some,
    text_of,
)

QUERY, *DOCUMENTS = some(5, 6, 7, 8)
BODY = {"query": sent(QUERY), "documents": [sent(one) for one in DOCUMENTS]}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with running(Server(limits=Limits(body=1 << 20), token="secret")) as found:
        yield found


@pytest.fixture
def client(address: str) -> Iterator[httpx.Client]:
    headers = {"authorization": "Bearer secret"}
    with httpx.Client(base_url=address, headers=headers, trust_env=False) as found:
        yield found


class CohereClient:
    """Asks as `cohere.ClientV2(api_key, base_url=…)` does, and reads what it reads."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def rerank(self, model: str, query: str, documents: list[str], top_n: int) -> Any:
        body = {"model": model, "query": query, "documents": documents, "top_n": top_n}
        headers = {"X-Fern-Language": "Python", "Accept": "*/*"}
        answer = self._client.post("/v2/rerank", json=body, headers=headers)
        answer.raise_for_status()
        found = answer.json()
        assert isinstance(found["id"], str) and found["meta"]["api_version"]["version"] == "2"
        return [(one["index"], one["relevance_score"]) for one in found["results"]]


def test_a_cohere_client_reranks_images(client: httpx.Client, tmp_path_factory: Any) -> None:
    texts = [text_of(path) for path in photos(tmp_path_factory.mktemp("cohere") / "photos")[:3]]
    ranked = CohereClient(client).rerank("sift_elvis", texts[0], texts[1:], 2)
    assert sorted(index for index, _ in ranked) == [0, 1]
    assert ranked[0][1] >= ranked[1][1]


def test_the_network_changes_no_score(client: httpx.Client) -> None:
    found = scores_of(client.post("/rerank", json=BODY).json())
    wanted = scores_of(Server().rerank(BODY["query"], BODY["documents"]))
    assert found.keys() == wanted.keys()
    np.testing.assert_allclose([found[n] for n in wanted], list(wanted.values()), rtol=1e-5)


@pytest.mark.parametrize("announced", [True, False])
def test_two_gigabytes_are_refused_early(client: httpx.Client, announced: bool) -> None:
    given = 0

    def content() -> Iterator[bytes]:
        nonlocal given
        while given < 2 << 30:
            given += 1 << 16
            yield bytes(1 << 16)

    headers = {"content-type": "application/json"}
    if announced:
        headers["content-length"] = str(2 << 30)
    try:
        status = client.post("/rerank", content=content(), headers=headers).status_code
    except httpx.TransportError:  # the answer was lost, as the server hung up
        status = 413
    assert status == 413 and given < 64 << 20
    assert client.get("/healthz").status_code == 200


def test_what_is_no_http_does_not_stop_the_server(client: httpx.Client, address: str) -> None:
    host, port = address[7:].split(":")
    for raw in (
        b"\0" * 100,
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 20_000,
        b"POST /rerank HTTP/1.1\r\n",
    ):
        with socket.create_connection((host, int(port))) as opened:
            opened.sendall(raw)
    assert client.get("/healthz").status_code == 200


def test_other_hosts_and_tokens_are_refused(client: httpx.Client) -> None:
    assert client.get("/docs", headers={"host": "evil.example"}).status_code == 400
    answer = client.post("/rerank", json=BODY, headers={"authorization": "Bearer other"})
    assert answer.status_code == 401 and json.loads(answer.text)["detail"]


PAGE = (Path(__file__).resolve().parents[3] / "docs" / "serving.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES, ids=["images", "descriptors"])
def test_the_examples_of_the_page_run(
    example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len([line for line in example.splitlines() if line.strip()]) <= 10
    for name, path in zip(("query", "a", "b"), photos(tmp_path / "photos"), strict=False):
        (tmp_path / f"{name}.jpg").write_bytes(path.read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    given: dict[str, Any] = {"query": QUERY, "candidates": DOCUMENTS}
    with running(Server()) as address:
        exec(example.replace("http://127.0.0.1:8000", address), given)
    assert given["answer"].status_code == 200


def test_the_limits_of_the_page_are_those_of_the_server() -> None:
    limits = Limits()
    for row in (
        f"| `max_mib=` | {limits.body >> 20} MiB |",
        f"| `max_documents=` | {limits.documents} |",
        f"| {MOST_DESCRIPTORS} |",
        f"| `max_requests=` | {limits.requests} |",
        f"| `timeout=` | {limits.seconds:g} s |",
    ):
        assert row in PAGE
