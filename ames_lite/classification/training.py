"""Fits classifiers to the training side; the validation side chooses epoch and temperature."""

import logging
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch.nn import functional

from ames_lite.classification.data import TRAIN, VAL, Float32, Ids, Labelled
from ames_lite.classification.models import (
    Classifier,
    Floats,
    Knn,
    Linear,
    Mlp,
    Network,
    logits_of,
    softmax,
)
from ames_lite.classification.scikit import logistic_regression
from ames_lite.errors import require
from ames_lite.retrieval.knn import exact_knn
from ames_lite.runtime import Draw, stream
from ames_lite.training.recipe import ClassifierRecipe

logger = logging.getLogger(__name__)
RANKS = (1, 5, 10)  # of recall, of the hidden layer
TEMPERATURES = (0.05, 20.0)
Watch = Callable[[int, Float32], None]  # an epoch, the hidden layer of all images


def fit(
    name: str,
    data: Labelled,
    recipe: ClassifierRecipe,
    clusters: list[int] | None = None,
    watch: Watch | None = None,
) -> Classifier:
    """A classifier of CLASSIFIERS, calibrated; clusters: what the descriptors are of."""
    about: dict[str, Any] = {}
    network: Network
    if name == "mlp":
        network, about["epochs"] = train_mlp(data, recipe, watch)
    else:
        network = _knn(data, recipe) if name == "knn" else _logistic(data, recipe)
    vectors, labels = data.of(VAL)
    temperature = fit_temperature(logits_of(network, vectors), labels)
    return Classifier(name, network, data.classes, clusters, temperature, about)


def _knn(data: Labelled, recipe: ClassifierRecipe) -> Knn:
    vectors, labels = data.of(TRAIN)
    k = min(recipe.k, len(vectors))
    network = Knn(vectors.shape[1], len(data.classes), len(vectors), k)
    network.vectors, network.labels = torch.from_numpy(vectors), torch.from_numpy(labels)
    return network


def _logistic(data: Labelled, recipe: ClassifierRecipe) -> Linear:
    vectors, labels = data.of(TRAIN)
    network, given = Linear(vectors.shape[1], len(data.classes)), torch.from_numpy(vectors)
    network.centre(given)
    fitted = logistic_regression(network.embed(given).numpy(), labels, recipe.strength)
    for parameter, values in zip(network.out.parameters(), fitted, strict=True):
        parameter.data = torch.from_numpy(values).float()
    return network


def fit_temperature(logits: Floats, labels: Ids) -> float:
    """What logits are divided by so that the classes of these images are likeliest. Source: Guo et
    al., "On calibration of modern neural networks", ICML 2017.
    """

    def loss(log: float) -> float:
        return negative_log(softmax(logits, float(np.exp(log))), labels)

    bounds = np.log(TEMPERATURES)
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x))


def negative_log(probabilities: Floats, labels: Ids) -> float:
    """Mean negative logarithm of the probability of the class."""
    own = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(own, 1e-12)).mean())


def train_mlp(
    data: Labelled, recipe: ClassifierRecipe, watch: Watch | None = None
) -> tuple[Mlp, list[dict[str, float]]]:
    """The MLP of the epoch with the most validation images right, of equals that of the least loss,
    and a line an epoch. Raises BadInput for a loss that is not finite.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        network = Mlp(data.vectors.shape[1], len(data.classes), recipe.hidden)
    network.centre(torch.from_numpy(data.of(TRAIN)[0]))
    decay = recipe.weight_decay
    optimizer = torch.optim.Adam(network.parameters(), lr=recipe.lr, weight_decay=decay)
    states, lines = dict[tuple[float, float], Any](), list[dict[str, float]]()
    for epoch in range(1, recipe.epochs + 1):
        loss = _epoch(network, optimizer, data, recipe, epoch)
        what, remedy = f"the loss is not finite in epoch {epoch}", "a lower lr="
        require(np.isfinite(loss), what, expected="a finite loss", remedy=remedy)
        line, hidden = _measure(network, data)
        lines.append({"epoch": epoch, "loss": loss, **line})
        logger.info(", ".join(f"{key} {value:.4g}" for key, value in lines[-1].items()))
        reached = line["val_accuracy"], -line["val_loss"]
        if not states or reached > max(states):
            states = {reached: deepcopy(network.state_dict())}
        if watch is not None:
            watch(epoch, hidden)
    network.load_state_dict(states[max(states)])
    return network, lines


def _epoch(
    network: Mlp,
    optimizer: torch.optim.Optimizer,
    data: Labelled,
    recipe: ClassifierRecipe,
    epoch: int,
) -> float:
    """A pass over the training images in random order; the mean loss."""
    vectors, labels = map(torch.from_numpy, data.of(TRAIN))
    order = torch.from_numpy(stream(recipe.seed, Draw.IMAGES, epoch).permutation(len(labels)))
    total = 0.0
    for rows in order.split(recipe.batch_size):
        loss = functional.cross_entropy(network(vectors[rows]), labels[rows])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(rows)
    return total / len(labels)


def _measure(network: Mlp, data: Labelled) -> tuple[dict[str, float], Float32]:
    """Accuracies, loss and recall of an epoch; and the hidden layer [N, H] of all images. recall@k:
    the share of the validation images with one of their class among the first k training images by
    the hidden layer.
    """
    with torch.inference_mode():
        embedded = network.embed(torch.from_numpy(data.vectors))
        probabilities = network.out(embedded).double().softmax(1).numpy()
        hidden = functional.normalize(embedded, dim=1).numpy()
    train, val = data.side == TRAIN, data.side == VAL
    right = probabilities.argmax(axis=1) == data.labels
    near = exact_knn(hidden[val], hidden[train], max(RANKS)).ids
    found = data.labels[train][near] == data.labels[val][:, None]
    line = {
        "accuracy": float(right[train].mean()),
        "val_accuracy": float(right[val].mean()),
        "val_loss": negative_log(probabilities[val], data.labels[val]),
        **{f"recall@{k}": float(found[:, :k].any(axis=1).mean()) for k in RANKS},
    }
    return line, hidden
