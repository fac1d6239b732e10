"""The index of a folder: growing it equals making it at once, and no accident leaves it wrong.

The referee describes every image by itself and compares what the index has of it, by name.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ames_lite.errors import BadInput, MissingFile
from ames_lite.extraction.backbones.interface import Described
from ames_lite.extraction.backbones.sift import Sift
from ames_lite.io.images import list_images, load_image, save_jpeg
from ames_lite.io.writing import locked
from ames_lite.records import LocalDescriptors
from ames_lite.reranking.scorer import verifier_scorer
from ames_lite.search import index as image_index
from ames_lite.search import indexing as module
from ames_lite.search.image_search import Ranker, search_images
from ames_lite.search.index import PENDING, OpenIndex, read_record, scan_images, write_record
from ames_lite.search.indexing import Indexed, index_images
from ames_lite.stores.fitted import write_vocabulary
from tests.helpers import forked
from tests.retrieval.vlad_referee import vlad

TOP_K = 20


class Counting(Sift):
    """RootSIFT that knows which images it was shown; with `dies_at` it is killed at that one."""

    def __init__(self, dies_at: int = 0, top_k: int = TOP_K) -> None:
        super().__init__(top_k=top_k, image_size=64)
        self.shown, self.dies_at = 0, dies_at

    def prepare(self, image: np.ndarray, box: Any = None) -> LocalDescriptors:
        self.shown += 1
        if self.shown == self.dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().prepare(image, box)


class WithVector(Counting):
    """RootSIFT and a global vector, as networks have one."""

    global_kind, global_dim = "gem", 3

    def describe(self, batch: Any) -> list[Described]:
        return [
            Described(found.local, found.local.descriptors.sum(axis=0)[:3] + np.float32(1))
            for found in super().describe(batch)
        ]


def picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 255, (16, 16, 3))
    save_jpeg(path, np.kron(coarse, np.ones((4, 4, 1))).astype(np.uint8), 95)


def age(folder: Path) -> None:
    """As if all files had been there for long: then their times alone are trusted."""
    for name in list_images(folder):
        stat = (folder / name).stat()
        os.utime(folder / name, ns=(stat.st_atime_ns, stat.st_mtime_ns - 10**11))


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vocabulary") / "vlad_sift_noise.npz"
    centroids = np.abs(np.random.default_rng(0).standard_normal((4, 128))).astype(np.float32)
    centroids /= np.linalg.norm(centroids, axis=1, keepdims=True)
    made = {key: value for key, value in Counting().provenance.items()}
    return write_vocabulary(path, centroids, made)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for number in range(6):
        picture(tmp_path / "photos" / f"{'sub/' if number % 2 else ''}{number}.jpg", number)
    age(tmp_path / "photos")
    return tmp_path / "photos"


def contents(index: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Of every image by name: local descriptors and vector."""
    with OpenIndex(index) as opened:
        found = {}
        for vectors, ids in opened.vectors():
            for vector, n in zip(vectors, ids.tolist(), strict=True):
                store = opened.store(int(opened.segment[n]))
                assert store.names[opened.row[n]] == opened.names[n]
                found[opened.names[n]] = store.read(int(opened.row[n])).descriptors, vector
        assert len(found) == len(opened)
        return found


def check(index: Path, photos: Path, vocabulary: Path) -> None:
    """The index has exactly what every readable image of the folder has by itself."""
    centroids = np.load(vocabulary)["centroids"]
    found, wanted = contents(index), {}
    for name in list_images(photos):
        try:
            image = load_image(photos / name)
        except BadInput:
            continue
        wanted[name] = Counting().extract(image).descriptors.astype(np.float16)
    assert sorted(found) == sorted(wanted)
    for name, descriptors in wanted.items():
        np.testing.assert_array_equal(found[name][0], descriptors)
        by_itself = vlad(descriptors, centroids).astype(np.float16)
        np.testing.assert_array_equal(found[name][1], by_itself)


