"""The laws of published stores: each form reads like a native store of the same images."""

import pickle
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from ames_lite.errors import BadInput, MissingFile
from ames_lite.records import LocalDescriptors
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.published.store import PublishedStore, is_published, open_store
from tests.stores.published.forms import (
    FORMS,
    VIRTUAL,
    Images,
    images,
    images_for,
    laid_out,
    write_published,
)

NAMES = tuple(f"jpg/{i}.jpg" for i in range(9))


def native(path: Path, given: Images) -> DescriptorStore:
    """The referee: the same images in a native store."""
    packed = given.descriptors.dtype == np.uint8
    dim = given.descriptors.shape[2] * (8 if packed else 1)
    kind = "uint8" if packed else "float16"
    with DescriptorStore.create(path, NAMES, 6, dim, kind, {}) as store:
        for row, name in enumerate(NAMES):
            k = np.s_[row, : given.count[row]]
            parts = (given.descriptors[k], given.xy[k], given.scale[k], given.weight[k])
            store.append(name, LocalDescriptors(*parts, size=(1, 1)))
    return DescriptorStore.open(path)


def opened(tmp_path: Path, form: str, chunks: int = 0) -> tuple[DescriptorStore, Images]:
    given = images_for(form)
    path = write_published(tmp_path / "dinov2_gallery_local.hdf5", given, form, chunks)
    return open_store(path, NAMES), given


@pytest.mark.parametrize("chunks", [0, 3])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_reads_like_a_native_store(tmp_path: Path, form: str, chunks: int) -> None:
    store, given = opened(tmp_path, form, chunks)
    referee = native(tmp_path / "native.hdf5", given)
    assert isinstance(store, PublishedStore) and store.names == NAMES and len(store) == 9
    assert (store.dim, store.max_count, store.packed) == (16, 6, referee.packed)
    for rows in ([3, 0, 3, 8], range(9), []):
        for limit in (None, 1, 4, 100):
            descriptors, valid = store.read_descriptors(rows, limit)
            wanted, wanted_valid = referee.read_descriptors(rows, limit)
            if form == "bits":  # without a mask all are real
                np.testing.assert_array_equal(descriptors[wanted_valid], wanted[wanted_valid])
                assert valid.all()
                continue
            np.testing.assert_array_equal(valid, wanted_valid)
            np.testing.assert_array_equal(descriptors[valid], wanted[valid])
    if form != "bits":
        np.testing.assert_array_equal(store.count, referee.count)
        for row in range(9):
            for limit in (None, 2):
                one, other = store.read(row, limit), referee.read(row, limit)
                for name in ("descriptors", "xy", "scale", "weight"):
                    np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


@pytest.mark.parametrize("chunks", [0, 3])
@pytest.mark.parametrize("form", FORMS)
def test_images_without_descriptors_are_known(tmp_path: Path, form: str, chunks: int) -> None:
    store, given = opened(tmp_path, form, chunks)
    expected = store.count > 0
    assert np.array_equal(store.has_descriptors, expected)
    assert expected.all() == (form == "bits") and not (given.count > 0).all()
    assert np.array_equal(native(tmp_path / "n.hdf5", given).has_descriptors, given.count > 0)


def test_a_row_that_begins_with_padding_has_descriptors_all_the_same(tmp_path: Path) -> None:
    path = write_published(tmp_path / "x_local.hdf5", images(), "flat float16")
    with h5py.File(path, "r+") as file:
        row = int((images().count > 1).argmax())
        file["features"][row, 0, 3] = 1
    assert open_store(path, NAMES).has_descriptors[row]


def test_float32_stays_float32(tmp_path: Path) -> None:
    store, _ = opened(tmp_path, "flat float32")
    assert store.read_descriptors([0])[0].dtype == store.read(0).descriptors.dtype == np.float32


def test_the_first_two_columns_are_swapped(tmp_path: Path) -> None:
    store, _ = opened(tmp_path, "flat float32")
    with h5py.File(store.path) as file:
        first, second = file["features"][0, 0, :2]
    assert store.read(0).xy[0].tolist() == [second, first] and first != second


def test_sizes_come_from_the_list(tmp_path: Path) -> None:
    given = images()
    path = write_published(tmp_path / "s.hdf5", given, "records")
    sizes = np.arange(2, 20).reshape(9, 2)
    assert open_store(path, NAMES, sizes).read(3).size == (8, 9)
    assert open_store(path, NAMES).read(3).size == (1, 1)


def test_provenance_says_what_is_unknown_and_tells_files_apart(tmp_path: Path) -> None:
    store, given = opened(tmp_path, "flat float16")
    assert store.provenance["origin"] == "published, unknown"
    other = write_published(tmp_path / "other.hdf5", given[::-1], "flat float16")
    assert open_store(other, NAMES).provenance != store.provenance


