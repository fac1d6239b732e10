"""Augmentation in descriptor space: what a head may not rely on is taken away."""

from __future__ import annotations

import torch
from torch import Tensor

from ames_lite.models.binarization import random_rotation
from ames_lite.training.dataset import Side, TripletBatch


def rotate(batch: TripletBatch, center: Tensor, generator: torch.Generator) -> TripletBatch:
    """The batch with x → center + (x − center) R, one random orthogonal R [D, D] for all of it.

    center [D]: the mean descriptor. Descriptors are float on the way out, close to unit length, not
    exactly. The generator is one of the CPU, so that every device turns alike.
    """
    device = batch.query.descriptors.device
    rotation, mean = random_rotation(len(center), generator).to(device), center.to(device)

    def turned(side: Side) -> Side:
        return Side((side.descriptors.float() - mean) @ rotation + mean, side.valid)

    return TripletBatch(*(turned(side) for side in batch))


def mirror(batch: TripletBatch) -> TripletBatch:
    """The batch as if all of its images had been mirrored: SIFT (or RootSIFT) descriptors alone.

    A keypoint's patch, turned to its orientation, is then upside down: of the 4 × 4 cells of 8
    directions (Lowe 2004) the rows change places, and every direction is negated. D must be 128.
    """
    cells = torch.arange(128).reshape(4, 4, 8)
    order = cells.flip(0)[:, :, -torch.arange(8) % 8].flatten().to(batch.query.descriptors.device)

    def mirrored(side: Side) -> Side:
        return Side(side.descriptors[..., order], side.valid)

    return TripletBatch(*(mirrored(side) for side in batch))
