"""The laws of chosen clusters: by what they tell, in numbers and on images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ames_lite.classification.data import assigned, choose_clusters, cluster_shares
from ames_lite.classification.pictures import IMAGE, TINT, tinted
from ames_lite.errors import ConfigError
from ames_lite.extraction.aggregators import Vlad
from ames_lite.records import LocalDescriptors
from ames_lite.stores.fitted import write_vocabulary


def local(descriptors: np.ndarray, xy: np.ndarray | None = None) -> LocalDescriptors:
    k = len(descriptors)
    xy = np.full((k, 2), 0.5, "f4") if xy is None else xy.astype("f4")
    return LocalDescriptors(
        descriptors.astype("f4"), xy, np.zeros(k, "u1"), np.ones(k, "f4"), (40, 60)
    )


def test_shares_are_those_of_the_nearest_centroids(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / "vlad_x_y.npz"
    made = {"distance": "euclidean", "unit": False}
    centroids = rng.standard_normal((4, 5)).astype("f4")
    vlad = Vlad(write_vocabulary(path, centroids, made))
    images = [local(rng.standard_normal((n, 5))) for n in (7, 1, 0)]
    shares = cluster_shares(images, vlad)
    for image, row in zip(images, shares, strict=True):
        own = [int(np.argmin(((d - centroids) ** 2).sum(1))) for d in image.descriptors]
        assert assigned(image, vlad).tolist() == own
        wanted = np.bincount(own, minlength=4) / max(len(own), 1) if own else np.zeros(4)
        np.testing.assert_allclose(row, wanted)


def test_the_clusters_that_tell_the_class_are_chosen() -> None:
    pytest.importorskip("sklearn")
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 20)
    shares = rng.random((60, 8))
    shares[:, 5] = labels + 0.1 * rng.random(60)
    shares[:, 2] = (labels == 1) + 0.3 * rng.random(60)
    assert choose_clusters(shares, labels, 2, seed=0) == [5, 2]
    assert choose_clusters(shares, labels, 8, seed=0)[:2] == [5, 2]
    assert choose_clusters(shares, labels, [7, 0], seed=0) == [7, 0]


@pytest.mark.parametrize("wanted", [0, 9, [], [8], [-1], [1, 1]])
def test_clusters_that_do_not_exist_are_refused(wanted: int | list[int]) -> None:
    with pytest.raises(ConfigError, match="clusters="):
        choose_clusters(np.zeros((4, 8)), np.arange(4), wanted, seed=0)


def test_patches_of_chosen_clusters_are_tinted_and_nothing_else() -> None:
    y, x = np.mgrid[0:4, 0:6]
    xy = np.stack([(x.ravel() + 0.5) / 6, (y.ravel() + 0.5) / 4], axis=1).astype("f4")
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8)
    own = (x.ravel() >= 3).astype(np.int64)  # cluster 1 is the right half
    colours = np.array([[np.nan] * 3, [1.0, 0.5, 0.0]])
    found = tinted(image, xy, own, colours)
    np.testing.assert_array_equal(found[:, :30], image[:, :30])
    wanted = IMAGE * image[:, 30:] + TINT * 255 * np.array([1, 0.5, 0])
    np.testing.assert_array_equal(found[:, 30:], wanted.round().astype(np.uint8))
    assert (IMAGE, TINT) == (0.6, 0.4)


def test_places_without_a_descriptor_stay_as_they_are() -> None:
    image = np.full((40, 60, 3), 100, np.uint8)
    xy = np.array([[0.05, 0.05], [0.1, 0.05], [0.05, 0.1]], "f4")
    found = tinted(image, xy, np.zeros(3, np.int64), np.ones((1, 3)))
    assert (found != image).any() and (found[20:, 30:] == image[20:, 30:]).all()
    assert tinted(image, xy[:1], np.zeros(1, np.int64), np.ones((1, 3))) is image
