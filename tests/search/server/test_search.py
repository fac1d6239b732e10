"""POST /search: what a session finds in its folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from ames_lite.reranking.scorer import verifier_scorer
from ames_lite.search.image_search import Ranker
from ames_lite.search.indexing import index_images
from ames_lite.search.session import Query, Session
from tests.search.server.servers import SIFT, Server, photos, sent, some, text_of
from tests.search.test_session import below

RANKER = Ranker(verifier_scorer("mutual_nn"), 0.3, 0.1, num_rerank=8)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("searched")
    found = photos(folder / "photos")
    index_images(folder / "photos", folder / "index", SIFT)
    return found


def server_of(files: list[Path], threshold: float = -1.0) -> tuple[Server, Session]:
    folder = files[0].parent
    given = folder, folder.parent / "index", SIFT, RANKER, below(threshold)
    session = Session(*given)
    return Server(roots=[folder], session=session), session


def test_what_is_found_is_what_the_session_finds(files: list[Path]) -> None:
    server, session = server_of(files)
    for box in (None, (10.0, 10.0, 300.0, 300.0)):
        body = {"query": "a_0.jpg", "top_n": 5, "box": box}
        answer = server.ask("/search", json=body).json()
        wanted = session.find(Query(files[0], box), session.settings, 5)
        assert [one["image"] for one in answer["results"]] == [r.name for r in wanted.results]
        assert [one["score"] for one in answer["results"]] == [r.score for r in wanted.results]
        ranks = [one["global_rank"] for one in answer["results"]]
        assert ranks == [r.global_rank for r in wanted.results]
        assert answer["model"] == "sift_elvis" and answer["absent"] is False
    assert server.get("/healthz").json()["images"] == len(files)


def test_an_image_that_is_sent_is_found_in_the_folder(files: list[Path]) -> None:
    server, _ = server_of(files)
    for query in (text_of(files[4]), {"image": text_of(files[4])}):
        answer = server.ask("/search", json={"query": query, "top_n": 2}).json()
        assert answer["results"][0]["image"] == files[4].name


def test_that_there_is_no_answer_is_told(files: list[Path]) -> None:
    server, _ = server_of(files, 2.0)
    assert server.ask("/search", json={"query": "a_0.jpg"}).json()["absent"] is True


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"query": "../a.jpg"}, "query: there is no such file"),
        ({"query": sent(some(3)[0])}, "query"),
        ({"query": "a_0.jpg", "documents": []}, "documents: Extra"),
        ({"query": "AAAA"}, "query: no query can be described"),
        ({"query": "a_0.jpg", "top_n": 0}, "top_n"),
        ({"query": "a_0.jpg", "box": [1, 2]}, "box"),
        ({"query": "a_0.jpg", "box": [9e9, 9e9, 1e10, 1e10]}, "query"),
    ],
)
def test_what_does_not_fit_is_named(files: list[Path], body: object, said: str) -> None:
    server, _ = server_of(files)
    answer = server.ask("/search", json=body)
    assert answer.status_code == 422 and said in answer.json()["detail"], answer.text
    assert "ames_lite_" not in answer.text and str(files[0].parent) not in answer.text