def test_a_native_store_is_opened_as_such(tmp_path: Path) -> None:
    path = native(tmp_path / "n.hdf5", images()).path
    assert not is_published(path)
    assert type(open_store(path, ["another list"])) is DescriptorStore
    with pytest.raises(MissingFile, match="extract the descriptors"):
        open_store(tmp_path / "no.hdf5", NAMES)


def test_the_list_must_have_a_name_a_row(tmp_path: Path) -> None:
    store, _ = opened(tmp_path, "flat float16")
    for names in (NAMES[:8], (*NAMES, "more")):
        with pytest.raises(BadInput, match=f"9 rows and the image list {len(names)}") as error:
            open_store(store.path, names)
        assert str(store.path) in str(error.value)


@pytest.mark.parametrize("form", VIRTUAL)
@pytest.mark.parametrize("harm", ["gone", "moved", "cut short", "renamed inside", "too small"])
def test_a_chunk_that_would_read_as_zeros_is_named(tmp_path: Path, form: str, harm: str) -> None:
    store, given = opened(tmp_path, form, chunks=3)
    store.close()
    chunk = tmp_path / "dinov2_gallery_local_xa1.hdf5"
    if harm == "gone":
        chunk.unlink()
    elif harm == "moved":
        (tmp_path / "elsewhere").mkdir()
        chunk.rename(tmp_path / "elsewhere" / chunk.name)
    elif harm == "cut short":
        chunk.write_bytes(chunk.read_bytes()[:1000])
    else:
        name = "other" if harm == "renamed inside" else "features"
        with h5py.File(chunk, "w") as file:
            file[name] = laid_out(given[3:5], form)
    if harm in ("gone", "moved", "renamed inside"):  # this is why: zeros, and no error
        with h5py.File(store.path) as file:
            assert not file["features"][5:6].tobytes().strip(b"\0")
    with pytest.raises(BadInput, match="rows 3 to 5 would be zeros") as error:
        open_store(store.path, NAMES)
    assert chunk.name in str(error.value) and str(store.path) in str(error.value)


def test_rows_that_no_chunk_holds_are_named(tmp_path: Path) -> None:
    store, given = opened(tmp_path, "flat float16", chunks=3)
    values = laid_out(given, "flat float16")
    layout = h5py.VirtualLayout(values.shape, values.dtype)
    layout[:3] = h5py.VirtualSource("dinov2_gallery_local_xa0.hdf5", "features", values[:3].shape)
    with h5py.File(tmp_path / "hole.hdf5", "w") as file:
        file.create_virtual_dataset("features", layout)
    with pytest.raises(BadInput, match="no chunk holds rows 3 to 8"):
        open_store(tmp_path / "hole.hdf5", NAMES)


def test_a_chunk_is_found_wherever_hdf5_finds_it(tmp_path: Path, monkeypatch) -> None:
    store, given = opened(tmp_path, "flat float16", chunks=3)
    wanted = store.read_descriptors(range(9))[0]
    store.close()
    apart = tmp_path / "apart"
    apart.mkdir()
    for chunk in tmp_path.glob("*_xa*.hdf5"):
        chunk.rename(apart / chunk.name)
    monkeypatch.setenv("HDF5_VDS_PREFIX", str(apart))
    found = open_store(store.path, NAMES).read_descriptors(range(9))[0]
    np.testing.assert_array_equal(found, wanted)


def test_a_row_of_zeros_is_refused_when_it_is_read(tmp_path: Path) -> None:
    for form in FORMS:
        given = images_for(form)
        values = laid_out(given, form)
        values[7:8] = np.zeros(1, values.dtype) if values.dtype.names else 0
        path = tmp_path / f"{form}.hdf5"
        with h5py.File(path, "w") as file:
            file["features"] = values
        store = open_store(path, NAMES)
        store.read_descriptors([0, 1, 8])
        with pytest.raises(BadInput, match=r"row 7 \('jpg/7.jpg'\) is all zeros"):
            store.read_descriptors([0, 7])
        with pytest.raises(BadInput, match="row 7"):
            store.read(7)


@pytest.mark.parametrize(
    "values",
    [
        np.zeros((9, 6, 5), np.float16),
        np.zeros((9, 6), np.float16),
        np.zeros((9, 6, 21), np.float64),
        np.zeros((9, 6, 21), np.int16),
        np.zeros((9, 0, 21), np.float16),
        np.zeros(9, [("metadata", "f4", (6, 4)), ("descriptor", "f2", (6, 16))]),
        np.zeros(9, [("metadata", "f4", (5, 5)), ("descriptor", "f2", (6, 16))]),
        np.zeros(9, [("meta", "f4", (6, 5)), ("descriptor", "f2", (6, 16))]),
        np.zeros((9, 6), [("metadata", "f4", (6, 5)), ("descriptor", "f2", (6, 16))]),
    ],
)
def test_other_forms_are_refused(tmp_path: Path, values: np.ndarray) -> None:
    path = tmp_path / "s.hdf5"
    with h5py.File(path, "w") as file:
        file["features"] = values
    with pytest.raises(BadInput, match="features") as error:
        open_store(path, NAMES)
    assert str(path) in str(error.value) and "[N, K, 5+D]" in str(error.value)


