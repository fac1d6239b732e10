"""Rotation keeps every distance in descriptor space; mirroring is that of the image."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import torch

from ames_lite.training.dataset import Side, TripletBatch, mirror, rotate


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


def described(
    image: npt.NDArray[np.uint8], keypoints: list[cv2.KeyPoint]
) -> npt.NDArray[np.float32]:
    """RootSIFT of these very keypoints, [K, 128]."""
    found = cv2.SIFT_create().compute(image, keypoints)[1]
    assert len(found) == len(keypoints)
    return np.sqrt(found / found.sum(1, keepdims=True))


def test_mirrored_descriptors_are_those_of_the_mirrored_image() -> None:
    noise = np.random.default_rng(0).random((200, 301)).astype(np.float32)
    image = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), None, 0, 255, cv2.NORM_MINMAX)
    image = image.astype(np.uint8)
    keypoints = cv2.SIFT_create().detect(image, None)
    there = [
        cv2.KeyPoint(300 - k.pt[0], k.pt[1], k.size, (180 - k.angle) % 360, k.response, k.octave)
        for k in keypoints
    ]
    here, wanted = described(image, keypoints), described(image[:, ::-1].copy(), there)
    side = Side(torch.from_numpy(here)[None], None)
    found = mirror(TripletBatch(side, side, side)).positive.descriptors[0].numpy()
    assert len(keypoints) > 100
    assert (found * wanted).sum(1).mean() > 0.99  # SIFT interpolates: not to the bit
    assert (here * wanted).sum(1).mean() < 0.9


def test_mirroring_twice_is_nothing_and_keeps_what_is_valid() -> None:
    valid = torch.tensor([[True, True, False]])
    side = Side(torch.rand(1, 3, 128, generator=torch.Generator().manual_seed(0)), valid)
    batch = TripletBatch(side, side, side)
    once = mirror(batch)
    for before, between, after in zip(batch, once, mirror(once), strict=True):
        assert torch.equal(before.descriptors, after.descriptors)
        assert not torch.equal(before.descriptors, between.descriptors)
        assert between.valid is before.valid
