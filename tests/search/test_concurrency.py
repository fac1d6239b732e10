"""Several processes at one index, and at one file: every reader sees a whole one, old or new."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from ames_lite.errors import BadInput, UserError
from ames_lite.io.images import list_images
from ames_lite.io.json_file import read_json_file, write_json_file
from ames_lite.records import Neighbors
from ames_lite.reranking.scorer import verifier_scorer
from ames_lite.search.image_search import Ranker, search_images
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.neighbor_lists import read_neighbors, write_neighbors
from tests.processes import run_code
from tests.search.test_indexing import Counting, age, picture, run
from tests.search.test_indexing import photos as photos
from tests.search.test_indexing import vocabulary as vocabulary
from tests.stores.test_descriptor_store import create, fill

READERS = 2


def started(work: object) -> int:
    """The process id of a fork that does this, and ends with 1 where it raises."""
    child = os.fork()
    if not child:
        code = 1
        try:
            work()  # type: ignore[operator]
            code = 0
        finally:
            os._exit(code)
    return child


def test_readers_of_an_index_that_is_updated_find_what_a_fresh_one_has(
    photos: Path, vocabulary: Path, tmp_path: Path
) -> None:
    index, end = tmp_path / "index", tmp_path / "end"
    query, ranker = photos / "0.jpg", Ranker(verifier_scorer("mutual_nn"), 0.5, 0.1)
    run(photos, index, vocabulary)

    def read() -> None:
        searched = 0
        while not end.exists() or not searched:
            found = search_images(index, query, Counting(), ranker)
            names = found.names(0)
            assert len(names) == len(set(names)) >= 3 and "0.jpg" not in names
            searched += 1

    children = [started(read) for _ in range(READERS)]
    for number in range(4):  # a picture comes, one changes, one goes
        picture(photos / f"new{number}.jpg", 100 + number)
        picture(photos / "sub" / "1.jpg", 200 + number)
        if number > 1:
            (photos / f"new{number - 2}.jpg").unlink()
        run(photos, index, vocabulary)
    end.touch()
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * READERS
    fresh = tmp_path / "fresh"
    run(photos, fresh, vocabulary)
    both = [search_images(place, query, Counting(), ranker) for place in (index, fresh)]
    assert both[0].names(0) == both[1].names(0)
    np.testing.assert_array_equal(both[0].hits.scores, both[1].hits.scores)


@pytest.mark.slow
def test_a_folder_of_many_images_costs_what_has_changed(tmp_path: Path, vocabulary: Path) -> None:
    folder = tmp_path / "many"
    for number in range(120):
        picture(folder / f"{number:03}.jpg", number)
    age(folder)
    run(folder, tmp_path / "index", vocabulary)
    for number in range(4):
        os.utime(folder / f"{number:03}.jpg")
        (folder / f"{number + 10:03}.jpg").unlink()
        (folder / f"{number + 20:03}.jpg").rename(folder / f"moved{number}.jpg")
        picture(folder / f"{number + 30:03}.jpg", number + 300)
    _, shown = run(folder, tmp_path / "index", vocabulary)
    assert shown == 8  # the renamed and the changed; touched ones are compared by their bytes
    run(folder, tmp_path / "fresh", vocabulary)
    ranker = Ranker(verifier_scorer("mutual_nn"), 0.5, 0.1, num_rerank=10)
    one, other = (
        search_images(tmp_path / name, folder, Counting(), ranker) for name in ("index", "fresh")
    )
    assert one.gallery == other.gallery == one.queries == tuple(list_images(folder))
    for field in ("ids", "scores", "global_rank", "sims"):
        np.testing.assert_array_equal(getattr(one.hits, field), getattr(other.hits, field))


def lists(value: float) -> Neighbors:
    return Neighbors(np.zeros((40, 1), np.int32), np.full((40, 1), value, np.float32), 3)


def test_two_writers_of_a_file_leave_one_of_the_two(tmp_path: Path) -> None:
    names, gallery = [f"q{n}" for n in range(40)], ["a", "b", "c"]
    path, plain = tmp_path / "nn.hdf5", tmp_path / "results.json"

    def write(value: float) -> None:
        for _ in range(20):
            write_neighbors(path, lists(value), names, gallery, {}, overwrite=True)
            write_json_file(plain, {"values": [value] * 500})

    def attempt(value: float) -> None:
        while True:
            try:
                return write(value)
            except BadInput as error:  # the other one is writing it
                assert "being written" in str(error)

    children = [started(lambda value=value: attempt(value)) for value in (0.25, 0.75)]
    while not (path.exists() and plain.exists()):
        time.sleep(0.01)
    for _ in range(60):
        sims = read_neighbors(path, names, gallery).sims
        assert (sims == sims[0]).all()
        assert len(set(read_json_file(plain, "values")["values"])) == 1
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    assert sorted(one.name for one in tmp_path.iterdir()) == ["nn.hdf5", "results.json"]


SECOND = """
import sys
from pathlib import Path
from tests.stores.test_descriptor_store import create
create(Path(sys.argv[1]), resume=True)
"""


def test_the_second_writer_of_a_store_is_refused(tmp_path: Path) -> None:
    with create(tmp_path / "store.hdf5") as first:
        done = run_code(SECOND, str(tmp_path / "store.hdf5"))
        assert done.returncode == 1 and "being written by another process" in done.stderr
        fill(first)
    DescriptorStore.open(tmp_path / "store.hdf5").close()


def test_a_store_that_is_replaced_while_it_is_read_is_the_old_one_or_an_error(
    tmp_path: Path,
) -> None:
    path, other = tmp_path / "store.hdf5", tmp_path / "other.hdf5"
    with create(path) as writer:
        fill(writer)
    before = DescriptorStore.open(path).read_descriptors(range(9))[0]
    with DescriptorStore.create(other, writer.names, 6, 16, "float16", {}) as changed:
        for name in changed.todo:
            changed.mark_failed(name, "another")
    store = DescriptorStore.open(path)
    store.read_descriptors([0])
    shutil.copyfile(other, tmp_path / "copy")
    os.replace(tmp_path / "copy", path)
    try:
        found = store.read_descriptors(range(9))[0]
    except UserError:
        return
    np.testing.assert_array_equal(found, before)
