"""The laws of projections to two coordinates."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from ames_lite.classification.scikit import pca, tsne
from ames_lite.errors import BadInput

Array = npt.NDArray[Any]


@pytest.mark.parametrize("shape", [(30, 5), (6, 40), (7, 7)])
def test_pca_equals_a_slow_referee(shape: tuple[int, int]) -> None:
    data = np.random.default_rng(0).normal(3, 2, shape)
    mean = sum(data) / len(data)
    covariance = sum(np.outer(row - mean, row - mean) for row in data)
    values, vectors = np.linalg.eigh(covariance)
    points, explained = pca(data.astype(np.float32))
    for i in (0, 1):
        expected = np.array([(row - mean) @ vectors[:, -1 - i] for row in data])
        expected *= np.sign(expected[np.abs(expected).argmax()])
        np.testing.assert_allclose(points[:, i], expected, atol=1e-5)
        assert explained[i] == pytest.approx(values[-1 - i] / values.sum(), abs=1e-6)
    assert pca(data, min(shape)).explained.sum() == pytest.approx(1)


def test_components_that_lack_are_zeros() -> None:
    points, explained = pca(np.ones((4, 3), np.float32))
    assert not points.any() and not explained.any()
    line = np.outer(np.arange(4.0), [3.0, 4.0])
    points, explained = pca(line)
    np.testing.assert_allclose(np.abs(points[:, 0]), [7.5, 2.5, 2.5, 7.5])
    assert not points[:, 1].any() and explained == pytest.approx([1, 0])
    assert pca(np.ones((1, 1))).points.shape == (1, 2)


def blobs() -> tuple[Array, Array]:
    """60 points of three clouds, each point twice, as queries are that stand in the gallery."""
    labels = np.tile(np.repeat(np.arange(3), 10), 2)
    cloud = np.random.default_rng(0).normal(0, 0.1, (30, 8))
    return (np.tile(cloud, (2, 1)) + 5 * np.eye(3, 8)[labels]).astype(np.float32), labels


def test_tsne_keeps_clouds_together_and_equal_images_beside_each_other() -> None:
    pytest.importorskip("sklearn")
    data, labels = blobs()
    points = tsne(data, seed=0, perplexity=10)
    assert np.isfinite(points).all() and np.abs(points).max() < 100
    away = np.linalg.norm(points[:, None] - points[None], axis=2)
    same = labels[:, None] == labels[None]
    assert away[same].max() < away[~same].min()
    assert np.diag(away[:30, 30:]).max() < np.median(away[same])
    np.testing.assert_array_equal(points, tsne(data, seed=0, perplexity=10))
    assert not np.array_equal(points, tsne(data, seed=1, perplexity=10))
    assert tsne(data[:5], perplexity=1000).shape == (5, 2)
    assert np.isfinite(tsne(np.ones((6, 1), np.float32))).all()


def test_without_scikit_learn_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(BadInput, match=r"views.*method=pca"):
        tsne(blobs()[0])
    assert pca(blobs()[0]).points.shape == (60, 2)


@pytest.mark.parametrize("count, perplexity", [(4, 2.0), (20, 0.0)])
def test_tsne_says_what_it_needs(count: int, perplexity: float) -> None:
    pytest.importorskip("sklearn")
    with pytest.raises(BadInput, match="method=pca"):
        tsne(blobs()[0][:count], perplexity=perplexity)
