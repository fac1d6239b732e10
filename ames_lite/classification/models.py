"""Classifiers of global descriptors: networks that give logits, saved with what a prediction needs.

`meta.json` has their arguments, which give the shapes of the weights beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from ames_lite.classification.data import Float32, take_clusters
from ames_lite.errors import BadInput, chosen, explained, require
from ames_lite.io.checkpoint import read_native, write_native
from ames_lite.io.weights_file import fill_network

SCHEMA = 1
EXPECTED = "a folder that ames classify wrote, with weights.safetensors and meta.json"
Floats = npt.NDArray[np.float64]


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
    """A fitted network. clusters: of VLAD, that it looks at (None: all); temperature: what its
    logits are divided by; about: what else meta.json says, as JSON.
    """

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
