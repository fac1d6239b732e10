"""VLAD written out as the papers have it, in loops: slow and obvious. And its timing:

python -m tests.retrieval.vlad_referee
"""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np

from ames_lite.retrieval.vlad import VladForm, vlad_images


def vlad(descriptors: np.ndarray, centroids: np.ndarray, **form: Any) -> np.ndarray:
    """The VLAD vector [C*D] of one image's descriptors [K, D]."""
    return vlad_images(
        descriptors[None], np.array([len(descriptors)]), centroids, VladForm(**form)
    )[0]


def similarity(token: np.ndarray, center: np.ndarray, distance: str) -> float:
    if distance == "euclidean":
        return -sum((t - c) ** 2 for t, c in zip(token, center, strict=True))
    lengths = np.linalg.norm(token) * np.linalg.norm(center)
    return float(token @ center / lengths) if lengths > 0 else 0.0


def referee(
    descriptors: np.ndarray,
    centers: np.ndarray,
    *,
    distance: str = "euclidean",
    soft: str | None = None,
    temperature: float = 1.0,
    unit: bool = False,
) -> np.ndarray:
    """The VLAD vector [C*D] of descriptors [K, D], token by token and cluster by cluster."""
    centers = centers.astype(float)
    blocks = np.zeros(centers.shape)
    for token in descriptors.astype(float):
        if unit and np.linalg.norm(token) > 0:
            token = token / np.linalg.norm(token)
        sims = [similarity(token, center, distance) for center in centers]
        if soft is None:
            nearest = sims.index(max(sims))
            blocks[nearest] += token - centers[nearest]
            continue
        weights = [math.exp(temperature * s) for s in sims]
        for k in range(len(centers)):
            weight = weights[k] / sum(weights)
            for c in [k] if soft == "standard" else range(len(centers)):
                blocks[k] += weight * (token - centers[c])
    for block in blocks:
        if np.linalg.norm(block) > 0:
            block /= np.linalg.norm(block)
    return blocks.ravel() / np.linalg.norm(blocks)


def published_loop(descriptors: np.ndarray, centers: np.ndarray, *, lean: bool) -> np.ndarray:
    """AnyLoc's form in float32 as its code goes: the residuals of all tokens to all clusters, then
    a loop over clusters; lean: residuals of a cluster's own tokens only."""
    tokens = descriptors.astype(np.float32)
    tokens /= np.linalg.norm(tokens, axis=1, keepdims=True)
    directions = centers / np.linalg.norm(centers, axis=1, keepdims=True)
    labels = (tokens @ directions.T).argmax(axis=1)
    residuals = None if lean else tokens[:, None] - centers[None]
    blocks = np.zeros(centers.shape, np.float32)
    for k in range(len(centers)):
        own = tokens[labels == k] - centers[k] if residuals is None else residuals[labels == k, k]
        length = np.linalg.norm(own.sum(axis=0))
        blocks[k] = own.sum(axis=0) / length if length > 0 else 0
    return blocks.ravel() / np.linalg.norm(blocks)


def compare(
    num_images: int = 1000, tokens: int = 1369, clusters: int = 32, dim: int = 768, held: int = 20
) -> dict[str, float]:
    """Seconds for num_images images of float16 tokens (`held` of them in memory, again and again),
    the three turn by turn in one run, medians over the turns; and the largest difference."""
    rng = np.random.default_rng(0)
    given = rng.standard_normal((held, tokens, dim)).astype(np.float16)
    centers = rng.standard_normal((clusters, dim)).astype(np.float32)
    count = np.full(held, tokens)
    ways = {
        "vlad_images": lambda: vlad_images(given, count, centers, VladForm("cosine", unit=True)),
        "as published": lambda: np.stack([published_loop(x, centers, lean=False) for x in given]),
        "lean loop": lambda: np.stack([published_loop(x, centers, lean=True) for x in given]),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    found = {}
    for _ in range(max(1, num_images // held)):
        for name, way in ways.items():
            time.sleep(0.2)  # NumPy's and torch's waiting threads would take each other's cores
            start = time.perf_counter()
            found[name] = way()
            seconds[name].append((time.perf_counter() - start) * num_images / held)
    difference = max(np.abs(found["vlad_images"] - other).max() for other in found.values())
    return {name: float(np.median(s)) for name, s in seconds.items()} | {"difference": difference}


if __name__ == "__main__":
    for name, value in compare().items():
        print(f"{name:14} {value:.3g}")  # noqa: T201
