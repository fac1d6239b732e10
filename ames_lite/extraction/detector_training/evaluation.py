"""Evaluation of a detector: leave-one-out retrieval mAP on labelled images.

Images without a partner of their label are distractors.
"""

from collections.abc import Callable, Iterable

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
Ways = Callable[[Tensor], dict[str, tuple[Tensor, Tensor]]]  # descriptors, weights of tokens


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


def retrieval_maps(
    tokens: Iterable[list[Tensor]], labels: npt.NDArray[np.int64], ways: Ways
) -> dict[str, float]:
    """Leave-one-out mAP of every way to weigh patches; tokens: of batches of images."""
    found: dict[str, list[Tensor]] = {}
    with torch.inference_mode():
        for batch in tokens:
            counts = [len(t) for t in batch]
            for name, (descriptors, weights) in ways(torch.cat(batch)).items():
                found.setdefault(name, []).append(pool(descriptors, weights, counts).cpu())
    return {name: leave_one_out_map(torch.cat(parts), labels) for name, parts in found.items()}


def baseline_ways(tokens: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Without a detector: patches weighted by the feature's norm, and equally."""
    unit, norm = functional.normalize(tokens, dim=1), tokens.norm(dim=1)
    return {"map_feature_norm": (unit, norm), "map_mean": (unit, torch.ones_like(norm))}


def detector_ways(detector: SpatialAttention2d, device: torch.device) -> Ways:
    """With it: its own descriptors, and its weights on the backbone's."""
    detector.eval()

    def ways(tokens: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        tokens = tokens.to(device)
        descriptors, weights = describe_tokens(detector, tokens)
        backbone = functional.normalize(tokens, dim=1)
        return {"map": (descriptors, weights), "map_on_backbone": (backbone, weights)}

    return ways