def run(photos: Path, index: Path, vocabulary: Path | None, **more: Any) -> tuple[Indexed, int]:
    """What indexing said, and how many images it described."""
    backbone = more.pop("backbone", Counting())
    return index_images(photos, index, backbone, vocabulary=vocabulary, **more), backbone.shown


def counts(done: Indexed) -> tuple[int, ...]:
    """Files that are unchanged, new, changed, gone."""
    changes = done.changes
    return len(changes.kept), changes.new, changes.changed, changes.gone


def stores(index: Path) -> list[str]:
    return sorted(path.name for path in index.iterdir() if path.name[0].isdigit())


def test_a_folder_is_listed_as_by_list_images(photos: Path) -> None:
    (photos / "notes.txt").write_text("no image")
    (photos / "b.PNG").write_bytes(b"")
    os.symlink(photos, photos / "loop")
    os.symlink(photos / "0.jpg", photos / "link.jpg")
    assert [file.name for file in scan_images(photos)[0]] == list_images(photos)


def test_growing_an_index_equals_making_it_at_once(
    photos: Path, vocabulary: Path, tmp_path: Path
) -> None:
    parts, whole, later = tmp_path / "parts", tmp_path / "whole", tmp_path / "later"
    for name in ("0.jpg", "sub/3.jpg"):
        (later / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.move(photos / name, later / name)
    first, shown = run(photos, parts, vocabulary)
    assert (first.total, first.changes.new, shown) == (4, 4, 4)
    for name in ("0.jpg", "sub/3.jpg"):
        shutil.move(later / name, photos / name)
    shutil.copy(photos / "0.jpg", photos / "copy.jpg")  # ties with 0.jpg in every list
    second, shown = run(photos, parts, vocabulary)
    assert (second.total, second.changes.new, len(second.changes.kept), shown) == (7, 3, 4, 3)
    run(photos, whole, vocabulary)
    check(parts, photos, vocabulary)
    grown, at_once = contents(parts), contents(whole)
    assert list(grown) != list(at_once) and sorted(grown) == sorted(at_once)
    scorer = verifier_scorer("mutual_nn")
    for num_rerank in (1, 2, 4, 7):
        both = [
            search_images(index, photos, Counting(), Ranker(scorer, 0.3, 0.1, num_rerank))
            for index in (parts, whole)
        ]
        assert both[0].gallery == both[1].gallery == tuple(list_images(photos))
        for field in ("ids", "scores", "global_rank", "sims"):
            a, b = (getattr(found.hits, field) for found in both)
            np.testing.assert_array_equal(a, b)


def test_the_backbones_own_vectors_come_from_the_same_pass_and_stay_with_their_images(
    photos: Path, tmp_path: Path
) -> None:
    index = tmp_path / "index"
    for number in range(10, 20):  # a segment each: more than are kept apart
        picture(photos / f"{number}.jpg", number)
        run(photos, index, None, backbone=WithVector())
    (photos / "12.jpg").unlink()
    (photos / "broken.jpg").write_bytes(b"no picture")
    run(photos, index, None, backbone=WithVector())
    found, names = contents(index), [n for n in list_images(photos) if n != "broken.jpg"]
    assert sorted(found) == names and len(stores(index)) < 2 * 10
    for name in names:
        backbone = WithVector()
        described = backbone.describe([backbone.prepare(load_image(photos / name))])[0]
        assert described.vector is not None
        np.testing.assert_array_equal(found[name][0], described.local.descriptors.astype("f2"))
        unit = described.vector / np.linalg.norm(described.vector)
        np.testing.assert_allclose(found[name][1], unit, rtol=1e-6)
    scorer = verifier_scorer("mutual_nn")
    hits = search_images(index, photos / names[0], WithVector(), Ranker(scorer, 1, 1)).hits
    sims = found[names[0]][1] @ np.array([found[name][1] for name in names]).T
    np.testing.assert_allclose(hits.sims[0], np.sort(sims[1:])[::-1], rtol=1e-5)


def test_a_given_vocabulary_takes_the_place_of_the_backbones_own_vectors(
    photos: Path, vocabulary: Path, tmp_path: Path
) -> None:
    index = tmp_path / "index"
    run(photos, index, None, backbone=WithVector())
    assert not list(index.glob("vocabulary_*"))
    changed, shown = run(photos, index, vocabulary, backbone=WithVector())
    assert shown == 0 and "the vectors are made again" in changed.notes[0]
    check(index, photos, vocabulary)
    _, shown = run(
        photos, index, None, backbone=WithVector()
    )  # and back: only describing gives them
    assert shown == len(list_images(photos))
    assert all(vector.shape == (3,) for _, vector in contents(index).values())
    assert run(photos, index, None, backbone=WithVector())[1] == 0


def test_an_unchanged_folder_costs_nothing_and_writes_nothing(
    photos: Path, vocabulary: Path, tmp_path: Path
) -> None:
    run(photos, tmp_path / "index", vocabulary)
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "index").iterdir()}
    again, shown = run(photos, tmp_path / "index", vocabulary)
    assert shown == 0 and counts(again) == (6, 0, 0, 0)
    after = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "index").iterdir()}
    assert {**before, ".lock": 0} == {**after, ".lock": 0}


