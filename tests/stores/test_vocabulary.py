"""The laws of vocabularies on disk: no pickle, no NaN, provenance as it was given."""

from pathlib import Path

import numpy as np
import pytest

from ames_lite.errors import BadInput, MissingFile
from ames_lite.stores.fitted import (
    ImagesOf,
    read_vocabulary,
    read_vocabulary_images,
    write_vocabulary,
)
from tests.stores.files import open_vocabulary

CENTROIDS = np.random.default_rng(0).standard_normal((4, 6))


def test_what_is_written_is_read_as_float32(tmp_path: Path) -> None:
    path = write_vocabulary(tmp_path / "vlad_tiny_urban.npz", CENTROIDS, {"domain": "ürban"})
    centroids, provenance = read_vocabulary(path)
    assert path.name == "vlad_tiny_urban.npz" and centroids.dtype == np.float32
    np.testing.assert_array_equal(centroids, CENTROIDS.astype(np.float32))
    assert provenance == {"domain": "ürban", "distance": "euclidean", "unit": False}
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_bad_centroids_are_never_written(tmp_path: Path) -> None:
    for bad in (CENTROIDS[0], CENTROIDS[:0], CENTROIDS * np.nan, CENTROIDS.astype(int)):
        with pytest.raises(BadInput, match="centroids") as error:
            write_vocabulary(tmp_path / "v.npz", bad, {})
        assert "v.npz" in str(error.value) and "remedy" in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_damaged_files_are_refused_with_path_and_remedy(tmp_path: Path) -> None:
    path = write_vocabulary(tmp_path / "v.npz", CENTROIDS, {})
    whole = path.read_bytes()
    np.savez(tmp_path / "other.npz", values=CENTROIDS)
    np.savez(tmp_path / "pickled.npz", centroids=np.array([{}], dtype=object), provenance=b"{}")
    np.save(tmp_path / "plain.npy", CENTROIDS)
    json_list = np.frombuffer(b"[1]", np.uint8)
    np.savez(tmp_path / "list.npz", centroids=CENTROIDS, provenance=json_list)
    damaged = [whole[: len(whole) // 2], b"", b"text"]
    damaged += [(tmp_path / n).read_bytes() for n in ("other.npz", "pickled.npz", "list.npz")]
    damaged += [(tmp_path / "plain.npy").read_bytes()]
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(BadInput, match="cannot be read") as error:
            read_vocabulary(path)
        assert str(path) in str(error.value) and "build the vocabulary" in str(error.value)
    with pytest.raises(MissingFile, match="build the vocabulary"):
        read_vocabulary(tmp_path / "no.npz")


def test_a_vocabulary_is_not_replaced_unasked(tmp_path: Path) -> None:
    path = write_vocabulary(tmp_path / "v.npz", CENTROIDS, {})
    with pytest.raises(BadInput, match="overwrite"):
        write_vocabulary(path, CENTROIDS, {})
    write_vocabulary(path, CENTROIDS + 1, {}, overwrite=True)
    np.testing.assert_allclose(read_vocabulary(path)[0], CENTROIDS + 1, rtol=1e-6)


def test_a_vocabulary_remembers_how_it_is_used(tmp_path: Path) -> None:
    made = {"distance": "cosine", "unit": True}
    found = open_vocabulary(write_vocabulary(tmp_path / "v.npz", CENTROIDS, made))
    assert (found.distance, found.unit, found.provenance) == ("cosine", True, made)
    old = open_vocabulary(write_vocabulary(tmp_path / "old.npz", CENTROIDS, {}))
    assert (old.distance, old.unit) == ("euclidean", False)
    for wrong in ({"distance": "manhattan"}, {"unit": 1}):
        path = write_vocabulary(tmp_path / "v.npz", CENTROIDS, wrong, overwrite=True)
        with pytest.raises(BadInput, match="euclidean or cosine") as error:
            read_vocabulary(path)
        assert str(path) in str(error.value)


def test_the_list_of_images_comes_back(tmp_path: Path) -> None:
    images = (ImagesOf("baidu", 1, ("a/ü, 1.jpg", "b\udcff.jpg")), ImagesOf("pitts30k", 4, ()))
    path = write_vocabulary(tmp_path / "v.npz", CENTROIDS, {}, images=images)
    assert read_vocabulary_images(path) == images
    np.savez(tmp_path / "old.npz", centroids=CENTROIDS, provenance=np.frombuffer(b"{}", np.uint8))
    with pytest.raises(BadInput, match="cannot be read: .*images"):
        read_vocabulary_images(tmp_path / "old.npz")
    broken = np.frombuffer(b'[{"dataset": "a"}]', np.uint8)
    empty = np.frombuffer(b"{}", np.uint8)
    np.savez(tmp_path / "broken.npz", images=broken, provenance=empty)
    with pytest.raises(BadInput, match="JSON"):
        read_vocabulary_images(tmp_path / "broken.npz")
