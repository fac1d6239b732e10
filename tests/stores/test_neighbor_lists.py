"""The laws of neighbour lists on disk: ids are only given back to the lists they count in."""

from pathlib import Path

import numpy as np
import pytest

from ames_lite.errors import BadInput, MissingFile
from ames_lite.io.digest import names_digest
from ames_lite.records import Neighbors
from ames_lite.stores.hdf5 import read_provenance
from ames_lite.stores.neighbor_lists import SCHEMA, read_neighbors, write_neighbors

QUERIES = ["q0.jpg", "q1.jpg"]
GALLERY = [f"g{i}.jpg" for i in range(5)]


def neighbors(width: int = 3) -> Neighbors:
    ids = np.array([[4, 0, 2, 1, 3], [1, 2, 3, 4, 0]])[:, :width]
    sims = np.array([[0.9, 0.5, 0.5, 0.1, -1.0]] * 2, np.float32)[:, :width]
    return Neighbors(ids, sims, 5)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    target = tmp_path / "nn_tiny_cls.hdf5"
    return write_neighbors(target, neighbors(), QUERIES, GALLERY, {"k": 3})


def test_what_is_written_is_read(path: Path) -> None:
    found = read_neighbors(path, QUERIES, GALLERY)
    np.testing.assert_array_equal(found.ids, neighbors().ids)
    np.testing.assert_array_equal(found.sims, neighbors().sims)
    assert (found.ids.dtype, found.sims.dtype, found.num_gallery) == (np.int32, np.float32, 5)
    assert read_provenance(path, SCHEMA) == {"k": 3}


def test_num_cuts_the_list(path: Path) -> None:
    found = read_neighbors(path, QUERIES, GALLERY, 2)
    np.testing.assert_array_equal(found.ids, neighbors().ids[:, :2])


@pytest.mark.parametrize(
    ("queries", "gallery", "side"),
    [
        (QUERIES[::-1], GALLERY, "query"),
        (QUERIES, GALLERY[::-1], "gallery"),
        (QUERIES, [*GALLERY, "g5.jpg"], "gallery"),
        (QUERIES[:1], GALLERY, "query"),
    ],
)
def test_another_list_is_refused_with_both_sides_named(
    path: Path, queries: list[str], gallery: list[str], side: str
) -> None:
    with pytest.raises(BadInput, match=f"another {side} list") as error:
        read_neighbors(path, queries, gallery)
    given, stored = {"query": (queries, QUERIES), "gallery": (gallery, GALLERY)}[side]
    for part in (str(path), names_digest(given), names_digest(stored), "search the neighbours"):
        assert part in str(error.value)


def test_a_list_shorter_than_asked_and_than_the_gallery_is_refused(path: Path) -> None:
    with pytest.raises(BadInput, match="4 neighbours .* the list has 3") as error:
        read_neighbors(path, QUERIES, GALLERY, 4)
    assert str(path) in str(error.value) and "remedy" in str(error.value)
    with pytest.raises(BadInput, match="at least 1"):
        read_neighbors(path, QUERIES, GALLERY, 0)


def test_a_list_of_the_whole_gallery_answers_any_number(tmp_path: Path) -> None:
    path = write_neighbors(tmp_path / "nn.hdf5", neighbors(5), QUERIES, GALLERY, {})
    assert read_neighbors(path, QUERIES, GALLERY, 1600).ids.shape == (2, 5)


def test_a_set_against_itself_is_whole_without_the_image_itself(tmp_path: Path) -> None:
    ids = np.array([[1, 2, 3, 4], [0, 2, 3, 4]])
    found = Neighbors(ids, np.zeros((2, 4), np.float32), 5)
    path = write_neighbors(tmp_path / "nn.hdf5", found, GALLERY[:2], GALLERY, {})
    assert read_neighbors(path, GALLERY[:2], GALLERY, 5).ids.shape == (2, 4)


def test_lists_that_do_not_fit_are_never_written(tmp_path: Path) -> None:
    for queries, gallery in [
        (QUERIES[:1], GALLERY),
        (QUERIES, GALLERY[:4]),
        (QUERIES, [*GALLERY[:4], "g0.jpg"]),
    ]:
        with pytest.raises(BadInput, match="list"):
            write_neighbors(tmp_path / "nn.hdf5", neighbors(), queries, gallery, {})
    assert list(tmp_path.iterdir()) == []


def test_a_missing_list_names_the_command(tmp_path: Path, path: Path) -> None:
    with pytest.raises(MissingFile, match="search the neighbours"):
        read_neighbors(tmp_path / "no.hdf5", QUERIES, GALLERY)
    with pytest.raises(BadInput, match="overwrite"):
        write_neighbors(path, neighbors(), QUERIES, GALLERY, {})
