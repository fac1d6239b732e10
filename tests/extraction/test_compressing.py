"""Stores with product codes: smaller, read like others, joined with their like alone."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from ames_lite.datasets.check import Report, check_store
from ames_lite.errors import BadInput
from ames_lite.extraction.fitting import compress_store, fit_codebook, is_compressed
from ames_lite.records import LocalDescriptors
from ames_lite.retrieval.product_codes import Codebook, decode, encode
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.merging import join_stores

NAMES = tuple(f"{i}.jpg" for i in range(8))
K, D, C = 60, 16, 4
MADE = {"backbone": "tiny"}
FAILED, EMPTY = 2, 5


def image(row: int) -> LocalDescriptors:
    rng = np.random.default_rng(row)
    count = 0 if row == EMPTY else K - row
    values = rng.standard_normal((count, D)).astype(np.float16)
    xy, scale = rng.random((count, 2), np.float32), np.zeros(count, np.uint8)
    return LocalDescriptors(values, xy, scale, -np.sort(-rng.random(count, np.float32)), (9, 9))


def write(path: Path, names: tuple[str, ...] = NAMES) -> Path:
    with DescriptorStore.create(path, names, K, D, "float16", MADE) as store:
        for row, name in enumerate(names):
            if row == FAILED:
                store.mark_failed(name, "cut short")
            else:
                store.append(name, image(row))
    return path


def codebook_of(path: Path) -> Codebook:
    with DescriptorStore.open(path) as store:
        return fit_codebook(store, C)


@pytest.fixture
def stores(tmp_path: Path) -> tuple[Path, Path, Codebook]:
    """A store, the same one compressed, and its codebook."""
    path, small = write(tmp_path / "float.hdf5"), write(tmp_path / "small.hdf5")
    codebook = codebook_of(path)
    compress_store(small, codebook)
    return path, small, codebook


def test_what_is_read_are_the_centroids(stores: tuple[Path, Path, Codebook]) -> None:
    path, small, codebook = stores
    assert is_compressed(small) and not is_compressed(path)
    with DescriptorStore.open(path) as whole, DescriptorStore.open(small) as coded:
        assert (coded.dim, coded.dtype, coded.packed) == (D, np.float16, False)
        assert coded.names == whole.names and coded.reason(FAILED) == "cut short"
        np.testing.assert_array_equal(coded.count, whole.count)
        rows = [3, 0, FAILED, EMPTY, 3]
        for count in (None, 7):
            given, valid = whole.read_descriptors(rows, count)
            found, also = coded.read_descriptors(rows, count)
            np.testing.assert_array_equal(valid, also)
            wanted = decode(codebook, encode(codebook, given[valid]))
            np.testing.assert_array_equal(found[valid], wanted)
        one, other = whole.read(4, 9), coded.read(4, 9)
        np.testing.assert_array_equal(one.xy, other.xy)
        np.testing.assert_array_equal(other.descriptors, coded.read_descriptors([4], 9)[0][0])
        assert coded.read(EMPTY).count == 0


def test_codes_are_nearer_than_those_of_any_one_centroid(
    stores: tuple[Path, Path, Codebook],
) -> None:
    path, small, _ = stores
    with DescriptorStore.open(path) as whole, DescriptorStore.open(small) as coded:
        given, found = (store.read(0).descriptors.astype(np.float32) for store in (whole, coded))
    assert ((given - found) ** 2).sum() < 0.3 * ((given - given.mean(0)) ** 2).sum()


def test_a_compressed_store_is_checked_and_verified(stores: tuple[Path, Path, Codebook]) -> None:
    path, small, _ = stores
    reports = []
    for store in (path, small):
        check_store(store, None, report := Report())
        reports.append([what for _, what in report.findings])
    assert reports[0] == reports[1]
    with h5py.File(small, "r+") as file:
        file["codebook"][1, 2, 0] += 1
    with pytest.raises(BadInput, match="'codebook' was changed"):
        DescriptorStore.open(small)


def test_stores_of_one_codebook_are_joined(
    stores: tuple[Path, Path, Codebook], tmp_path: Path
) -> None:
    path, small, codebook = stores
    second = write(tmp_path / "second.hdf5", ("a.jpg", "b.jpg"))
    compress_store(second, codebook)
    for linked in (False, True):
        joined = tmp_path / f"joined_{linked}.hdf5"
        with DescriptorStore.open(small) as one, DescriptorStore.open(second) as two:
            join_stores([one, two], joined, linked=linked)
            with DescriptorStore.open(joined) as both:
                found = both.read_descriptors([1, 9])[0]
            np.testing.assert_array_equal(found[0], one.read_descriptors([1])[0][0])
            np.testing.assert_array_equal(found[1], two.read_descriptors([1])[0][0])
    with DescriptorStore.open(small) as one, DescriptorStore.open(path) as floats:
        with pytest.raises(BadInput, match="codebook is"):
            join_stores([one, floats], tmp_path / "no.hdf5")


def test_what_cannot_be_compressed_is_refused(
    stores: tuple[Path, Path, Codebook], tmp_path: Path
) -> None:
    path, small, codebook = stores
    with pytest.raises(BadInput, match="product codes already"):
        compress_store(small, codebook)
    few = write(tmp_path / "few.hdf5", ("a.jpg",))
    with pytest.raises(BadInput, match="60 descriptors are too few"):
        codebook_of(few)
    with DescriptorStore.open(path) as store, pytest.raises(BadInput, match="code_bytes is 5"):
        fit_codebook(store, 5)
    bits = tmp_path / "bits.hdf5"
    with DescriptorStore.create(bits, NAMES[:1], K, D, "uint8", MADE) as writer:
        writer.mark_failed(NAMES[0], "cut short")
    with pytest.raises(BadInput, match="packed"):
        compress_store(bits, codebook)


def test_an_interrupted_run_leaves_the_store_as_it_was(
    stores: tuple[Path, Path, Codebook], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _, codebook = stores
    before = path.read_bytes()

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compress_store(path, codebook, stop)
    assert path.read_bytes() == before
    assert [found.name for found in path.parent.glob("*.partial")] == []
