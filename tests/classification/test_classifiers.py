"""The laws of classifiers: equal to their definitions, chosen by validation, saved whole."""

from __future__ import annotations

import json
import logging
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from ames_lite.classification.data import TEST, TRAIN, VAL, Labelled
from ames_lite.classification.judging import judge
from ames_lite.classification.models import (
    CLASSIFIERS,
    Classifier,
    fit,
    fit_temperature,
    logits_of,
    softmax,
    train_mlp,
)
from ames_lite.errors import BadInput, MissingFile
from ames_lite.evaluation.metrics import find_hits, hit_at
from ames_lite.training.recipe import ClassifierRecipe

RECIPE = ClassifierRecipe(epochs=6, hidden=16, k=3)


def clouds(noise: float = 0.3, classes: int = 3, count: int = 20, seed: int = 0) -> Labelled:
    """Unit vectors around one direction a class; of each class a fifth to test and to val."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), count)
    vectors = np.eye(classes, 12)[labels] + noise * rng.standard_normal((len(labels), 12))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    side = np.array([TEST, VAL, TRAIN, TRAIN, TRAIN])[np.arange(len(labels)) % 5]
    names = tuple(f"{row}.jpg" for row in range(len(labels)))
    whole = tuple("abcdefgh"[:classes])
    return Labelled(names, vectors.astype("f4"), labels, whole, np.arange(len(labels)), side)


def test_knn_is_a_vote_of_the_nearest() -> None:
    data = clouds(0.6)
    train, labels = data.of(TRAIN)
    found = fit("knn", data, RECIPE)
    logits = logits_of(found.network, data.vectors)
    for vector, row in zip(data.vectors, logits, strict=True):
        near = np.argsort(-(train @ vector), kind="stable")[:3]
        votes = Counter(labels[near].tolist())
        wanted = [(votes[label] + 1 / 3) / 4 for label in range(3)]
        np.testing.assert_allclose(np.exp(row), wanted, rtol=1e-5)
    assert fit("knn", data, ClassifierRecipe(k=500)).network.arguments["k"] == len(train)


def test_knn_is_that_of_scikit_learn() -> None:
    neighbors = pytest.importorskip("sklearn.neighbors")
    data = clouds(0.6)
    referee = neighbors.KNeighborsClassifier(3, metric="cosine").fit(*data.of(TRAIN))
    found = logits_of(fit("knn", data, RECIPE).network, data.vectors)
    shares = (np.exp(found) * 4 - 1 / 3) / 3
    np.testing.assert_allclose(shares, referee.predict_proba(data.vectors), atol=1e-5)


@pytest.mark.parametrize("classes", [2, 4])
def test_logistic_regression_is_that_of_scikit_learn(classes: int) -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    data = clouds(0.6, classes)
    train, labels = data.of(TRAIN)
    shifted = train - train.mean(0)
    scale = np.sqrt(np.square(shifted).mean())
    referee = linear.LogisticRegression(max_iter=1000).fit(shifted / scale, labels)
    given = (data.vectors - train.mean(0)) / scale
    found = logits_of(fit("logistic", data, RECIPE).network, data.vectors)
    np.testing.assert_allclose(softmax(found, 1.0), referee.predict_proba(given), atol=1e-4)


def test_recall_of_an_epoch_equals_the_metric() -> None:
    data, hidden = clouds(0.7), list[np.ndarray]()
    _, lines = train_mlp(data, RECIPE, lambda epoch, layer: hidden.append(layer.copy()))
    assert [line["epoch"] for line in lines] == list(range(1, 7))
    train = np.flatnonzero(data.side == TRAIN)
    for line, layer in zip(lines, hidden, strict=True):
        order = np.argsort(-(layer[data.side == VAL] @ layer[train].T), axis=1, kind="stable")
        positives = [np.flatnonzero(data.labels[train] == of) for of in data.of(VAL)[1]]
        for k in (1, 5, 10):
            assert line[f"recall@{k}"] == pytest.approx(
                hit_at(find_hits(order, positives), k).mean()
            )


def test_the_epoch_that_is_kept_is_the_best_by_validation() -> None:
    data = clouds(0.8)
    network, lines = train_mlp(data, RECIPE)
    best = max(lines, key=lambda line: (line["val_accuracy"], -line["val_loss"]))
    vectors, labels = data.of(VAL)
    accuracy = (logits_of(network, vectors).argmax(1) == labels).mean()
    assert accuracy == pytest.approx(best["val_accuracy"])


def test_the_same_seed_gives_the_same_classifier_and_leaves_the_global_state() -> None:
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    first, second = (fit("mlp", clouds(), RECIPE) for _ in range(2))
    assert torch.equal(before, torch.random.get_rng_state())
    vectors = clouds().vectors
    np.testing.assert_array_equal(first.probabilities(vectors), second.probabilities(vectors))
    third = fit("mlp", clouds(), ClassifierRecipe(epochs=6, hidden=16, seed=1))
    assert not np.array_equal(first.probabilities(vectors), third.probabilities(vectors))


def test_labels_drawn_at_random_are_learned_and_not_predicted() -> None:
    """What overfitting looks like: all of the training side, and chance elsewhere."""
    data = clouds(1.0, count=40)
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((120, 300)).astype("f4")
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    names = data.names, noise, rng.integers(0, 3, 120)
    data = Labelled(*names, data.classes, data.scenes, data.side)
    found = judge(fit("mlp", data, ClassifierRecipe(epochs=10)), data, 0)
    assert found.accuracy["train"] > 0.9 > 0.6 > found.accuracy["test"]
    assert found.test.high < found.accuracy["train"]


def test_a_loss_that_is_not_finite_stops_and_says_so() -> None:
    data = clouds()
    data.vectors[np.flatnonzero(data.side == TRAIN)[3]] = np.nan
    with pytest.raises(BadInput, match="not finite in epoch 1(.|\n)*lr="):
        train_mlp(data, RECIPE)


def test_the_temperature_is_the_likeliest_and_changes_no_prediction() -> None:
    rng = np.random.default_rng(0)
    logits, labels = 6 * rng.standard_normal((200, 4)), np.zeros(200, np.int64)
    p = softmax(logits, 3.0)
    labels = np.array([rng.choice(4, p=row) for row in p])
    found = fit_temperature(logits, labels)
    assert found == pytest.approx(3.0, rel=0.25)

    def loss(t: float) -> float:
        return float(-np.log(softmax(logits, t)[np.arange(200), labels]).mean())

    assert loss(found) <= min(loss(t) for t in np.linspace(0.3, 10, 60)) + 1e-6
    np.testing.assert_array_equal(softmax(logits, found).argmax(1), logits.argmax(1))


def test_probabilities_that_are_too_sure_become_honest() -> None:
    data = clouds(1.2, count=150)
    found = judge(fit("mlp", data, ClassifierRecipe(epochs=20)), data, 0)
    assert found.curves["calibrated"].error < found.curves["before"].error
    np.testing.assert_allclose(found.probabilities.sum(1), 1)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_comes_back_as_it_was_saved(name: str, tmp_path: Path) -> None:
    data = clouds().masked([2, 0], 4)
    saved = fit(name, data, RECIPE, [2, 0])
    assert saved.save(tmp_path / "model") == tmp_path / "model"
    assert {path.name for path in (tmp_path / "model").iterdir()} == {
        "weights.safetensors",
        "meta.json",
    }
    found = Classifier.load(tmp_path / "model")
    whole = clouds().vectors
    np.testing.assert_allclose(found.probabilities(whole), saved.probabilities(whole), atol=1e-6)
    assert (found.classes, found.clusters, found.about) == (("a", "b", "c"), [2, 0], saved.about)
    assert str(found) == f"{name} of 2 clusters"


def test_what_is_no_classifier_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match="a file of a classifier is missing"):
        Classifier.load(tmp_path)
    fit("knn", clouds(), RECIPE).save(tmp_path)
    meta = json.loads((tmp_path / "meta.json").read_text())
    del meta["content_sha256"]
    for key, value in (("classifier", "oracle"), ("schema", 9), ("temperature", None)):
        (tmp_path / "meta.json").write_text(json.dumps(meta | {key: value}))
        with pytest.raises(BadInput):
            Classifier.load(tmp_path)
    (tmp_path / "meta.json").write_text(
        json.dumps(meta | {"arguments": {**meta["arguments"], "dim": 5}})
    )
    with pytest.raises(BadInput, match="vectors"):
        Classifier.load(tmp_path)


def test_every_epoch_is_a_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "ames_lite.classification"):
        train_mlp(clouds(), RECIPE)
    assert sum(line.startswith("epoch ") for line in caplog.messages) == 6
