"""The laws of VLAD: the sum over loops, no order, no batch, a unit vector for every image."""

import numpy as np
import pytest

from ames_lite.errors import BadInput
from ames_lite.retrieval.vlad import aggregate_residuals, vlad, vlad_images
from tests.helpers import shared_file

C, D = 5, 12
RECORDED = [
    -0.0485966, 0.0490311, -0.1472470, 0.2049156, 0.1760449,
    0.1632196, 0.1253791, -0.0525196, -0.2229477, 0.2789370,
    0.1681340, -0.0430308, 0.0000000, 0.0000000, 0.0000000,
    0.0000000, -0.1788914, 0.0577732, 0.3210160, -0.1060573,
]  # fmt: skip


def centroids() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((C, D)).astype(np.float32)


def tokens(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, D)).astype(np.float32)


def referee(descriptors: np.ndarray, centers: np.ndarray) -> np.ndarray:
    blocks = np.zeros(centers.shape)
    for token in descriptors.astype(float):
        distances = [sum((t - c) ** 2 for t, c in zip(token, row, strict=True)) for row in centers]
        nearest = distances.index(min(distances))
        blocks[nearest] += token - centers[nearest]
    for block in blocks:
        if np.linalg.norm(block) > 0:
            block /= np.linalg.norm(block)
    return blocks.ravel() / np.linalg.norm(blocks)


@pytest.mark.parametrize("count", [1, 2, 40])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_vlad_equals_a_loop_over_descriptors(count: int, dtype: str) -> None:
    given = tokens(1, count).astype(dtype)
    found = vlad(given, centroids())
    assert found.shape == (C * D,) and found.dtype == np.float32
    np.testing.assert_allclose(found, referee(given, centroids()), atol=1e-7)


def test_an_empty_cluster_stays_zero() -> None:
    centers = centroids()
    centers[3] = 1e3
    block = vlad(tokens(2, 30), centers).reshape(C, D)[3]
    np.testing.assert_array_equal(block, np.zeros(D))


def test_the_order_of_descriptors_does_not_matter() -> None:
    given = tokens(3, 60)
    for seed in range(5):
        shuffled = np.random.default_rng(seed).permutation(given)
        np.testing.assert_allclose(vlad(shuffled, centroids()), vlad(given, centroids()), atol=1e-7)


def test_neither_batch_nor_padding_changes_a_vector() -> None:
    count = np.array([7, 0, 30, 1])
    padded = np.full((4, 30, D), np.nan, np.float32)
    for n, real in enumerate(count):
        padded[n, :real] = tokens(n, real)
    together = vlad_images(padded, count, centroids())
    for n, real in enumerate(count):
        alone = vlad(tokens(n, real), centroids())
        assert together[n].tobytes() == alone.tobytes()


def test_an_image_without_descriptors_gets_the_constant_unit_vector() -> None:
    found = vlad(tokens(0, 0), centroids())
    np.testing.assert_allclose(found, np.full(C * D, (C * D) ** -0.5), rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(found), 1.0, rtol=1e-6)


def test_residuals_that_cancel_leave_no_noise() -> None:
    center, offset = centroids()[2].astype(float), tokens(4, 11).astype(float) / 7
    around = center + np.concatenate([offset, -offset.sum(axis=0, keepdims=True)])
    assigned = np.full(12, 2)
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(12)
        found = aggregate_residuals(around[order], assigned, centroids().astype(float))
        np.testing.assert_allclose(found, (C * D) ** -0.5, rtol=1e-6)
    on_it = centroids()[[2, 2, 2]]
    np.testing.assert_allclose(vlad(on_it, centroids()), (C * D) ** -0.5, rtol=1e-6)


def test_the_aggregation_equals_the_published_one() -> None:
    """AnyLoc assigns by cosine; its residuals and normalisations are these."""
    with np.load(shared_file("fixtures/vlad_anyloc.npz")) as fixture:
        centers = fixture["centroids"].astype(float)
        directions = centers / np.linalg.norm(centers, axis=1, keepdims=True)
        for i in range(3):
            given = fixture[f"tokens{i}"].astype(float)
            given /= np.linalg.norm(given, axis=1, keepdims=True)
            found = aggregate_residuals(given, (given @ directions.T).argmax(1), centers)
            np.testing.assert_allclose(found, fixture[f"hard{i}"], atol=1e-7)


def test_recorded_numbers() -> None:
    found = vlad(tokens(1, 40), centroids())[::3]
    np.testing.assert_allclose(found, RECORDED, atol=1e-6)


def test_what_does_not_fit_is_refused() -> None:
    good, centers = tokens(1, 4), centroids()
    bad = good.copy()
    bad[2, 3] = np.nan
    for args, part in [
        ((bad, centers), "image 0 have NaN"),
        ((good, centers[:, :5]), "width 12, centroids 5"),
        ((good[0], centers), r"shape \(12,\)"),
        ((good, centers[0]), "centroids"),
        ((good, centers * np.nan), "centroids have NaN"),
        ((good.astype(int), centers), "floating-point"),
    ]:
        with pytest.raises(BadInput, match=part):
            vlad(*args)
    for count in ([5], [-1], [1, 1], [0.5]):
        with pytest.raises(BadInput, match="0 to 4"):
            vlad_images(good[None], np.array(count), centers)
