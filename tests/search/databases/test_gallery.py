"""An index whose vectors are searched by a database: the order is that of the index by itself, and
the two cannot disagree unnoticed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ames_lite.errors import BadInput
from ames_lite.extraction.backbones.sift import Sift
from ames_lite.reranking.scorer import verifier_scorer
from ames_lite.search.databases.database import KINDS, VectorDatabase, open_database
from ames_lite.search.databases.gallery import Synced, check_database, update_database
from ames_lite.search.image_search import Ranker, search_images
from ames_lite.search.index import OpenIndex
from ames_lite.search.indexing import index_images
from tests.search.photos import save_photos

SIFT = Sift(top_k=60, image_size=200)
RANKER = Ranker(verifier_scorer("mutual_nn"), 0.3, 0.1, num_rerank=8)


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """photos/ of twelve images and index/."""
    folder = tmp_path_factory.mktemp("gallery")
    index_images(save_photos(folder / "photos"), folder / "index", SIFT)
    return folder


@pytest.fixture
def folder(indexed: Path, tmp_path: Path) -> Iterator[Path]:
    """The same folder, to be changed."""
    shutil.copytree(indexed, tmp_path / "kept")
    yield indexed
    for name in ("photos", "index"):
        shutil.rmtree(indexed / name)
        shutil.copytree(tmp_path / "kept" / name, indexed / name)


def opened(kind: str, folder: Path, create: bool = True) -> VectorDatabase:
    pytest.importorskip(KINDS[kind][1])
    return open_database(f"{kind}:{folder / 'a.db'}#photos", create=create)


def update(folder: Path, database: VectorDatabase) -> Synced:
    with OpenIndex(folder / "index") as index:
        return update_database(index, database)


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_is_that_of_the_index_by_itself(kind: str, indexed: Path, tmp_path: Path) -> None:
    query = indexed / "photos" / "b_1.jpg"
    with opened(kind, tmp_path) as database:
        assert update(indexed, database) == (12, 0, 12)
        for num in (3, 20):
            ranker = replace(RANKER, num_rerank=num)
            alone = search_images(indexed / "index", query, SIFT, ranker).hits
            ranker = replace(ranker, database=database)
            hits = search_images(indexed / "index", query, SIFT, ranker).hits
            np.testing.assert_array_equal(hits.ids, alone.ids)
            np.testing.assert_array_equal(hits.global_rank, alone.global_rank)
            np.testing.assert_allclose(hits.scores, alone.scores, atol=1e-4)
            np.testing.assert_allclose(hits.sims, alone.sims, atol=1e-4)


def test_a_filter_leaves_candidates_out(indexed: Path, tmp_path: Path) -> None:
    with opened("lancedb", tmp_path) as database:
        update(indexed, database)
        for words, names in (("name LIKE 'a_%'", {"a_0.jpg", "a_2.jpg"}), ("size < 0", set())):
            ranker = replace(RANKER, database=database, filter=words)
            query = indexed / "photos" / "a_1.jpg"
            if names:
                found = search_images(indexed / "index", query, SIFT, ranker)
                assert set(found.names(0)) == names
            else:
                with pytest.raises(BadInput, match="finds no image"):
                    search_images(indexed / "index", query, SIFT, ranker)


@pytest.mark.parametrize("kind", KINDS)
def test_only_changes_are_written_and_disagreement_is_noticed(
    kind: str, folder: Path, tmp_path: Path
) -> None:
    photos = folder / "photos"
    with opened(kind, tmp_path) as database:
        update(folder, database)
        assert update(folder, database) == (0, 0, 12)
        (photos / "a_0.jpg").unlink()
        shutil.copy(photos / "b_0.jpg", photos / "b_1.jpg")
        shutil.copy(photos / "b_0.jpg", photos / "new.jpg")
        index_images(photos, folder / "index", SIFT)
        with OpenIndex(folder / "index") as index:
            with pytest.raises(BadInput, match=r"\(12 rows\) does not hold .*\(12 images\)"):
                check_database(index, database)
            assert update_database(index, database) == (2, 1, 12)
            check_database(index, database)
            assert sorted(database.names()) == list(index.names)
            database.delete(["new.jpg"])
            with pytest.raises(BadInput, match=r"(?s)\(11 rows\).*update=true"):
                check_database(index, database)
            assert update_database(index, database) == (1, 0, 12)


@pytest.mark.parametrize("kind", KINDS)
def test_an_interrupted_update_is_finished_by_the_next(
    kind: str, indexed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(kind, tmp_path) as database:
        client, write, calls = type(database._client), type(database._client).write, [0]

        def dies(self: object, names: list[str], *rest: object) -> None:
            calls[0] += 1
            if calls[0] == 3:
                raise KeyboardInterrupt
            write(self, names, *rest)

        with OpenIndex(indexed / "index") as index:
            width = next(index.vectors())[0].shape[1]
            monkeypatch.setattr(client, "batch_bytes", 2 * 4 * width)
            monkeypatch.setattr(client, "write", dies)
            with pytest.raises(KeyboardInterrupt):
                update_database(index, database)
            assert database.count() == 4
            with pytest.raises(BadInput, match="does not hold the index"):
                check_database(index, database)
            assert update_database(index, database) == (8, 0, 12)


@pytest.mark.parametrize("kind", KINDS)
def test_collections_of_others_are_left_alone(kind: str, indexed: Path, tmp_path: Path) -> None:
    with opened(kind, tmp_path) as database:
        database.upsert(["theirs"], np.ones((1, 5)))
        with pytest.raises(BadInput, match="not written by an index"):
            update(indexed, database)
        for mark in ('{"images": "/another"}', "odd", "[]"):
            database.set_mark(mark)
            with pytest.raises(BadInput, match="the collection has vectors"):
                update(indexed, database)
        database.set_mark(f'{{"images": "{indexed / "photos"}"}}')
        with pytest.raises(BadInput, match="of width 5, the index of width"):
            update(indexed, database)
        assert list(database.names()) == ["theirs"]
