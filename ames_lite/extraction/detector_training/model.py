"""From descriptors and weights of patches to one vector an image; losses and mAP of such vectors.
Tokens [N, C] are the patches of several images one after the other: a detector is pointwise, so
images of different shapes share a batch (and the statistics of the BatchNorm) without padding.
"""

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from ames_lite.errors import require
from ames_lite.evaluation import metrics
from ames_lite.extraction.backbones.detector import SpatialAttention2d
from ames_lite.extraction.detector_training.data import Rows, partners
from ames_lite.training.recipe import DetectorRecipe

BLOCK = 1024  # queries at a time
Ways = Callable[[Tensor], dict[str, tuple[Tensor, Tensor]]]  # descriptors, weights of tokens


def new_detector(dim_in: int, dim: int, generator: Generator) -> SpatialAttention2d:
    """An untrained detector: it keeps angles between features, and all weights are close to 1."""
    with torch.device("meta"):  # nothing is drawn from the global generator
        detector = SpatialAttention2d(dim_in, dim)
    detector = detector.to_empty(device="cpu")
    detector.bn.reset_parameters()
    with torch.no_grad():
        nn.init.orthogonal_(detector.conv1.weight, generator=generator)
        nn.init.zeros_(detector.conv1.bias)  # type: ignore[arg-type]
        nn.init.normal_(detector.conv2.weight, 0, 0.01, generator=generator)
        nn.init.constant_(detector.conv2.bias, math.log(math.e - 1))  # type: ignore[arg-type]
    return detector


def describe_tokens(detector: SpatialAttention2d, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Unit descriptors [N, D] and weights [N] above 0 of tokens [N, C]."""
    descriptors, weights = detector(tokens.T[None, :, :, None])
    return descriptors[0, :, :, 0].T, weights.flatten()


def pool(descriptors: Tensor, weights: Tensor, counts: Sequence[int]) -> Tensor:
    """Unit vectors [B, D] of patches, normalize(Σ wᵢ dᵢ) image by image: the same on every run."""
    parts = torch.split(descriptors * weights[:, None], list(counts))
    return functional.normalize(torch.stack([part.sum(0) for part in parts]), dim=1)


class CosineSoftmax(nn.Module):
    """Cross-entropy of scaled cosines to labels, own less a margin (CosFace, CVPR 2018)."""

    def __init__(self, labels: int, dim: int, generator: Generator, recipe: DetectorRecipe) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(labels, dim, generator=generator))
        scale, self.margin = torch.tensor(math.log(recipe.scale)), recipe.margin
        self.log_scale = nn.Parameter(scale, requires_grad=recipe.learn_scale)

    def forward(self, vectors: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Loss and accuracy of unit vectors [B, D] with labels [B] in 0 .. num_labels - 1."""
        cosines = vectors @ functional.normalize(self.weight, dim=1).T
        own = functional.one_hot(labels, len(self.weight)).to(cosines.dtype)
        logits = self.log_scale.exp() * (cosines - self.margin * own)
        accuracy = (cosines.argmax(1) == labels).float().mean()
        return functional.cross_entropy(logits, labels), accuracy


class HardTriplet(nn.Module):
    """Each image with the least alike of its label and the most alike of others in the batch.
    max(0, margin + cosine to the other − cosine to its own), over images that have both. Source:
    Hermans et al., In Defense of the Triplet Loss, 2017 (batch hard).
    """

    def __init__(self, margin: float = 0.1) -> None:
        super().__init__()
        self.margin = margin

    def forward(self, vectors: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Loss of unit vectors [B, D] with labels [B], and the share whose own is the nearer."""
        sims = vectors @ vectors.T
        same = labels[:, None] == labels[None, :]
        own = same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        nearest_other = sims.masked_fill(same, -2).amax(1)
        farthest_own = sims.masked_fill(~own, 2).amin(1)
        usable = own.any(1) & ~same.all(1)
        gap = (nearest_other - farthest_own)[usable]
        if len(gap) == 0:  # nothing to compare with: no gradient, but a loss
            return vectors.sum() * 0, vectors.new_ones(())
        return functional.relu(gap + self.margin).mean(), (gap < 0).float().mean()


def leave_one_out_map(
    vectors: Tensor,
    labels: Rows,
    metric: Callable[[metrics.Hits], metrics.Floats] = metrics.average_precision,
) -> float:
    """The metric (mAP by trapezoids) of unit vectors [N, D], each image out of its own list."""
    queries = np.flatnonzero(partners(labels) > 1)
    require(len(queries), "no label has two images", "images to evaluate by")
    vectors = vectors.cpu()
    found = []
    for start in range(0, len(queries), BLOCK):
        rows = queries[start : start + BLOCK]
        sims = vectors[rows] @ vectors.T
        order = sims.argsort(dim=1, descending=True, stable=True).numpy()
        same = labels[order] == labels[rows][:, None]
        kinds = np.where(same, metrics.POSITIVE, metrics.NEITHER).astype(np.uint8)
        kinds[order == rows[:, None]] = metrics.JUNK
        found.append(metric(metrics.hits_of_labels(kinds, partners(labels)[rows] - 1)))
    return metrics.mean(np.concatenate(found))


def retrieval_maps(tokens: Iterable[list[Tensor]], labels: Rows, ways: Ways) -> dict[str, float]:
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


def detector_ways(
    detector: SpatialAttention2d, device: torch.device, tokens: Tensor
) -> dict[str, tuple[Tensor, Tensor]]:
    """With one, in eval mode: its own descriptors, and its weights on the backbone's."""
    tokens = tokens.to(device)
    descriptors, weights = describe_tokens(detector, tokens)
    backbone = functional.normalize(tokens, dim=1)
    return {"map": (descriptors, weights), "map_on_backbone": (backbone, weights)}
