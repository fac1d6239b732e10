"""Laws of the baselines, on planted descriptors."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from ames_lite.errors import BadInput
from ames_lite.records import LocalDescriptors
from ames_lite.reranking.verification import MutualNearest, Ransac, mutual_matches


def an_image(descriptors: np.ndarray, xy: np.ndarray, size: tuple[int, int]) -> LocalDescriptors:
    unit = descriptors / np.linalg.norm(descriptors, axis=1, keepdims=True)
    weight = np.linspace(1, 0.5, len(unit), dtype=np.float32)
    scale = np.zeros(len(unit), np.uint8)
    return LocalDescriptors(unit.astype(np.float32), xy.astype(np.float32), scale, weight, size)


def a_pair(moved: int, noise: float = 0.0, seed: int = 0) -> tuple[LocalDescriptors, ...]:
    """Two images of the same 40 descriptors; those behind `moved` lie elsewhere in the second."""
    rng = np.random.default_rng(seed)
    values, xy = rng.normal(size=(40, 16)), rng.uniform(0.2, 0.8, (40, 2))
    homography = np.array([[0.8, 0.1, 20], [-0.1, 0.9, 15], [1e-4, 2e-4, 1.0]])
    points = (xy * [400, 300])[None]
    there = cv2.perspectiveTransform(points, homography)[0] / [400, 300]
    there[moved:] = rng.uniform(0, 1, (40 - moved, 2))
    order = rng.permutation(40)
    other = values[order] + noise * rng.normal(size=(40, 16))
    return (
        an_image(values, xy, (300, 400)),
        an_image(other, np.clip(there[order], 0, 1), (300, 400)),
    )


def test_mutual_matches_are_those_of_the_referee() -> None:
    rng = np.random.default_rng(1)
    a, b = (an_image(rng.normal(size=(n, 8)), rng.uniform(0, 1, (n, 2)), (9, 9)) for n in (30, 25))
    cosines = np.asarray(a.descriptors) @ np.asarray(b.descriptors).T
    expected = [
        (i, j)
        for i in range(30)
        for j in range(25)
        if cosines[i, j] == cosines[i].max() and cosines[i, j] == cosines[:, j].max()
    ]
    found = mutual_matches(a, b)
    assert list(zip(found.query.tolist(), found.gallery.tolist(), strict=True)) == expected


def test_ransac_counts_what_one_homography_explains() -> None:
    assert Ransac().score(*a_pair(moved=40)) == 40
    few = Ransac().score(*a_pair(moved=20))
    assert 20 <= few <= 24
    assert MutualNearest(0.9).score(*a_pair(moved=20)) == 40


def test_unknown_positions_are_refused_by_ransac_alone() -> None:
    query, gallery = a_pair(moved=40)
    lost = replace(gallery, xy=np.full_like(gallery.xy, np.nan))
    assert MutualNearest(0.9).score(query, lost) == 40
    for pair in ((query, lost), (lost, query)):
        with pytest.raises(BadInput, match="positions are unknown"):
            Ransac().score(*pair)
    part = gallery.xy.copy()
    part[3] = np.nan
    with pytest.raises(BadInput, match="xy has NaN"):
        replace(gallery, xy=part)


def test_the_same_pair_gives_the_same_count() -> None:
    pair = a_pair(moved=15, noise=0.3)
    assert len({Ransac().score(*pair) for _ in range(5)}) == 1


def test_an_image_without_descriptors_scores_zero() -> None:
    nothing = an_image(np.zeros((0, 16)), np.zeros((0, 2)), (300, 400))
    for verifier in (MutualNearest(), Ransac()):
        assert verifier.score(nothing, a_pair(40)[0]) == verifier.score(nothing, nothing) == 0


@pytest.mark.parametrize("seed", range(4))
def test_no_homography_fits_an_image_of_one_pixel(seed: int) -> None:
    """OpenCV finds one for some places, with which no match agrees."""
    rng = np.random.default_rng(seed)
    sizes = ((600, 200), (1, 1))
    query, pixel = (an_image(np.eye(30), rng.uniform(0, 1, (30, 2)), size) for size in sizes)
    assert Ransac().score(query, pixel) == 0


def test_packed_or_unequal_descriptors_are_refused() -> None:
    image = a_pair(40)[0]
    rng = np.random.default_rng(0)
    with pytest.raises(BadInput, match="one width"):
        mutual_matches(image, an_image(rng.normal(size=(5, 8)), np.zeros((5, 2)), (9, 9)))
    with pytest.raises(BadInput, match="threshold"):
        Ransac(threshold=0)


def spots(rng: np.random.Generator, count: int) -> np.ndarray:
    """`count` places within 4 of 480 pixels of one."""
    return 0.5 + rng.uniform(-4, 4, (count, 2)) / 480


@pytest.mark.parametrize("crowd", [20, 40, 60])
@pytest.mark.parametrize("seed", range(3))
def test_matches_into_one_spot_are_no_more_than_random_ones(crowd: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values, xy, other = rng.normal(size=(60, 32)), *rng.uniform(0, 1, (2, 60, 2))
    other[:crowd] = spots(rng, crowd)
    query, gallery = an_image(values, xy, (480, 480)), an_image(values, other, (480, 480))
    for pair in ((query, gallery), (gallery, query)):
        assert Ransac().score(*pair) <= 6


@pytest.mark.parametrize("seed", range(3))
def test_one_spot_in_both_images_counts_once(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values, xy, other = rng.normal(size=(60, 32)), *rng.uniform(0, 1, (2, 60, 2))
    xy[:30], other[:30] = spots(rng, 30), spots(rng, 30)
    pair = an_image(values, xy, (480, 480)), an_image(values, other, (480, 480))
    assert Ransac().score(*pair) <= 12 and MutualNearest(0.9).score(*pair) == 60


@pytest.mark.parametrize("seed", range(3))
def test_a_true_homography_is_found_beside_a_crowded_spot(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values, xy, other = rng.normal(size=(60, 32)), *rng.uniform(0, 1, (2, 60, 2))
    other[:15], other[15:40] = 0.15 + 0.7 * xy[:15], spots(rng, 25)
    query, gallery = an_image(values, xy, (480, 480)), an_image(values, other, (480, 480))
    for pair in ((query, gallery), (gallery, query)):
        assert 14 <= Ransac().score(*pair) <= 18
