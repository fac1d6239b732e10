"""Rotation in descriptor space keeps every distance and changes every descriptor."""

from __future__ import annotations

import torch

from ames_lite.training.augmentation import rotate
from ames_lite.training.dataset import Side, TripletBatch


def a_batch() -> TripletBatch:
    generator = torch.Generator().manual_seed(0)
    sides = (Side(torch.rand(2, 5, 16, generator=generator), None) for _ in range(3))
    return TripletBatch(*sides)


def test_distances_stay_across_the_whole_batch() -> None:
    batch = a_batch()
    center = torch.rand(16, generator=torch.Generator().manual_seed(1))
    turned = rotate(batch, center, torch.Generator().manual_seed(2))
    before, after = (
        torch.cat([side.descriptors.flatten(0, 1) for side in b] + [center[None]])
        for b in (batch, turned)
    )
    exact = "donot_use_mm_for_euclid_dist"
    distances = [torch.cdist(x, x, compute_mode=exact) for x in (before, after)]
    assert torch.allclose(*distances, atol=1e-5)
    assert (before - after)[:-1].norm(dim=1).min() > 0.1


def test_the_seed_decides_the_rotation() -> None:
    batch, center = a_batch(), torch.zeros(16)
    one, same, other = (
        rotate(batch, center, torch.Generator().manual_seed(seed)).query.descriptors
        for seed in (0, 0, 1)
    )
    assert torch.equal(one, same) and not torch.equal(one, other)
