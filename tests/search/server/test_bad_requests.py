"""What a server does not take is a 4xx that says why, and the server goes on."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import struct
import tracemalloc
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ames_lite.reranking.reranker import Reranker
from tests.search.server.servers import (
    WIDTH,
    Limits,
    Server,
    photos,
    sent,
    some,
)

QUERY, GOOD = (sent(one) for one in some(5, 6))
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bad") / "photos"
    photos(folder)
    (folder.parent / "secret.jpg").write_bytes((folder / "a_0.jpg").read_bytes())
    (folder / "link.jpg").symlink_to(folder.parent / "secret.jpg")
    (folder / "circle.jpg").symlink_to(folder / "circle.jpg")
    (folder / "inside.jpg").symlink_to(folder / "a_0.jpg")
    (folder / "text.jpg").write_text("no image")
    os.mkfifo(folder / "pipe.jpg")
    return folder


@pytest.fixture(scope="module")
def server(root: Path) -> Server:
    return Server(roots=[root], limits=Limits(body=4 << 20, documents=10_000))


def alive(server: Server) -> None:
    assert server.get("/healthz").json()["status"] == "ok"
    assert server.ask(json={"query": QUERY, "documents": [GOOD]}).status_code == 200


def png(width: int, height: int) -> str:
    """A picture of zeros, small as a file."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000)))
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + content + chunk(b"IEND", b"")).decode()


def array(value: float = 0.5, width: int = WIDTH, count: int = 3) -> dict[str, Any]:
    return sent(np.full((count, width), value, np.float32))