def test_only_changed_files_are_described_again_and_deleted_ones_are_dropped(
    photos: Path, vocabulary: Path, tmp_path: Path
) -> None:
    index = tmp_path / "index"
    run(photos, index, vocabulary)
    picture(photos / "2.jpg", 20)
    (photos / "4.jpg").unlink()
    os.utime(photos / "sub" / "1.jpg")  # touched: its bytes are what they were
    done, shown = run(photos, index, vocabulary)
    assert shown == 1 and counts(done) == (4, 0, 1, 1)
    check(index, photos, vocabulary)
    assert run(photos, index, vocabulary)[1] == 0


def test_a_change_within_the_tick_of_the_clock_is_seen(
    photos: Path, vocabulary: Path, tmp_path: Path
) -> None:
    index, path = tmp_path / "index", photos / "2.jpg"
    os.utime(path)
    run(photos, index, vocabulary)
    stat, content = path.stat(), path.read_bytes()
    picture(path, 20)
    other = path.read_bytes()
    size = max(len(content), len(other))
    path.write_bytes(content.ljust(size, b"\0"))  # two pictures of one size
    run(photos, index, vocabulary)
    os.utime(path)
    run(photos, index, vocabulary)
    stat = path.stat()
    path.write_bytes(other.ljust(size, b"\0"))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # at the same time as before
    done, shown = run(photos, index, vocabulary)
    assert (shown, done.changes.changed) == (1, 1)
    check(index, photos, vocabulary)


def test_bad_images_are_named_and_not_tried_again_until_they_change(
    photos: Path, vocabulary: Path, tmp_path: Path
) -> None:
    (photos / "bad.jpg").write_text("no image")
    age(photos)
    for _ in range(2):
        done, _ = run(photos, tmp_path / "index", vocabulary)
        assert done.total == 7 and list(done.failed) == ["bad.jpg"]
        assert "decoded" in done.failed["bad.jpg"]
    check(tmp_path / "index", photos, vocabulary)
    picture(photos / "bad.jpg", 30)
    done, shown = run(photos, tmp_path / "index", vocabulary)
    assert shown == 1 and not done.failed
    check(tmp_path / "index", photos, vocabulary)


