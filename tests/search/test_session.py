"""A session: the order of `search_images` under any settings, from pairs that are scored once."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ames_lite.errors import BadInput, MissingFile
from ames_lite.extraction.backbones.sift import Sift
from ames_lite.io.images import list_images, load_image, save_jpeg
from ames_lite.reranking.scorer import PairScorer, verifier_scorer
from ames_lite.search.image_search import Hits, Ranker, search_images
from ames_lite.search.indexing import index_images
from ames_lite.search.session import Query, Session, Settings
from tests.search.photos import save_photos

SIFT = Sift(top_k=60, image_size=200)
RANKER = Ranker(verifier_scorer("mutual_nn"), 0.3, 0.1, num_rerank=8)
START = Settings(RANKER.lamb, RANKER.temp, RANKER.num_rerank)


def below(threshold: float) -> Any:
    def absent(hits: Hits) -> Any:
        return hits.scores[:, 0] <= threshold

    return absent


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """photos/ and index/."""
    folder = tmp_path_factory.mktemp("session")
    index_images(save_photos(folder / "photos"), folder / "index", SIFT)
    return folder


def session_of(folder: Path, threshold: float = -1.0) -> Session:
    return Session(folder / "photos", folder / "index", SIFT, RANKER, below(threshold))


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pairs each call of the scorer was given."""
    calls: list[int] = []
    score = PairScorer.score

    def counted(self: PairScorer, queries: Any, gallery: Any, q: Any, g: Any, *more: Any) -> Any:
        calls.append(len(q))
        return score(self, queries, gallery, q, g, *more)

    monkeypatch.setattr(PairScorer, "score", counted)
    return calls


@pytest.mark.parametrize("settings", [(0.3, 0.1), (0.0, 2.0), (1.0, 0.1), (0.7, 0.01)])
def test_the_order_is_that_of_a_search_with_these_settings(
    folder: Path, settings: tuple[float, float], scored: list[int]
) -> None:
    session = session_of(folder)
    path = folder / "photos" / session.names[4]
    session.find(Query(path), START, 5)
    assert scored == [8]
    listing = session.find(Query(path), Settings(*settings, 8), 5)
    assert scored == [8] and listing.own == session.names[4]
    ranker = replace(RANKER, lamb=settings[0], temp=settings[1])
    found = search_images(folder / "index", path, SIFT, ranker)
    assert [one.name for one in listing.results] == found.names(0)[:5]
    assert [one.rank for one in listing.results] == [1, 2, 3, 4, 5]
    np.testing.assert_array_equal([one.score for one in listing.results], found.hits.scores[0, :5])
    before = [one.global_rank for one in listing.results]
    np.testing.assert_array_equal(before, found.hits.global_rank[0, :5])


def test_settings_of_all_kinds_score_nothing(folder: Path, scored: list[int]) -> None:
    session = session_of(folder)
    query = Query(folder / "photos" / session.names[0])
    orders = {
        tuple(one.name for one in session.find(query, Settings(lamb, temp, most), 8).results)
        for lamb in (0.0, 0.5, 1.0)
        for temp in (0.01, 0.1, 5.0)
        for most in (1, 3, 8)
    }
    assert scored == [8] and len(orders) > 1
    session.pair(query, START, 0)
    assert scored == [8]


def test_what_is_not_reranked_keeps_its_place(folder: Path) -> None:
    session = session_of(folder)
    query = Query(folder / "photos" / session.names[0])
    results = session.find(query, Settings(0.0, 0.1, 3), 8).results
    assert {one.global_rank for one in results[:3]} == {1, 2, 3}
    assert [one.global_rank for one in results[3:]] == [4, 5, 6, 7, 8]


def test_a_box_is_another_query_and_a_changed_file_too(
    folder: Path, tmp_path: Path, scored: list[int]
) -> None:
    session = session_of(folder)
    names = session.names
    path = Path(shutil.copy(folder / "photos" / names[0], tmp_path / "asked.jpg"))
    height, width = load_image(path).shape[:2]
    whole = session.find(Query(path), START, 8)
    part = session.find(Query(path, (0.0, 0.0, width / 2, height / 2)), START, 8)
    assert scored == [8, 8] and whole.results != part.results
    assert whole.results[0].name == names[0] and whole.own is None
    shutil.copy(folder / "photos" / names[-1], path)
    assert session.find(Query(path), START, 8).results[0].name == names[-1]
    assert scored == [8, 8, 8]


def test_no_answer_is_read_from_the_settings_that_it_was_calibrated_with(folder: Path) -> None:
    query = Query(folder / "photos" / list_images(folder / "photos")[0])
    best = session_of(folder).find(query, START, 1).results[0].score
    for threshold, absent in ((best - 0.01, False), (best, True)):
        session = session_of(folder, threshold)
        assert all(
            session.find(query, Settings(lamb, 5.0, 8), 3).absent == absent for lamb in (0.0, 1.0)
        )


def test_the_page_of_a_pair_names_both(folder: Path) -> None:
    session = session_of(folder)
    query = Query(folder / "photos" / session.names[0])
    results = session.find(query, START, 3).results
    page = session.pair(query, START, 2)
    assert session.names[0] in page and results[2].name in page and '"opened": true' in page
    assert "Content-Security-Policy" in page and f"score {results[2].score:.3f}" in page


def test_faults_are_said_and_the_session_goes_on(folder: Path, tmp_path: Path) -> None:
    session = session_of(folder)
    query = Query(folder / "photos" / session.names[0])
    first = session.find(query, START, 3)
    no_image, gone = tmp_path / "notes.jpg", tmp_path / "gone.jpg"
    no_image.write_text("no image")
    with pytest.raises(BadInput, match="notes.jpg: an image cannot be decoded"):
        session.find(Query(no_image), START, 3)
    with pytest.raises(MissingFile, match="the query is missing"):
        session.find(Query(gone), START, 3)
    assert session.find(query, START, 3) == first


def test_a_query_without_descriptors_is_told_apart(folder: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain.jpg"
    save_jpeg(plain, np.full((120, 120, 3), 90, np.uint8), 95)
    session = session_of(folder)
    assert session.find(Query(plain), START, 3).empty
    assert "has no descriptors" in session.pair(Query(plain), START, 0)


def test_an_index_that_changed_is_searched_again(tmp_path: Path) -> None:
    photos = save_photos(tmp_path / "photos")
    index_images(photos, tmp_path / "index", SIFT)
    session = session_of(tmp_path)
    query = Query(photos / session.names[5])
    best = session.find(query, START, 1).results[0].name
    (photos / best).unlink()
    index_images(photos, tmp_path / "index", SIFT)
    with pytest.raises(BadInput, match="the index has changed"):
        session.pair(query, START, 0)
    assert session.find(query, START, 1).results[0].name != best
    assert "<canvas" in session.pair(query, START, 0)
