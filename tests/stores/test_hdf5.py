"""The laws of HDF5 files: whole or absent, marked last, and refused with path and remedy."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from ames_lite.errors import BadInput, MissingFile
from ames_lite.io.provenance import check_provenance, compare_provenance
from ames_lite.stores import hdf5

SCHEMA = hdf5.Schema("test/1")


def write(path: Path, **options: bool) -> None:
    with hdf5.new_file(path, SCHEMA, {"backbone": "tiny"}, **options) as file:
        file["values"] = np.arange(1000)


def test_a_failed_block_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="half-way"):
        with hdf5.new_file(tmp_path / "a.hdf5", SCHEMA, {}) as file:
            file["values"] = np.arange(3)
            raise RuntimeError("half-way")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_overwrite_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.hdf5"
    write(path)
    before = path.read_bytes()
    with pytest.raises(RuntimeError), hdf5.new_file(path, SCHEMA, {}, overwrite=True):
        raise RuntimeError
    assert path.read_bytes() == before


def test_an_existing_file_is_refused_before_the_block_runs(tmp_path: Path) -> None:
    path = tmp_path / "a.hdf5"
    write(path)
    with pytest.raises(BadInput, match="overwrite=True") as error:
        with hdf5.new_file(path, SCHEMA, {}):
            raise AssertionError("the block ran")
    assert str(path) in str(error.value)
    write(path, overwrite=True)


def test_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    write(tmp_path / "a.hdf5")
    write(tmp_path / "b.hdf5")
    assert (tmp_path / "a.hdf5").read_bytes() == (tmp_path / "b.hdf5").read_bytes()


def test_provenance_comes_back_as_json_gives_it(tmp_path: Path) -> None:
    provenance = {"scales": (0.7, 1.0), "layer": 11, "facet": None, "café": True}
    with hdf5.new_file(tmp_path / "a.hdf5", SCHEMA, provenance):
        pass
    found = hdf5.read_provenance(tmp_path / "a.hdf5", SCHEMA)
    assert found == {"scales": [0.7, 1.0], "layer": 11, "facet": None, "café": True}


@pytest.mark.parametrize("value", [{"nested": 1}, float("nan"), np.float32(1), [[1]], Path("x")])
def test_provenance_that_cannot_be_compared_is_refused(value: object) -> None:
    with pytest.raises(BadInput, match="provenance"):
        check_provenance({"key": value})


def test_a_difference_names_the_key_both_values_and_both_files() -> None:
    a, b = {"layer": 11, "facet": "token"}, {"layer": 9}
    files = ("a.hdf5", "b.hdf5")
    with pytest.raises(BadInput) as error:
        compare_provenance(a, b, ["layer"], files=files)
    for part in ("layer", "11", "9", "a.hdf5", "b.hdf5", "remedy"):
        assert part in str(error.value)
    with pytest.raises(BadInput, match="'absent' in b.hdf5"):
        compare_provenance(a, b, ["facet"], files=files)
    compare_provenance(a, b, ["precision"], files=files)
    compare_provenance(a, dict(a), a, files=files)


def test_a_missing_file_names_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match="make it so") as error:
        hdf5.open_complete(tmp_path / "no.hdf5", SCHEMA, remedy="make it so")
    assert str(tmp_path / "no.hdf5") in str(error.value)
    with pytest.raises(MissingFile, match="folder"):
        hdf5.open_complete(tmp_path, SCHEMA)


@pytest.mark.parametrize("keep", [0, 5, 100, 3000, -1])
def test_a_cut_file_is_never_opened(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "a.hdf5"
    write(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(BadInput, match="cannot be opened") as error:
        hdf5.open_complete(path, SCHEMA, remedy="make it so")
    assert str(path) in str(error.value) and "make it so" in str(error.value)


def test_text_named_hdf5_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.hdf5"
    path.write_text("this is no HDF5 file\n" * 100)
    with pytest.raises(BadInput, match="of another kind"):
        hdf5.open_complete(path, SCHEMA)


def test_another_schema_is_refused_with_both_named(tmp_path: Path) -> None:
    write(tmp_path / "a.hdf5")
    with pytest.raises(BadInput) as error:
        hdf5.open_complete(tmp_path / "a.hdf5", hdf5.Schema("other/1"))
    assert "test/1" in str(error.value) and "other/1" in str(error.value)


def test_an_empty_schema_is_that_of_no_older_version(tmp_path: Path) -> None:
    write(tmp_path / "a.hdf5")
    with h5py.File(tmp_path / "a.hdf5", "r+") as file:
        file.attrs["schema"] = np.array(b"", "S1")
    with pytest.raises(BadInput, match="schema is ''"):
        hdf5.open_complete(tmp_path / "a.hdf5", SCHEMA)


def test_without_the_mark_nothing_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.hdf5"
    write(path, complete=False)
    with pytest.raises(BadInput, match="not complete: 3 of 7") as error:
        hdf5.open_complete(path, SCHEMA, remedy="cook", progress=lambda _: "3 of 7")
    assert "resume=True" in str(error.value) and "cook" in str(error.value)
    with hdf5.open_unfinished(path, SCHEMA, "r+") as file:
        hdf5.mark_complete(file)
    hdf5.open_complete(path, SCHEMA).close()


def test_data_sets_are_checked_for_shape_and_kind(tmp_path: Path) -> None:
    path = tmp_path / "a.hdf5"
    write(path)
    with hdf5.open_complete(path, SCHEMA) as file:
        assert hdf5.dataset(file, "values", (None,), ("int64",)).shape == (1000,)
        for name, shape, kind in [
            ("absent", (None,), "int64"),
            ("values", (7,), "int64"),
            ("values", (None, None), "int64"),
            ("values", (None,), "float32"),
        ]:
            with pytest.raises(BadInput, match=str(path)):
                hdf5.dataset(file, name, shape, (kind,))


def test_names_survive_whatever_a_file_system_allows() -> None:
    names = ("a/ä.jpg", "b, c.jpg", "日本.png", "not-utf8-\udcff.jpg", "x" * 300)
    assert hdf5.decode_names(hdf5.encode_names(names)) == names


@pytest.mark.parametrize("names", [[], ["a", "b", "a"], ["a", ""], ["a\0"], "abc"])
def test_unusable_name_lists_are_refused(names: list[str]) -> None:
    with pytest.raises(BadInput, match="the list"):
        hdf5.check_names(names, "the list")


def test_a_name_that_was_read_in_another_encoding_is_refused() -> None:
    misread = "ä.jpg".encode().decode("ascii", "surrogateescape")
    with pytest.raises(BadInput, match="PYTHONUTF8=1") as caught:
        hdf5.encode_names(["a.jpg", misread])
    assert ascii(misread) in str(caught.value)