def test_what_breaks_the_rules_of_an_image_is_refused_with_its_row(tmp_path: Path) -> None:
    given = images()
    given.weight[3, 0] = 0.0  # weaker than the second
    given.count[3] = 2
    store = open_store(write_published(tmp_path / "s.hdf5", given, "flat float32"), NAMES)
    with pytest.raises(BadInput, match="not sorted") as error:
        store.read(3)
    assert "row 3 ('jpg/3.jpg')" in str(error.value)


@pytest.mark.parametrize("form", ["flat float32", "records", "records of one"])
def test_positions_that_leave_the_image_are_unknown(tmp_path: Path, form: str) -> None:
    """As of queries divided by the size of their crop, and of pixels; nothing else changes."""
    good = images()
    bad = replace(good, xy=good.xy * np.where(np.arange(9) % 2, 4.19, 1.0)[:, None, None])
    sound, store = (
        open_store(write_published(tmp_path / f"{name}.hdf5", given, form), NAMES)
        for name, given in (("good", good), ("bad", bad))
    )
    for row in range(9):
        before, found = sound.read(row), store.read(row)
        np.testing.assert_array_equal(found.descriptors, before.descriptors)
        np.testing.assert_array_equal(found.weight, before.weight)
        leaves = bool((bad.xy[row, : bad.count[row]] > 1).any())
        assert before.placed and found.placed == (not leaves)
        assert np.isnan(found.xy).all() == leaves or found.count == 0
        assert found.strongest(1).placed == found.placed
    for ours, theirs in zip(
        store.read_descriptors(range(9)), sound.read_descriptors(range(9)), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    sound.check_positions([0, 3])
    with pytest.raises(BadInput, match="positions are unknown: those of row 1") as error:
        store.check_positions([0])  # itself inside, in a file that is not
    assert "model=mutual_nn" in str(error.value) and "extract the descriptors" in str(error.value)


def test_bits_have_no_positions(tmp_path: Path) -> None:
    store, _ = opened(tmp_path, "bits")
    with pytest.raises(BadInput, match="no positions"):
        store.read(0)


def test_a_store_survives_a_pickle(tmp_path: Path) -> None:
    store, _ = opened(tmp_path, "records", chunks=2)
    before = store.read_descriptors([1, 5])[0]
    again = pickle.loads(pickle.dumps(store))  # noqa: S301
    np.testing.assert_array_equal(again.read_descriptors([1, 5])[0], before)
    assert again.names == NAMES


@pytest.mark.parametrize("form", ["flat float16", "records"])
def test_a_store_of_some_images_is_read_by_the_rows_of_the_list(tmp_path: Path, form: str) -> None:
    made = images()
    names = [f"{i}.jpg" for i in range(9)]
    order = [7, 2, 5]  # what the store has, in its order
    rows = np.full(9, -1)
    rows[order] = range(3)
    path = write_published(tmp_path / "some.hdf5", made[np.array(order)], form)
    whole = PublishedStore(write_published(tmp_path / "all.hdf5", made, form), names)
    with pytest.raises(BadInput, match="3 rows and the image list 9"):
        PublishedStore(path, names)
    store = PublishedStore(path, names, shortlist=rows)
    assert len(store) == 9 and store.count.tolist() == [
        whole.count[i] if i in order else 0 for i in range(9)
    ]
    for row in order:
        assert np.array_equal(store.read(row).descriptors, whole.read(row).descriptors)
    asked = [5, 7, 5, 2]
    for ours, theirs in zip(
        store.read_descriptors(asked), whole.read_descriptors(asked), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(BadInput, match="'3.jpg' .row 3. is not in the shortlist"):
        store.read_descriptors([5, 3])
    assert store.stored_name(0) == "7.jpg"
    with pytest.raises(BadInput, match="the shortlist names row 3"):
        PublishedStore(path, names, shortlist=np.where(rows == 2, 3, rows))
    listed = np.arange(9)[::-1].copy()
    with pytest.raises(BadInput, match="in another order"):
        PublishedStore(whole.path, names, shortlist=listed)
    assert PublishedStore(whole.path, names, shortlist=np.where(rows < 0, -1, np.arange(9)))
