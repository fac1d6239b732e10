"""Classifiers of global descriptors: networks that give logits, fitted to the training side; the
validation side chooses epoch and temperature. They are saved with what a prediction needs:
`meta.json` has their arguments, which give the shapes of the weights beside it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor, nn
from torch.nn import functional

from ames_lite.classification.data import TRAIN, VAL, Float32, Ids, Labelled, take_clusters
from ames_lite.classification.scikit import logistic_regression
from ames_lite.errors import BadInput, chosen, explained, require
from ames_lite.io.checkpoint import read_native, write_native
from ames_lite.io.weights_file import fill_network
from ames_lite.retrieval.knn import exact_knn
from ames_lite.runtime import Draw, stream
from ames_lite.training.recipe import ClassifierRecipe

SCHEMA = 1
EXPECTED = "a folder that ames classify wrote, with weights.safetensors and meta.json"
Floats = npt.NDArray[np.float64]
logger = logging.getLogger(__name__)
RANKS = (1, 5, 10)  # of recall, of the hidden layer
TEMPERATURES = (0.05, 20.0)
Watch = Callable[[int, Float32], None]  # an epoch, the hidden layer of all images


class Network(nn.Module):
    """From descriptors [B, dim] of unit length to logits [B, classes]; arguments: of its class."""

    arguments: dict[str, int]

    def __init__(self, **arguments: int) -> None:
        super().__init__()
        self.arguments = arguments


class Linear(Network):
    """Logistic regression, of an input that is shifted and scaled."""

    mean: Tensor
    scale: Tensor

    def __init__(self, dim: int, classes: int, **more: int) -> None:
        super().__init__(dim=dim, classes=classes, **more)
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(()))
        self.out = nn.Linear(more.get("hidden", dim), classes)

    def centre(self, vectors: Tensor) -> None:
        """Give entries of these the mean 0, and all together the variance 1."""
        self.mean = vectors.mean(0)
        self.scale = (vectors - self.mean).square().mean().sqrt().clamp(min=1e-6)

    def embed(self, vectors: Tensor) -> Tensor:
        """What the last layer looks at."""
        return (vectors - self.mean) / self.scale

    def forward(self, vectors: Tensor) -> Tensor:
        return self.out(self.embed(vectors))


class Mlp(Linear):
    """The same behind a hidden layer with ReLU."""

    def __init__(self, dim: int, classes: int, hidden: int) -> None:
        super().__init__(dim, classes, hidden=hidden)
        self.first = nn.Linear(dim, hidden)

    def embed(self, vectors: Tensor) -> Tensor:
        return functional.relu(self.first(super().embed(vectors)))


class Knn(Network):
    """The k most similar training images vote, and 1 vote is spread over all classes."""

    vectors: Tensor
    labels: Tensor

    def __init__(self, dim: int, classes: int, images: int, k: int) -> None:
        super().__init__(dim=dim, classes=classes, images=images, k=k)
        self.register_buffer("vectors", torch.zeros(images, dim))
        self.register_buffer("labels", torch.zeros(images, dtype=torch.int64))

    def forward(self, vectors: Tensor) -> Tensor:
        k, classes = self.arguments["k"], self.arguments["classes"]
        near = (vectors @ self.vectors.T).topk(k, dim=1).indices
        votes = functional.one_hot(self.labels[near], classes).sum(1)
        return ((votes + 1 / classes) / (k + 1)).log()


CLASSIFIERS: dict[str, type[Network]] = {"mlp": Mlp, "knn": Knn, "logistic": Linear}


@dataclass(frozen=True)
class Classifier:
    """A fitted network. clusters: of VLAD, None: all; about: what else meta.json says."""

    name: str
    network: Network
    classes: tuple[str, ...]
    clusters: list[int] | None = None
    temperature: float = 1.0
    about: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name + ("" if self.clusters is None else f" of {len(self.clusters)} clusters")

    def probabilities(self, vectors: Float32) -> Floats:
        """[N, C] of whole descriptors [N, V]."""
        part = take_clusters(vectors, self.clusters, self.network.arguments["dim"])
        return softmax(logits_of(self.network, part), self.temperature)

    def save(self, folder: Path) -> Path:
        """Write weights.safetensors and meta.json into the folder; returns it."""
        state = {name: value.contiguous() for name, value in self.network.state_dict().items()}
        record = {"schema": SCHEMA, "classifier": self.name, "arguments": self.network.arguments}
        fields = ("classes", "clusters", "temperature", "about")
        write_native(folder, state, record | {key: getattr(self, key) for key in fields})
        return folder

    @classmethod
    def load(cls, folder: Path) -> Classifier:
        """Raises MissingFile, BadInput."""
        state, record = read_native(folder, "a classifier", EXPECTED)
        kinds = (KeyError, TypeError, ValueError)
        with explained("this is no classifier: {}", kinds, where=folder, expected=EXPECTED):
            require(record["schema"] == SCHEMA, f"schema is {record['schema']}")
            name, arguments, chosen_ = record["classifier"], record["arguments"], record["clusters"]
            with torch.device("meta"):
                network = chosen(name, CLASSIFIERS, "classifier", BadInput)(**arguments)
            rest = chosen_, float(record["temperature"]), dict(record["about"])
            classes = tuple(map(str, record["classes"]))
        fill_network(network, state, folder, f"the parameters of {name} with {arguments}")
        return cls(name, network, classes, *rest)


def logits_of(network: Network, vectors: Float32) -> Floats:
    """[N, C] of descriptors [N, dim]."""
    with torch.inference_mode():
        return np.asarray(network.eval()(torch.from_numpy(vectors)).double())


def softmax(logits: Floats, temperature: float) -> Floats:
    """Probabilities [N, C]."""
    return np.asarray(torch.from_numpy(logits / temperature).softmax(1))


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
    network = Knn(vectors.shape[1], len(data.classes), len(vectors), min(recipe.k, len(vectors)))
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
    """The divisor of logits that makes the classes likeliest (Guo et al., ICML 2017)."""

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
    """The MLP of the epoch with most validation images right, then least loss; a line an epoch."""
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
        require(np.isfinite(loss), what, "a finite loss", remedy=remedy)
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
    mlp: Mlp, optimizer: torch.optim.Optimizer, data: Labelled, recipe: ClassifierRecipe, epoch: int
) -> float:
    """A pass over the training images in random order; the mean loss."""
    vectors, labels = map(torch.from_numpy, data.of(TRAIN))
    order = torch.from_numpy(stream(recipe.seed, Draw.IMAGES, epoch).permutation(len(labels)))
    total = 0.0
    for rows in order.split(recipe.batch_size):
        loss = functional.cross_entropy(mlp(vectors[rows]), labels[rows])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(rows)
    return total / len(labels)


def _measure(network: Mlp, data: Labelled) -> tuple[dict[str, float], Float32]:
    """Figures of an epoch; the hidden layer [N, H]. recall@k: by its first k training images."""
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
