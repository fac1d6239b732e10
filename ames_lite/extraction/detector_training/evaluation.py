"""Evaluation of a detector: leave-one-out retrieval mAP on labelled images.

Every image whose label has another image is a query against all others; images without a partner
are distractors.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from ames_lite.errors import BadInput
from ames_lite.evaluation.metrics import JUNK, POSITIVE, average_precision, hits_of_labels, mean
from ames_lite.extraction.backbones.detector import SpatialAttention2d
from ames_lite.extraction.detector_training.data import partners
from ames_lite.extraction.detector_training.model import describe_tokens, pool

BLOCK = 1024  # queries at a time


def leave_one_out_map(vectors: Tensor, labels: npt.NDArray[np.int64]) -> float:
    """Mean average precision (trapezoids) of unit vectors [N, D], each image out of its own list.

    >>> import numpy as np, torch
    >>> vectors = torch.nn.functional.normalize(torch.tensor([[1., 0], [1, .1], [0, 1], [.1, 1]]))
    >>> leave_one_out_map(vectors, np.array([0, 0, 1, 1]))
    1.0
    """
    queries = np.flatnonzero(partners(labels) > 1)
    if len(queries) == 0:
        raise BadInput("no label has two images", expected="images to evaluate by")
    vectors = vectors.cpu()
    found = []
    for start in range(0, len(queries), BLOCK):
        rows = queries[start : start + BLOCK]
        sims = vectors[rows] @ vectors.T
        order = sims.argsort(dim=1, descending=True, stable=True).numpy()
        same = labels[order] == labels[rows][:, None]
        kinds = np.where(order == rows[:, None], JUNK, np.where(same, POSITIVE, 0))
        positives = partners(labels)[rows] - 1
        found.append(average_precision(hits_of_labels(kinds.astype(np.uint8), positives)))
    return mean(np.concatenate(found))


def baseline_maps(
    tokens: Iterable[list[Tensor]], labels: npt.NDArray[np.int64]
) -> dict[str, float]:
    """What retrieval gives without a detector: patches weighed by the feature's norm, and alike."""
    by_norm, alike = [], []
    for batch in tokens:
        counts, joined = [len(t) for t in batch], torch.cat(batch)
        unit, norm = functional.normalize(joined, dim=1), joined.norm(dim=1)
        by_norm.append(pool(unit, norm, counts))
        alike.append(pool(unit, torch.ones_like(norm), counts))
    return {
        "map_feature_norm": leave_one_out_map(torch.cat(by_norm), labels),
        "map_mean": leave_one_out_map(torch.cat(alike), labels),
    }


def detector_maps(
    detector: SpatialAttention2d,
    tokens: Iterable[list[Tensor]],
    labels: npt.NDArray[np.int64],
    device: torch.device,
) -> dict[str, float]:
    """What retrieval gives with it: on its own descriptors, and its weights on the backbone's."""
    own, backbone = [], []
    detector.eval()
    with torch.inference_mode():
        for batch in tokens:
            counts, joined = [len(t) for t in batch], torch.cat(batch).to(device)
            descriptors, weights = describe_tokens(detector, joined)
            own.append(pool(descriptors, weights, counts).cpu())
            backbone.append(pool(functional.normalize(joined, dim=1), weights, counts).cpu())
        return {
            "map": leave_one_out_map(torch.cat(own), labels),
            "map_on_backbone": leave_one_out_map(torch.cat(backbone), labels),
        }