@pytest.mark.parametrize("dies_at", [1, 3, 4])
def test_a_killed_run_is_continued(
    dies_at: int, photos: Path, vocabulary: Path, tmp_path: Path
) -> None:
    index = tmp_path / "index"
    for name in ("0.jpg", "2.jpg"):
        shutil.move(photos / name, tmp_path / name)
    run(photos, index, vocabulary)
    for name in ("0.jpg", "2.jpg"):
        shutil.move(tmp_path / name, photos / name)
    for number in (10, 11):
        picture(photos / f"{number}.jpg", number)
    ended = forked(lambda: run(photos, index, vocabulary, backbone=Counting(dies_at)))
    assert ended == -signal.SIGKILL
    with OpenIndex(index) as opened:  # as it was before
        assert len(opened) == 4
    picture(photos / "10.jpg", 100)  # may be described already: it changed since
    (photos / "2.jpg").unlink()
    again, shown = run(photos, index, vocabulary)
    assert again.total == 7 and not (index / PENDING).exists()
    assert shown <= 4 - (dies_at - 1) + 1
    check(index, photos, vocabulary)
    assert run(photos, index, vocabulary)[1] == 0


@pytest.mark.parametrize("where", ["extract_globals", "write_record"])
def test_a_run_that_ends_behind_the_descriptions_is_continued(
    where: str, photos: Path, vocabulary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(folder: Any, record: Any, *file: str, **more: Any) -> Any:
        if where == "write_record" and file:  # the plan of the run
            return write_record(folder, record, *file)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(image_index if where == "write_record" else module, where, stop)
        run(photos, tmp_path / "index", vocabulary)
    done, shown = run(photos, tmp_path / "index", vocabulary)
    assert shown == 0 and done.total == 6
    check(tmp_path / "index", photos, vocabulary)


def test_many_runs_leave_few_segments(
    photos: Path, vocabulary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_SEGMENTS", 3)
    index = tmp_path / "index"
    run(photos, index, vocabulary)
    for number in range(10, 16):
        picture(photos / f"{number}.jpg", number)
        if number == 13:
            (photos / "bad.jpg").write_text("no image")
        _, shown = run(photos, index, vocabulary)
        assert shown == 1
        record = read_record(index)
        assert (
            record is not None
            and len(image_index.segments_of(record.entries)) <= module.MOST_SEGMENTS
        )
        assert len(stores(index)) == 2 * len(image_index.segments_of(record.entries))
    check(index, photos, vocabulary)
    for number in range(10, 16):
        (photos / f"{number}.jpg").unlink()
    run(photos, index, vocabulary)
    check(index, photos, vocabulary)
    with OpenIndex(index) as opened:  # rows that nothing names take at most half of a segment
        for number in image_index.segments_of(opened.record.entries):
            named = sum(entry.segment == number for entry in opened.record.entries)
            assert 2 * named >= len(opened.store(number))
    assert run(photos, index, vocabulary)[1] == 0


def test_other_settings_and_rebuild_make_the_index_anew(
    photos: Path, vocabulary: Path, tmp_path: Path
) -> None:
    index = tmp_path / "index"
    run(photos, index, vocabulary)
    done, shown = run(photos, index, vocabulary, backbone=Counting(top_k=10))
    assert shown == 6 and done.notes == ("the index is made anew: top_k was 20 and is 10",)
    done, shown = run(photos, index, vocabulary, backbone=Counting(top_k=10))
    assert shown == 0 and not done.notes
    _, shown = run(photos, index, vocabulary, rebuild=True)
    assert shown == 6 and len(stores(index)) == 2
    check(index, photos, vocabulary)


def test_another_vocabulary_makes_vectors_again_and_nothing_else(
    photos: Path, vocabulary: Path, tmp_path: Path
) -> None:
    index = tmp_path / "index"
    first, _ = run(photos, index, None, backbone=Counting(top_k=150))
    assert first.notes and "fitted" in first.notes[0]
    own = contents(index)
    picture(photos / "new.jpg", 40)
    second, shown = run(photos, index, None, backbone=Counting(top_k=150))
    assert shown == 1 and not second.notes  # the vocabulary stays that of the first run
    for name, (_, vector) in own.items():
        np.testing.assert_array_equal(contents(index)[name][1], vector)
    third, shown = run(photos, index, vocabulary, backbone=Counting(top_k=150))
    assert shown == 0 and third.notes == ("the vocabulary is another: the vectors are made again",)
    centroids = np.load(vocabulary)["centroids"]
    for descriptors, vector in contents(index).values():
        np.testing.assert_array_equal(vector, vlad(descriptors, centroids).astype(np.float16))
    assert len([path for path in index.iterdir() if "vocabulary" in path.name]) == 1


def test_what_an_index_cannot_be_made_of(photos: Path, vocabulary: Path, tmp_path: Path) -> None:
    index, empty = tmp_path / "index", tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(MissingFile, match="folder is missing"):
        run(tmp_path / "nowhere", index, vocabulary)
    with pytest.raises(BadInput, match="no images in the folder"):
        run(empty, index, vocabulary)
    (photos / "flat").mkdir()
    picture(photos / "flat" / "one.jpg", 1)
    with pytest.raises(BadInput, match="too few for a vocabulary") as caught:
        run(photos / "flat", index, None)
    assert "vocabulary=" in str(caught.value)
    with pytest.raises(BadInput, match="holds something else"):
        run(photos, photos, vocabulary)
    run(photos, tmp_path / "other", vocabulary)
    with pytest.raises(BadInput, match="index is that of the folder"):
        run(photos / "sub", tmp_path / "other", vocabulary)
    with locked(tmp_path / "other", "", ""), pytest.raises(BadInput, match="another process"):
        run(photos, tmp_path / "other", vocabulary)
    (tmp_path / "other" / "index.json").write_text('{"schema": 2}')
    with pytest.raises(BadInput, match="cannot be read") as caught:
        run(photos, tmp_path / "other", vocabulary)
    assert "rebuild=true" in str(caught.value)
    run(photos, tmp_path / "other", vocabulary, rebuild=True)
    check(tmp_path / "other", photos, vocabulary)


def test_a_store_that_was_deleted_is_made_again(
    photos: Path, vocabulary: Path, tmp_path: Path
) -> None:
    run(photos, tmp_path / "index", vocabulary)
    (tmp_path / "index" / "000001_local.hdf5").unlink()
    assert run(photos, tmp_path / "index", vocabulary)[1] == 6
    check(tmp_path / "index", photos, vocabulary)


def test_the_record_is_plain_json(photos: Path, vocabulary: Path, tmp_path: Path) -> None:
    run(photos, tmp_path / "index", vocabulary)
    record = json.loads((tmp_path / "index" / "index.json").read_text())
    assert record.keys() == image_index.KEYS | {"content_sha256"} and record["images"] == str(
        photos
    )
    assert [entry[0] for entry in record["entries"]] == list_images(photos)


def test_product_codes_stay_with_the_index(
    photos: Path, vocabulary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = tmp_path / "index"

    def grown(**more: Any) -> tuple[Indexed, int]:
        return run(photos, index, vocabulary, backbone=Counting(top_k=60), **more)

    def codebooks() -> list[bytes]:
        with OpenIndex(index) as opened:
            books = [opened.store(int(number)).codebook for number in set(opened.segment)]
        assert all(book is not None and len(book) == 32 for book in books)
        return [book.tobytes() for book in books if book is not None]

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    grown(code_bytes=32)
    before, first = contents(index), codebooks()
    picture(photos / "new.jpg", 9)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module._Run, "_fill_vectors", stop)
        grown()
    done, shown = grown()
    assert (done.total, shown) == (7, 0) and set(codebooks()) == set(first)
    for name, (descriptors, _) in before.items():
        np.testing.assert_array_equal(contents(index)[name][0], descriptors)
    alone = Counting(top_k=60).extract(load_image(photos / "new.jpg")).descriptors
    found = contents(index)["new.jpg"][0]
    assert (alone * found).sum(axis=1).mean() > 0.8
    with pytest.raises(BadInput, match="code_bytes=16, and the index has 32"):
        grown(code_bytes=16)
    picture(photos / "another.jpg", 10)
    monkeypatch.setattr(module, "MOST_SEGMENTS", 1)
    grown()
    np.testing.assert_array_equal(contents(index)["new.jpg"][0], found)
    assert len(stores(index)) < 3 * 2 and set(codebooks()) == set(first)
