"""Every fault that the check promises to find is planted, one at a time, and found by name."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from ames_lite.datasets import check
from ames_lite.datasets.check import Report, check_dataset, check_store
from ames_lite.datasets.image_lists import ImageList, read_image_list
from ames_lite.datasets.layout import DatasetFiles
from ames_lite.errors import MissingFile
from ames_lite.extraction.merging import merge_stores
from tests.conftest import TinyWorld
from tests.extraction.test_merging import sharded
from tests.helpers import main_of
from tests.stores.files import rewritten
from tests.stores.published.forms import FORMS, images, images_for, laid_out, write_published
from tests.stores.test_descriptor_store import NAMES, create, fill

LISTED = ImageList(NAMES)


def findings(path: Path, listed: ImageList | None = LISTED) -> list[str]:
    report = Report()
    check_store(path, listed, report)
    return [what for _, what in report.findings]


@pytest.fixture
def native(tmp_path: Path) -> Path:
    path = tmp_path / "tiny_gallery_local.hdf5"
    with create(path) as store:
        fill(store)
    return path


def test_a_sound_store_has_no_faults_and_notes_what_failed(native: Path, monkeypatch) -> None:
    for run_bytes in (1, 1 << 25):
        monkeypatch.setattr(check, "RUN_BYTES", run_bytes)
        for listed in (LISTED, None):
            report = Report()
            check_store(native, listed, report)
            assert report.findings == []
            assert "2 images failed" in report.notes[0][1] and NAMES[2] in report.notes[0][1]
            assert report.notes[1][1].startswith("1 of 9 images have no descriptors: row 4")


def harm(name: str, where: tuple[int, ...], value: object) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        file[name][where] = value

    return change


def delete_mark(file: h5py.File) -> None:
    file.attrs["complete"] = 0


@pytest.mark.parametrize(
    "change, match",
    [
        (harm("descriptors", (5,), 0), "1 images have descriptors of zeros: row 5"),
        (harm("descriptors", (5, 3), 0), "descriptors of zeros: row 5"),
        (harm("descriptors", (5, 3, 1), np.nan), "NaN or infinite descriptors: row 5"),
        (harm("weight", (5, 3), 99), "weights that are not sorted, or NaN: row 5"),
        (harm("weight", (5, 6), np.nan), "weights that are not sorted, or NaN: row 5"),
        (harm("xy", (5, 0, 1), 1.5), "positions outside the image: row 5"),
        (harm("xy", (5, 0, 1), np.nan), "positions outside the image: row 5"),
        (harm("count", (5,), 99), "row 5"),
        (harm("status", (5,), 0), "status 0"),
        (delete_mark, "not complete: 9 of 9 rows"),
    ],
)
@pytest.mark.parametrize("run_bytes", [1, 1 << 25])
def test_a_fault_of_a_native_store_is_found(
    native: Path, change: Callable[[h5py.File], None], match: str, run_bytes: int, monkeypatch
) -> None:
    monkeypatch.setattr(check, "RUN_BYTES", run_bytes)
    with rewritten(native) as file:
        change(file)
    found = findings(native)
    assert len(found) == 1 and match in found[0], found


def test_what_lies_beyond_the_count_is_no_fault(native: Path) -> None:
    with rewritten(native) as file:
        row = int(np.flatnonzero((file["count"][:] < 6) & (file["status"][:] == 1))[0])
        file["descriptors"][row, 6] = np.nan
        file["weight"][row, 6] = 99
        file["xy"][row, 6] = -1
    assert findings(native) == []


def test_faults_of_several_rows_are_counted_together(native: Path) -> None:
    with rewritten(native) as file:
        for row in (0, 1, 3, 5, 6):
            file["descriptors"][row] = 0
    (found,) = findings(native)
    assert found.startswith("5 images have descriptors of zeros") and found.endswith("…")


def test_another_list_is_found_with_the_first_row_that_differs(native: Path) -> None:
    (found,) = findings(native, ImageList((*NAMES[:3], "other.jpg", *NAMES[4:])))
    assert "row 3" in found and "other.jpg" in found and NAMES[3] in found
    (found,) = findings(native, ImageList(NAMES[:8]))
    assert "9 names, the image list 8" in found


def test_what_is_no_store_is_one_finding(tmp_path: Path) -> None:
    path = tmp_path / "s.hdf5"
    path.write_bytes(b"not HDF5")
    (found,) = findings(path)
    assert "cannot be opened" in found


def test_a_store_of_failures_is_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "s.hdf5"
    with create(path) as store:
        for name in NAMES:
            store.mark_failed(name, "no such file")
    assert findings(path) == ["every image failed in extraction"]


def test_missing_and_replaced_shards_are_found(tmp_path: Path) -> None:
    shards = sharded(tmp_path, 3)
    path = merge_stores(shards, tmp_path / "v.hdf5", NAMES, how="virtual")
    assert findings(path) == []
    shutil.copy(shards[0], shards[1])  # of the right form, with other images
    replaced = [what for what in findings(path) if "as a chunk of" in what]
    assert len(replaced) == 1 and "row 0" in replaced[0]
    shards[1].unlink()
    (found,) = findings(path)
    assert shards[1].name in found and "rows 3 to 5 would be zeros" in found


PLAIN = ImageList(tuple(f"{i}.jpg" for i in range(9)))


@pytest.mark.parametrize("chunks", [0, 3])
@pytest.mark.parametrize("form", FORMS)
def test_sound_published_stores_have_no_faults(tmp_path: Path, form: str, chunks: int) -> None:
    path = write_published(tmp_path / "s.hdf5", images_for(form), form, chunks)
    assert findings(path, PLAIN) == findings(path, None) == []


def column(number: int, value: float) -> Callable[[np.ndarray], None]:
    def change(values: np.ndarray) -> None:
        values[2, 0, number] = value

    return change


def hole(values: np.ndarray) -> None:
    values[2] = 0


def unmasked(values: np.ndarray) -> None:
    values[2, :, 3] = [1, 0, 0, 0, 0, 0]
    values[2, :, 4] = 1
    values[2, :, 5:] = 1


@pytest.mark.parametrize(
    "change, match",
    [
        (column(2, 0.5), "scales that are no numbers"),
        (column(3, 0.5), "a mask that is neither 0 nor 1"),
        (column(3, np.nan), "a mask that is neither 0 nor 1"),
        (column(4, -1), "weights that are not sorted"),
        (column(7, np.inf), "NaN or infinite descriptors"),
        (hole, "nothing but zeros"),
        (unmasked, "padding before real descriptors"),
    ],
)
def test_a_fault_of_a_published_store_is_found(
    tmp_path: Path, change: Callable[[np.ndarray], None], match: str
) -> None:
    given = images()
    given.count[2] = 6
    given.weight[2] = 3
    given.descriptors[2] = 1
    values = laid_out(given, "flat float32")
    change(values)
    with h5py.File(tmp_path / "s.hdf5", "w") as file:
        file["features"] = values
    found = findings(tmp_path / "s.hdf5", PLAIN)
    assert any(f"1 images have {match}" in what and "row 2" in what for what in found), found


@pytest.mark.parametrize("number, value", [(0, 1.5), (0, -0.25), (1, np.nan), (1, 900)])
def test_positions_outside_the_image_are_a_note_of_a_published_store(
    tmp_path: Path, number: int, value: float
) -> None:
    given = images()
    given.count[2] = 6
    given.descriptors[2] = 1
    values = laid_out(given, "flat float32")
    values[2, 3, number] = value
    with h5py.File(tmp_path / "s.hdf5", "w") as file:
        file["features"] = values
    report = Report()
    check_store(tmp_path / "s.hdf5", PLAIN, report)
    assert report.findings == []
    (said,) = [said for _, said in report.notes if "outside" in said]
    assert "1 images have positions outside the image: row 2" in said and "unknown" in said


def test_a_published_store_with_another_number_of_rows_is_found(tmp_path: Path) -> None:
    path = write_published(tmp_path / "s.hdf5", images(), "flat float16")
    (found,) = findings(path, ImageList(PLAIN.names[:5]))
    assert "9 rows and the image list 5" in found


# ---------------------------------------------------------------- a whole data set


@pytest.fixture
def files(tiny_world: TinyWorld, tmp_path: Path) -> DatasetFiles:
    shutil.copytree(tiny_world.folder(), tmp_path / "synthetic")
    return DatasetFiles(tmp_path, "synthetic", "synthetic", "sift", "page")


def of_dataset(files: DatasetFiles) -> list[tuple[str, str]]:
    return check_dataset(files, ["query", "gallery"], "vlad").findings


def test_a_sound_data_set_has_no_faults(files: DatasetFiles) -> None:
    report = check_dataset(files, ["query", "gallery"], "vlad")
    assert report.findings == []


def test_absent_lists_and_truth_are_notes_and_absent_stores_an_error(files: DatasetFiles) -> None:
    files.neighbors("vlad").unlink()
    files.ground_truth().unlink()
    report = check_dataset(files, ["query", "gallery"], "vlad")
    assert report.findings == [] and len(report.notes) == 2
    files.local("query").unlink()
    with pytest.raises(MissingFile, match="local descriptors"):
        check_dataset(files, ["query", "gallery"], "vlad")


def test_ids_out_of_range_are_found(files: DatasetFiles) -> None:
    path = files.neighbors("vlad")
    with rewritten(path) as file:
        file["ids"][1, 2] = 4000
    ((where, what),) = of_dataset(files)
    assert where == str(path) and "4000" in what


def test_provenance_that_does_not_fit_is_found(files: DatasetFiles) -> None:
    with rewritten(files.local("query")) as file:
        made = json.loads(file.attrs["provenance"]) | {"top_k": 7, "backbone": "other"}
        file.attrs["provenance"] = np.bytes_(json.dumps(made))
    said = [what for _, what in of_dataset(files)]
    assert len(said) == 2 and "backbone is 'other'" in said[0] and "top_k is 7" in said[1]


def test_a_list_that_changed_is_found_everywhere_it_matters(files: DatasetFiles) -> None:
    path = files.image_list("gallery")
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[1:], lines[0]]) + "\n")
    found = dict(of_dataset(files))
    assert str(files.local("gallery")) in found and str(files.neighbors("vlad")) in found
    path.write_text(lines[0] + "\n" + lines[0] + "\n")
    assert any("listed twice" in what for _, what in of_dataset(files))


def test_ground_truth_that_names_nobody_is_found(files: DatasetFiles) -> None:
    path = files.ground_truth()
    name = read_image_list(files.image_list("gallery")).names[0]
    text = path.read_text()
    assert name in text
    path.write_text(text.replace(f'"{name}"', '"nobody.jpg"'))
    ((where, what),) = of_dataset(files)
    assert where == str(path) and "nobody.jpg" in what


def test_two_lists_of_one_kind_are_found(files: DatasetFiles) -> None:
    (files.root / "nn_vlad.pkl").touch()
    ((_, what),) = of_dataset(files)
    assert "there twice" in what and "neighbors=" in what


def test_a_training_set_is_checked_too(tiny_world: TinyWorld) -> None:
    files = DatasetFiles(tiny_world.root, "synthetic-train", "synthetic-train", "sift", "page")
    assert check_dataset(files, ["train"], "vlad").findings == []


def test_damaged_files_are_listed_and_the_others_looked_at(
    files: DatasetFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["dataset=synthetic", "desc_name=sift", f"data_root={files.data_root}"]
    assert main_of("check_store")(given) == 0
    damaged = [files.local("query"), files.local("gallery"), files.neighbors("vlad")]
    for path in damaged:
        content = bytearray(path.read_bytes())
        content[200] ^= 1
        path.write_bytes(content)
    capsys.readouterr()
    assert main_of("check_store")(given) == 3
    said = capsys.readouterr().out
    assert "3 faults" in said and said.count("the file is damaged") == 3
    assert all(f"found: {path}" in said for path in damaged)
