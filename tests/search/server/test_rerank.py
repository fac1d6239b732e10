"""POST /rerank: the order and the scores of the library, whatever way images come in."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ames_lite.reranking.calibration import Calibration, Curve
from ames_lite.reranking.reranker import Reranker
from tests.search.server.servers import (
    SIFT,
    Server,
    elvis,
    images_of,
    photos,
    scores_of,
    sent,
    some,
    text_of,
)

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")
CURVE = Curve((0.0, 1.0), (0.1, 0.8))
CALIBRATION = Calibration(CURVE, CURVE, {"set": (0.1, 0.2)})


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return photos(tmp_path_factory.mktemp("serve") / "photos")[:4]


@pytest.fixture(scope="module")
def server(files: list[Path]) -> Server:
    return Server(roots=[files[0].parent])


def test_the_order_and_the_scores_are_those_of_the_library(server: Server) -> None:
    query, *documents = some(20, 25, 3, 30)
    answer = server.rerank(sent(query), [sent(one) for one in documents])
    wanted = server.images.reranker.rerank(query, documents)
    assert [one["index"] for one in answer["results"]] == wanted.ids[0].tolist()
    got = [one["relevance_score"] for one in answer["results"]]
    np.testing.assert_allclose(got, wanted.sims[0], rtol=1e-6)
    assert answer["model"] == "sift_elvis" and answer["usage"] == {"total_tokens": 78}
    assert answer["meta"]["api_version"] == {"version": "2"} and answer["id"]


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank"])
def test_the_paths_of_jina_and_cohere_are_the_same(server: Server, path: str) -> None:
    request = {"query": sent(some(5)[0]), "documents": [sent(some(6)[0])], "model": "sift_elvis"}
    answers = [server.ask(one, json=request).json()["results"] for one in ("/rerank", path)]
    assert answers[0] == answers[1]


def test_descriptors_come_as_lists_or_as_bytes_of_either_precision(server: Server) -> None:
    query, *documents = (one.astype(np.float16) for one in some(5, 7, 9))
    forms: list[Any] = [
        sent,
        lambda x: sent(x.astype(np.float32)),
        lambda x: {"descriptors": x.astype(float).tolist()},
    ]
    answers = [server.rerank(form(query), [form(x) for x in documents]) for form in forms]
    assert answers[0]["results"] == answers[1]["results"] == answers[2]["results"]


def test_packed_bits_are_descriptors_of_a_binary_head(server: Server) -> None:
    bits = np.random.default_rng(0).integers(0, 256, (3, 6, SIFT.dim // 8)).astype(np.uint8)
    answer = server.rerank(sent(bits[0]), [sent(one) for one in bits[1:]])
    wanted = server.images.reranker.rerank(bits[0], bits[1:])
    assert [one["index"] for one in answer["results"]] == wanted.ids[0].tolist()


def test_an_image_is_the_same_in_every_form(server: Server, files: list[Path]) -> None:
    forms: list[list[Any]] = [
        [text_of(path) for path in files],
        [f"data:image/jpeg;base64,{text_of(path)}" for path in files],
        [{"image": text_of(path)} for path in files],
        [path.name for path in files],
        [str(path) for path in files],
        [{"image": f"./{path.name}"} for path in files],
    ]
    local = [server.images.describe(path).local.descriptors for path in files]
    wanted = scores_of(server.rerank(sent(local[0]), [sent(one) for one in local[1:]]))
    for query, *documents in forms:
        assert scores_of(server.rerank(query, documents)) == wanted
    parts = [("query", ("q.jpg", files[0].read_bytes()))]
    parts += [("documents", (path.name, path.read_bytes())) for path in files[1:]]
    answer = server.ask(files=parts, data={"top_n": "2", "return_documents": "true"})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert len(found["results"]) == 2 and scores_of(found).items() <= wanted.items()
    for one in found["results"]:
        assert one["document"] == {"image": files[1 + one["index"]].name}


def test_images_and_descriptors_may_be_mixed(server: Server, files: list[Path]) -> None:
    local = [server.images.describe(path).local.descriptors for path in files]
    mixed = [files[1].name, sent(local[2].astype(np.float32)), text_of(files[3])]
    wanted = scores_of(server.rerank(sent(local[0]), [sent(one) for one in local[1:]]))
    assert scores_of(server.rerank(files[0].name, mixed)) == wanted


def test_documents_come_back_when_asked_and_the_best_alone(server: Server) -> None:
    query, *documents = (sent(one) for one in some(5, 6, 7, 8))
    whole = server.rerank(query, documents)
    answer = server.rerank(query, documents, top_n=2, return_documents=True)
    assert all("document" not in one for one in whole["results"])
    for one, other in zip(answer["results"], whole["results"][:2], strict=True):
        assert one.pop("document") == documents[one["index"]]
        assert one == other


def test_similarities_count_with_the_weight_of_the_head() -> None:
    server = Server(images_of(lamb=0.6))
    query, *documents = some(20, 25, 3, 30)
    sims = [0.2, 0.9, 0.1]
    given = sent(query), [sent(one) for one in documents]
    for one in (None, sims):
        wanted = server.images.reranker.rerank(query, documents, one)
        answer = server.rerank(*given, sims=one)
        got = [(x["index"], x["relevance_score"]) for x in answer["results"]]
        assert [number for number, _ in got] == wanted.ids[0].tolist()
        np.testing.assert_allclose([score for _, score in got], wanted.sims[0], rtol=1e-6)


@pytest.mark.parametrize(("lamb", "sims"), [(0.0, None), (0.6, None), (0.6, [0.1, 0.2])])
def test_a_score_is_a_probability_where_the_head_was_calibrated_so(lamb: float, sims: Any) -> None:
    server = Server(images_of(lamb=lamb, calibration=CALIBRATION))
    query, *documents = some(20, 25, 3)
    ranked = server.images.reranker.rerank(query, documents, sims)
    answer = server.rerank(sent(query), [sent(one) for one in documents], sims=sims)
    wanted = ranked.sims[0]
    if lamb == 0 or sims is not None:
        wanted = CALIBRATION.probability(ranked.sims)[0]
    got = [one["relevance_score"] for one in answer["results"]]
    np.testing.assert_allclose(got, wanted, rtol=1e-6)


@pytest.mark.parametrize("count_padding", [False, True])
def test_requests_at_the_same_time_get_what_each_gets_alone(count_padding: bool) -> None:
    images = images_of()
    images.reranker = Reranker(elvis(count_padding=count_padding), 0.0, 0.1)
    server = Server(images)
    arrays = [some(4 + n, 9, 5 + 2 * n, 0, seed=n) for n in range(6)]
    packed = np.random.default_rng(0).integers(0, 256, (3, 6, SIFT.dim // 8)).astype(np.uint8)
    bodies = [
        {"query": sent(query), "documents": [sent(one) for one in documents]}
        for query, *documents in [*arrays, list(packed)]
    ]
    alone = [scores_of(server.ask(json=body).json()) for body in bodies]
    before = _calls(server)
    answers = asyncio.run(server.client_of([{"url": "/rerank", "json": one} for one in bodies]))
    for answer, wanted in zip(answers, alone, strict=True):
        got = scores_of(answer.json())
        assert got.keys() == wanted.keys()
        for index, score in wanted.items():
            assert got[index] == pytest.approx(score, rel=1e-5)
    calls, requests = np.subtract(_calls(server), before)
    assert requests == len(bodies) and calls < len(bodies)


def _calls(server: Server) -> tuple[int, int]:
    """Calls of the head so far, and the requests that were in them."""
    lines = dict(line.rsplit(" ", 1) for line in server.get("/metrics").text.splitlines())
    return tuple(int(float(lines[f"ames_batch_requests_{key}"])) for key in ("count", "sum"))  # type: ignore[return-value]
