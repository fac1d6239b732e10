"""The laws of global descriptors on disk: what is written is read, and nothing wrong is written."""

from pathlib import Path

import numpy as np
import pytest

from ames_lite.errors import BadInput, MissingFile
from ames_lite.stores import hdf5
from ames_lite.stores.global_store import GlobalStore
from ames_lite.stores.merging import join_stores
from ames_lite.stores.row_writer import GlobalWriter
from tests.stores.files import OLDER, read_globals, write_globals

NAMES = ["a.jpg", "ü, b.jpg", "c.jpg"]


def rows(dtype: str = "float32") -> np.ndarray:
    return np.random.default_rng(0).standard_normal((3, 4)).astype(dtype)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_what_is_written_is_read(tmp_path: Path, dtype: str) -> None:
    path = write_globals(tmp_path / "g.hdf5", NAMES, rows(dtype), {"layer": 3})
    names, descriptors, provenance = read_globals(path)
    assert names == tuple(NAMES) and provenance == {"layer": 3}
    assert descriptors.dtype == dtype
    np.testing.assert_array_equal(descriptors, rows(dtype))


@pytest.mark.parametrize(
    ("row", "value", "what"),
    [(1, np.nan, "NaN"), (2, -np.inf, "NaN"), (1, 0.0, "all zeros")],
)
def test_bad_rows_are_named(tmp_path: Path, monkeypatch, row: int, value: float, what: str) -> None:
    descriptors = rows()
    descriptors[row] = value
    path = write_globals(tmp_path / "g.hdf5", NAMES, descriptors, {})
    for block in (1, 1 << 15):
        monkeypatch.setattr("ames_lite.stores.global_store.BLOCK_ROWS", block)
        with pytest.raises(BadInput, match=what) as error:
            read_globals(path)
        for part in (NAMES[row], f"row {row}", "g.hdf5", "remedy"):
            assert part in str(error.value)


def test_one_bad_number_among_good_ones_is_enough(tmp_path: Path) -> None:
    descriptors = rows()
    descriptors[1, 2] = np.nan
    path = write_globals(tmp_path / "g.hdf5", NAMES, descriptors, {})
    with pytest.raises(BadInput, match="NaN"):
        read_globals(path)
    descriptors[1] = (0, 0, 1, 0)
    read_globals(write_globals(path, NAMES, descriptors, {}, overwrite=True))


def test_repeated_names_and_other_shapes_are_refused(tmp_path: Path) -> None:
    for names, descriptors in [
        (["a", "b", "a"], rows()),
        (NAMES[:2], rows()),
        (NAMES, rows().astype(np.float64)),
        (NAMES, rows()[:, 0]),
        (NAMES, rows()[:, :0]),
    ]:
        path = write_globals(tmp_path / "g.hdf5", names, descriptors, {}, overwrite=True)
        with pytest.raises(BadInput, match="expected"):
            read_globals(path)


def test_a_damaged_file_is_refused_at_reading(tmp_path: Path) -> None:
    path = write_globals(tmp_path / "g.hdf5", NAMES, rows(), {})
    with hdf5.open_unfinished(path, OLDER, "r+") as file:
        file["descriptors"][1] = 0
    with pytest.raises(BadInput, match="all zeros") as error:
        read_globals(path)
    assert str(path) in str(error.value)
    with pytest.raises(MissingFile, match="extract the descriptors"):
        read_globals(tmp_path / "no.hdf5")
    with pytest.raises(BadInput, match="overwrite"):
        write_globals(path, NAMES, rows(), {})


def test_files_without_status_are_read_and_all_their_rows_are_done(tmp_path: Path) -> None:
    path = write_globals(tmp_path / "g.hdf5", NAMES, rows(), {"layer": 3})
    with GlobalStore(path) as store:
        assert not store.has_status and store.status.tolist() == [1, 1, 1]
        assert (len(store), store.dim, store.dtype, store.failed(0, 3)) == (3, 4, np.float32, {})
        np.testing.assert_array_equal(store.read(1, 3), rows()[1:])
        np.testing.assert_array_equal(store.part(np.s_[:2], np.s_[1:3]), rows()[:2, 1:3])


def test_files_with_and_without_status_are_joined(tmp_path: Path) -> None:
    plain = write_globals(tmp_path / "plain.hdf5", NAMES, rows(), {})
    with GlobalWriter(tmp_path / "filled.hdf5", NAMES, 4, {}) as writer:
        writer.extend(NAMES, rows(), {NAMES[1]: "no image"})
    with GlobalStore(plain) as first, GlobalStore(tmp_path / "filled.hdf5") as second:
        names = [f"{part}/{name}" for part in "ab" for name in NAMES]
        path = join_stores([first, second], tmp_path / "joined.hdf5", names=names)
        twice = join_stores([first, first], tmp_path / "twice.hdf5", names=names)
    with GlobalStore(twice) as store:
        assert store.failed(0, 6) == {}
    with GlobalStore(path) as store:
        assert store.names == tuple(names)
        assert store.status.tolist() == [1, 1, 1, 1, 2, 1] and store.failed(0, 6) == {4: "no image"}
        np.testing.assert_array_equal(store.read(0, 3), rows())


def test_rows_that_failed_are_told(tmp_path: Path) -> None:
    with GlobalWriter(tmp_path / "g.hdf5", NAMES, 4, {}) as writer:
        writer.extend(NAMES, rows(), {NAMES[1]: "no image"})
    with GlobalStore(tmp_path / "g.hdf5") as store:
        assert store.has_status and store.status.tolist() == [1, 2, 1]
        assert store.failed(0, 3) == {1: "no image"} and store.failed(2, 3) == {}
        np.testing.assert_array_equal(store.read(1, 2), [[0.5] * 4])
    np.testing.assert_array_equal(read_globals(tmp_path / "g.hdf5")[1][2], rows()[2])


def test_an_unfinished_file_says_how_far_it_came(tmp_path: Path) -> None:
    with GlobalWriter(tmp_path / "g.hdf5", NAMES, 4, {}) as writer:
        writer.extend(NAMES[:2], rows()[:2])
    with pytest.raises(BadInput, match="2 of 3 rows are written"):
        GlobalStore(tmp_path / "g.hdf5")
