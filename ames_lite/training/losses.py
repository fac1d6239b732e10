"""Losses on logits of positive and negative pairs, each [B] float tensors."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def pair_loss(
    positive: Tensor, negative: Tensor, taught: tuple[Tensor, Tensor] | None = None, soft: float = 1
) -> Tensor:
    """Binary cross-entropy with logits, the mean over positive and negative pairs (scalar).

    taught: a teacher's logits of the same pairs, each [B]; its probabilities then are the share
    `soft`, in [0, 1], of the targets, and the labels the rest (soft targets; Hinton et al., 2015,
    at temperature 1). In float32 at least.
    """
    logits = torch.cat([positive, negative])
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    targets = torch.zeros_like(logits)
    targets[: len(positive)] = 1
    if taught is not None:
        targets = targets.lerp(torch.cat(taught).to(targets.dtype).sigmoid(), soft)
    return F.binary_cross_entropy_with_logits(logits, targets)


def pair_accuracy(positive: Tensor, negative: Tensor) -> float:
    """Share of pairs on the right side of logit 0, in [0, 1].

    >>> pair_accuracy(torch.tensor([1.0, -1.0]), torch.tensor([-2.0, -3.0]))
    0.75
    """
    right = torch.cat([positive > 0, negative < 0])
    return float(right.float().mean())
