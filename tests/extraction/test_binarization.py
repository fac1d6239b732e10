"""The laws of bits: fitted by seed, packed image by image as the layer of the heads would."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ames_lite.errors import BadInput
from ames_lite.extraction.descriptors import BinaryCode
from ames_lite.extraction.fitting import fit_binarization, sample_evenly
from ames_lite.models.binarization import Binarization, fit_itq, pack_bits
from ames_lite.records import LocalDescriptors
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.fitted import read_binarization

NAMES = tuple(f"{i}.jpg" for i in range(40))
K, D = 12, 32


def image(row: int, dim: int = D) -> LocalDescriptors:
    rng = np.random.default_rng(row)
    count = 0 if row == 3 else int(rng.integers(4, K + 1))
    values = rng.standard_normal((count, dim)) + 0.3
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    weight = -np.sort(-rng.random(count, dtype=np.float32))
    xy, scale = rng.random((count, 2), dtype=np.float32), np.zeros(count, np.uint8)
    return LocalDescriptors(values.astype(np.float16), xy, scale, weight, (10, 10))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> DescriptorStore:
    path = tmp_path_factory.mktemp("store") / "tiny_local.hdf5"
    with DescriptorStore.create(path, NAMES, K, D, "float16", {"backbone": "tiny"}) as writer:
        for row, name in enumerate(NAMES):
            writer.append(name, image(row))
    return DescriptorStore.open(path)


def test_the_file_holds_itq_of_the_sample(store: DescriptorStore, tmp_path: Path) -> None:
    path = fit_binarization(store.path, tmp_path / "itq.npz", bits=16, seed=4)
    projection, made = read_binarization(path)
    everything, valid = store.read_descriptors(range(len(store)))
    sample = torch.from_numpy(everything[valid].astype(np.float32))
    wanted = fit_itq(sample, 16, torch.Generator().manual_seed(4))
    np.testing.assert_array_equal(projection, wanted.numpy())
    assert made["backbone"] == "tiny" and made["bits"] == 16 and made["images"] == 40
    again = fit_binarization(store.path, tmp_path / "again.npz", bits=16, seed=4)
    assert again.read_bytes() == path.read_bytes()


def test_the_sample_is_spread_and_bounded(store: DescriptorStore) -> None:
    sample, rows = sample_evenly(store, 10, 55, seed=0)
    assert len(rows) == 10 and (rows[0], rows[-1]) == (0, 39) and len(sample) <= 55
    whole, _ = sample_evenly(store, 100, 10_000, seed=0)
    assert len(whole) == store.count.sum()
    np.testing.assert_array_equal(sample, sample_evenly(store, 10, 55, seed=0)[0])


def test_images_that_failed_are_not_sampled(tmp_path: Path) -> None:
    path = tmp_path / "tiny_local.hdf5"
    with DescriptorStore.create(path, NAMES, K, D, "float16", {}) as writer:
        for row, name in enumerate(NAMES):
            if row % 2:
                writer.mark_failed(name, "broken")
            else:
                writer.append(name, image(row))
    opened = DescriptorStore.open(path)
    sample, rows = sample_evenly(opened, 10, 1000, seed=0)
    assert len(rows) == 10 and not (rows % 2).any() and len(sample) == opened.count[rows].sum()


def test_packed_bits_are_the_signs_that_the_layer_gives(
    store: DescriptorStore, tmp_path: Path
) -> None:
    code = BinaryCode.load(fit_binarization(store.path, tmp_path / "itq.npz", bits=16))
    layer = Binarization(D, 16).eval()
    layer.W.data.copy_(code.projection)
    for row in range(len(store)):
        given = store.read(row)
        packed = code.pack(given)
        with torch.no_grad():
            signs = layer(torch.from_numpy(given.descriptors.astype(np.float32)))
        np.testing.assert_array_equal(packed.descriptors, pack_bits(signs).numpy())
        np.testing.assert_array_equal(packed.xy, given.xy)
        np.testing.assert_array_equal(packed.weight, given.weight)
        assert packed.size == given.size


def test_a_packed_store_takes_what_was_packed(store: DescriptorStore, tmp_path: Path) -> None:
    code = BinaryCode.load(fit_binarization(store.path, tmp_path / "itq.npz", bits=16))
    made = {**store.provenance, **code.provenance}
    path = tmp_path / "bits.hdf5"
    with DescriptorStore.create(path, NAMES, K, code.bits, "uint8", made) as writer:
        for row, name in enumerate(NAMES):
            writer.append(name, code.pack(store.read(row)))
    packed = DescriptorStore.open(path)
    assert packed.packed and packed.dim == 16
    assert packed.provenance["bits"] == 16 and len(packed.provenance["binarization"]) == 64
    # similar stays similar: bits that agree, against the cosine
    a, valid = store.read_descriptors(range(12))
    floats = a[valid].astype(np.float32)
    bits = np.unpackbits(packed.read_descriptors(range(12))[0][valid], axis=1) * 2.0 - 1
    off = ~np.eye(len(floats), dtype=bool)
    assert np.corrcoef((floats @ floats.T)[off], (bits @ bits.T)[off])[0, 1] > 0.4


def test_what_does_not_fit_is_refused(store: DescriptorStore, tmp_path: Path) -> None:
    path = fit_binarization(store.path, tmp_path / "itq.npz", bits=16)
    code = BinaryCode.load(path)
    code.check({"backbone": "tiny"}, D)
    with pytest.raises(BadInput, match="the binarization 32"):
        code.check({"backbone": "tiny"}, 64)
    with pytest.raises(BadInput, match="backbone is 'tiny'"):
        code.check({"backbone": "other"}, D)
    for bits in (0, 12, 64):
        with pytest.raises(BadInput, match="bits is"):
            fit_binarization(store.path, tmp_path / "no.npz", bits=bits)
    with pytest.raises(BadInput, match="exists already"):
        fit_binarization(store.path, path, bits=16)
