"""The laws of whitening: scikit-learn's definition, exact for wide and long data, in blocks."""

from __future__ import annotations

import numpy as np
import pytest

from ames_lite.errors import BadInput
from ames_lite.retrieval import whitening as module
from ames_lite.retrieval.whitening import (
    Whitening,
    fit_class_whitening,
    fit_whitening,
    whiten,
)

LONG, WIDE = (60, 12), (14, 90)


def data(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(shape) * np.linspace(3, 0.2, shape[1]) + rng.standard_normal()
    return values.astype(np.float32)


def referee(values: np.ndarray, dim: int) -> np.ndarray:
    """By the singular values of the centred data, all at once."""
    centred = values.astype(np.float64) - values.astype(np.float64).mean(axis=0)
    _, singular, directions = np.linalg.svd(centred, full_matrices=False)
    for row in directions:
        row *= np.sign(row[np.abs(row).argmax()])
    variance = singular[:dim] ** 2 / (len(values) - 1)
    return centred @ directions[:dim].T / np.sqrt(variance)


@pytest.mark.parametrize("shape", [LONG, WIDE])
@pytest.mark.parametrize("dim", [1, 5, 11])
@pytest.mark.parametrize("block", [1, 1 << 27])
def test_it_is_the_referee(shape: tuple[int, int], dim: int, block: int, monkeypatch) -> None:
    monkeypatch.setattr(module, "BLOCK_BYTES", block)  # one row or column at a time
    values = data(shape)
    found = whiten(values, fit_whitening(values, dim))
    assert np.abs(found - referee(values, dim)).max() < 2e-5


@pytest.mark.parametrize("shape", [LONG, WIDE])
def test_it_is_pca_of_scikit_learn(shape: tuple[int, int]) -> None:
    decomposition = pytest.importorskip("sklearn.decomposition")
    values, new = data(shape), data((7, shape[1]), seed=1)
    pca = decomposition.PCA(8, whiten=True, svd_solver="full").fit(values.astype(np.float64))
    fitted = fit_whitening(values, 8)
    np.testing.assert_allclose(fitted.variance, pca.explained_variance_, rtol=1e-5)
    signs = np.sign((fitted.components * pca.components_).sum(axis=1))
    gap = whiten(new, fitted) * signs - pca.transform(new.astype(np.float64))
    assert np.abs(gap).max() < 1e-4


@pytest.mark.parametrize("shape", [LONG, WIDE])
def test_what_it_was_fitted_on_comes_out_with_mean_0_and_unit_covariance(
    shape: tuple[int, int],
) -> None:
    values = data(shape)
    found = whiten(values, fit_whitening(values, 10))
    assert np.abs(found.mean(axis=0)).max() < 1e-5
    assert np.abs(np.cov(found.T) - np.eye(10)).max() < 1e-5


class Watched:
    """Data that remember the largest part that was asked for, in bytes of float64."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.shape, self.values, self.largest = shape, data(shape), 0

    def __getitem__(self, part: tuple[slice, slice]) -> np.ndarray:
        self.largest = max(self.largest, 8 * self.values[part].size)
        return self.values[part]


@pytest.mark.parametrize("shape", [LONG, WIDE])
def test_the_data_are_only_read_in_blocks(shape: tuple[int, int], monkeypatch) -> None:
    bound = 8 * 3 * min(shape)
    monkeypatch.setattr(module, "BLOCK_BYTES", bound)
    watched = Watched(shape)
    fit_whitening(watched, 4)
    assert watched.largest == bound


def test_the_sign_of_a_direction_is_fixed_and_a_batch_does_not_show() -> None:
    values = data(LONG)
    fitted = fit_whitening(values, 6)
    largest = np.abs(fitted.components).argmax(axis=1)
    assert (fitted.components[np.arange(6), largest] > 0).all()
    turned = fit_whitening(values[::-1].copy(), 6)
    np.testing.assert_allclose(turned.components, fitted.components, atol=1e-5)
    one = np.concatenate([whiten(values[row : row + 1], fitted) for row in range(len(values))])
    np.testing.assert_allclose(one, whiten(values, fitted), atol=1e-12)


def test_data_that_hold_too_little_are_refused() -> None:
    for values, dim, what in [
        (data(WIDE), 14, "dim is 14, for 14 descriptors of width 90"),
        (data(LONG), 13, "dim is 13, for 60 descriptors of width 12"),
        (data(LONG), 0, "dim is 0"),
        (data(LONG)[:1], 1, "for 1 descriptors"),
        (np.repeat(data(WIDE)[:4], 5, axis=0), 6, "span 3 directions, dim is 6"),
        (np.repeat(data(LONG)[:4], 9, axis=0), 6, "span 3 directions, dim is 6"),
        (np.ones((9, 4), np.float32), 2, "span 0 directions"),
    ]:
        with pytest.raises(BadInput, match=what):
            fit_whitening(values, dim)
    for shape in (LONG, WIDE):
        values = data(shape)
        values[5, 7] = np.nan
        with pytest.raises(BadInput, match="descriptor 5 has NaN"):
            fit_whitening(values, 4)


def test_what_does_not_fit_is_refused(monkeypatch) -> None:
    fitted = fit_whitening(data(LONG), 4)
    assert (fitted.width, fitted.dim) == (12, 4)
    with pytest.raises(BadInput, match="do not fit"):
        Whitening(fitted.mean[1:], fitted.components, fitted.variance)
    with pytest.raises(BadInput, match="above 0"):
        Whitening(fitted.mean, fitted.components, 0 * fitted.variance)
    monkeypatch.setattr(module, "MAX_SIDE", 10)
    with pytest.raises(BadInput, match="12 squared"):
        fit_whitening(data(LONG), 4)


def class_data(classes: int = 30, each: int = 4, width: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Classes that differ in all directions, images of one that differ most in the first three."""
    rng = np.random.default_rng(0)
    spread = np.where(np.arange(width) < 3, 2.0, 0.2)
    centres = np.repeat(rng.standard_normal((classes, width)), each, axis=0)
    values = centres + rng.standard_normal(centres.shape) * spread
    return values.astype(np.float32), np.repeat(np.arange(classes), each)


def class_referee(values: np.ndarray, labels: np.ndarray, dim: int, shrinkage: float) -> np.ndarray:
    """S^(-1/2) (x - mean) as it is written, S of the dim largest directions and a remainder."""
    values = values.astype(np.float64)
    of_class = [
        np.cov(values[labels == label].T)
        for label in np.unique(labels)
        if (labels == label).sum() > 1
    ]
    covariance = np.mean(of_class, axis=0)
    variance, directions = np.linalg.eigh(covariance)
    added = shrinkage * variance.mean()
    variance[: len(variance) - dim] = 0  # eigh: ascending
    root = directions @ np.diag(1 / np.sqrt(variance + added)) @ directions.T
    return (values - values.mean(axis=0)) @ root


@pytest.mark.parametrize("dim", [1, 4, 12])
@pytest.mark.parametrize("block", [1, 1 << 27])
def test_within_classes_it_is_the_referee(dim: int, block: int, monkeypatch) -> None:
    monkeypatch.setattr(module, "BLOCK_BYTES", block)
    values, labels = class_data()
    labels[:2] = [98, 99]  # classes of one image
    fitted = fit_class_whitening(values, labels, dim, 0.3)
    found = whiten(values, fitted)
    assert found.shape == values.shape and fitted.dim == fitted.width == 12
    assert np.abs(found - class_referee(values, labels, dim, 0.3)).max() < 1e-5


def test_within_classes_images_of_a_class_come_nearer() -> None:
    values, labels = class_data()
    fitted = fit_class_whitening(values, labels, 3, 0.1)

    def precision(rows: np.ndarray) -> float:
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        nearest = np.argsort(-(rows @ rows.T), axis=1)[:, 1]
        return float((labels[nearest] == labels).mean())

    assert precision(whiten(values, fitted)) > precision(values - values.mean(axis=0)) + 0.3


@pytest.mark.parametrize(
    ("labels", "dim", "shrinkage"),
    [
        (np.arange(120), 3, 0.1),
        (np.zeros(3), 3, 0.1),
        (np.zeros(120), 13, 0.1),
        (np.zeros(120), 3, 0.0),
    ],
)
def test_within_classes_what_cannot_be_fitted_is_refused(
    labels: np.ndarray, dim: int, shrinkage: float
) -> None:
    with pytest.raises(BadInput, match="labels|dim"):
        fit_class_whitening(class_data()[0], labels, dim, shrinkage)