BAD: dict[str, tuple[Any, str]] = {
    "no documents": ({"query": QUERY, "documents": []}, "documents: List should have at least 1"),
    "too many": ({"query": QUERY, "documents": ["x"] * 10_001}, "there are 10001 documents"),
    "no query": ({"documents": [GOOD]}, "query: Field required"),
    "a text": ("documents", "should be an object"),
    "a number as a document": ({"query": QUERY, "documents": [GOOD, 3]}, r"documents\.1"),
    "a document of both": ({"query": QUERY, "documents": [{**GOOD, "image": "x"}]}, "Extra inputs"),
    "unknown key": ({"query": QUERY, "documents": [GOOD], "top_k": 3}, "top_k: Extra inputs"),
    "top_n of 0": ({"query": QUERY, "documents": [GOOD], "top_n": 0}, "top_n"),
    "top_n as a text": ({"query": QUERY, "documents": [GOOD], "top_n": "3"}, "top_n"),
    "another model": ({"query": QUERY, "documents": [GOOD], "model": "m0"}, "no model 'm0'"),
    "too few sims": ({"query": QUERY, "documents": [GOOD], "sims": [1.0, 2.0]}, "sims have shape"),
    "an address": ({"query": QUERY, "documents": ["https://a.b/c.jpg"]}, "is not fetched"),
    "a file address": ({"query": "file:///etc/passwd", "documents": [GOOD]}, "is not fetched"),
    "a data URL of text": ({"query": "data:text/plain,x", "documents": [GOOD]}, "is not fetched"),
    "no base64": ({"query": "näh", "documents": [GOOD]}, "query: an image is no base64"),
    "no image": ({"query": "AAAA", "documents": [GOOD]}, "query: an image cannot be decoded"),
    "an empty image": ({"query": "", "documents": [GOOD]}, "query: an image cannot be decoded"),
    "a bomb": (
        {"query": QUERY, "documents": [GOOD, png(9_000, 9_000)]},
        r"documents\[1\]: .*too many",
    ),
    "a larger bomb": ({"query": png(60_000, 60_000), "documents": [GOOD]}, "query: .*bomb"),
    "a thin image": ({"query": png(4, 200), "documents": [GOOD]}, "query: .*thin"),
    "a broken image": ({"query": png(100, 200), "documents": [GOOD]}, "query: .*decoded"),
    "NaN": ({"query": array(np.nan), "documents": [GOOD]}, "query: .*NaN"),
    "infinity": ({"query": QUERY, "documents": [array(np.inf)]}, r"documents\[0\]: .*infinity"),
    "another width": (
        {"query": QUERY, "documents": [GOOD, array(width=7)]},
        r"documents\[1\]: .*7",
    ),
    "three axes": ({"query": {"descriptors": [[[1.0]]]}, "documents": [GOOD]}, "query"),
    "ragged": ({"query": {"descriptors": [[1.0], [1.0, 2.0]]}, "documents": [GOOD]}, "ragged"),
    "no rows": ({"query": {"descriptors": []}, "documents": [GOOD]}, "query: .*shape"),
    "no shape": ({"query": {"descriptors": "AAAA"}, "documents": [GOOD]}, "shape None"),
    "wrong shape": ({"query": {**QUERY, "shape": [5, 7]}, "documents": [GOOD]}, r"shape \[5, 7\]"),
    "a huge shape": ({"query": {**QUERY, "shape": [2**40, 2**40]}, "documents": [GOOD]}, "shape"),
    "below zero": ({"query": {**QUERY, "shape": [-5, -128]}, "documents": [GOOD]}, "shape"),
    "float64": ({"query": sent(np.ones((3, WIDTH))), "documents": [GOOD]}, "3072 bytes"),
    "too many descriptors": (
        {"query": QUERY, "documents": [array(count=2049)]},
        "2049 descriptors",
    ),
    "bits and floats": (
        {"query": QUERY, "documents": [sent(np.zeros((2, WIDTH // 8), np.uint8))]},
        "kinds differ",
    ),
}


OUTSIDE = [
    "../secret.jpg",
    "link.jpg",
    "circle.jpg",
    "gone.jpg",
    "pipe.jpg",
    "..",
    "a.\0b",
    "~/a.b",
]
OUTSIDE += ["~/a.b", "a/../..", "/etc/hostname.jpg", "/proc/self/environ.", "x" * 5000 + ".jpg"]


@pytest.mark.parametrize("name", BAD)
def test_what_does_not_fit_is_named(server: Server, name: str) -> None:
    body, said = BAD[name]
    answer = server.ask(json=body)
    assert answer.status_code == 422, answer.text
    detail = answer.json()["detail"]
    assert re.search(said, detail) and len(detail) < 600, detail
    alive(server)


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_path_outside_of_the_roots_is_as_one_that_is_not_there(
    server: Server, root: Path, name: str
) -> None:
    for given in (name, {"image": name}, str(root / name)):
        answer = server.ask(json={"query": QUERY, "documents": [given]})
        said = "documents[0]: there is no such file below the roots; expected: "
        assert answer.status_code == 422 and answer.json()["detail"].startswith(said)
    alive(server)


def test_a_link_within_the_roots_is_read(server: Server) -> None:
    assert server.rerank("inside.jpg", ["a_0.jpg"])["results"]


def test_without_roots_no_path_is_read(root: Path) -> None:
    answer = Server().ask(json={"query": QUERY, "documents": [str(root / "a_0.jpg")]})
    assert answer.status_code == 422 and "paths are not read" in answer.json()["detail"]


def test_no_place_of_this_machine_is_told(server: Server, root: Path) -> None:
    for given in ("text.jpg", "AAAA", "gone.jpg"):
        text = server.ask(json={"query": given, "documents": [GOOD]}).text
        assert str(root.parent) not in text and "ames_lite_" not in text


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b'{"query": "x", "documents": [', JSON, 422),
        (b"", JSON, 422),
        (b"\xff\xfe", JSON, 422),
        (b"[" * 100_000, JSON, 422),
        (b'{"query": {"descriptors": [[NaN]]}, "documents": ["x"]}', JSON, 422),
        (b'{"query": {"descriptors": [[1e400]]}, "documents": ["x"]}', JSON, 422),
        (b"{}", {"content-type": "text/plain"}, 415),
        (b"{}", {"content-type": "application/x-www-form-urlencoded"}, 415),
        (b"{}", {}, 415),
        (b"x", {"content-type": "multipart/form-data"}, 400),
        (b"x", {"content-type": "multipart/form-data; boundary=y"}, 400),
    ],
)
def test_malformed_requests_are_refused(
    server: Server, content: bytes, headers: dict[str, str], status: int
) -> None:
    answer = server.ask(content=content, headers=headers)
    assert answer.status_code == status and answer.json()["detail"], answer.text
    alive(server)


@pytest.mark.parametrize(
    ("files", "data", "said"),
    [
        ([("documents", ("a.jpg", b"x"))], {}, "0 files 'query'"),
        ([("query", ("a.jpg", b"x"))] * 2, {}, "2 files 'query'"),
        ([("query", ("a.jpg", b"x")), ("pictures", ("b.jpg", b"x"))], {}, "a file 'pictures'"),
        ([("query", ("a.jpg", b"x"))], {}, "0 documents"),
        ([("query", ("a.jpg", b"x")), ("documents", ("b", b"x"))], {"top_n": "x"}, "top_n"),
        ([("query", ("a.jpg", b"x")), ("documents", ("b", b"x"))], {"top": "1"}, "top: Extra"),
        ([("query", ("../a.x/y", b"x")), ("documents", ("b", b"x"))], {}, "query: .*decoded"),
    ],
)
def test_files_that_do_not_fit_are_named(server: Server, files: Any, data: Any, said: str) -> None:
    answer = server.ask(files=files, data=data)
    assert answer.status_code == 422 and re.search(said, answer.json()["detail"]), answer.text
    alive(server)


def test_too_many_files_are_not_read() -> None:
    server = Server(limits=Limits(documents=2))
    files = [("query", ("a.jpg", b"x"))] + [("documents", ("b.jpg", b"x"))] * 3
    answer = server.ask(files=files)
    assert answer.status_code == 400 and "Too many files" in answer.json()["detail"]


def test_a_score_that_is_no_number_is_the_fault_of_its_request(server: Server) -> None:
    huge = array(3e38)
    bodies = [{"query": QUERY, "documents": [one]} for one in (GOOD, huge, GOOD)]
    answers = asyncio.run(server.client_of([{"url": "/rerank", "json": one} for one in bodies]))
    assert answers[0].status_code == answers[2].status_code == 200
    assert answers[1].status_code in (200, 422)
    alive(server)


@pytest.mark.parametrize("announced", [True, False])
def test_a_request_of_two_gigabytes_is_refused_in_little_memory(
    server: Server, announced: bool
) -> None:
    given = 0

    async def content() -> AsyncIterator[bytes]:
        nonlocal given
        while given < 2 << 30:
            given += 1 << 16
            yield bytes(1 << 16)

    headers = {**JSON, **({"content-length": str(2 << 30)} if announced else {})}
    tracemalloc.start()
    answer = server.ask(content=content(), headers=headers)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert answer.status_code == 413 and given <= 5 << 20 and peak < 20 << 20
    assert given == 0 or not announced
    alive(server)


def test_an_error_of_the_head_is_a_500_and_the_server_goes_on(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: Reranker, requests: Any) -> Any:
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(Reranker, "logits_of", fails)
        assert server.ask(json={"query": QUERY, "documents": [GOOD]}).status_code == 500
    alive(server)
