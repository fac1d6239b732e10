"""The sign and its smooth stand-in."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ames_lite.models.binarization import Binarization
from tests.helpers import shared_file
from tests.models.seeded import biggest_difference, descriptors


def seeded_layer(sigma: float = 0.01) -> Binarization:
    layer = Binarization(16, 8, sigma)
    with torch.no_grad():
        layer.W.copy_(descriptors(3, 16, 8))
    return layer


def test_published_values_and_gradient_are_met() -> None:
    with np.load(shared_file("fixtures/binarization_train.npz")) as file:
        x, w, y, grad = (torch.from_numpy(file[k]) for k in ("x", "W", "y", "gradW"))
        layer = Binarization(*w.shape, sigma=float(file["sigma"])).train()
    layer.load_state_dict({"W": w})
    out = layer(x)
    (torch.arange(out.shape[1]) * out).sum().backward()
    assert biggest_difference(out, y) < 1e-5
    assert layer.W.grad is not None
    assert biggest_difference(layer.W.grad, grad) < 1e-5 * grad.abs().max().item()


def test_recorded_values_stay() -> None:
    out = seeded_layer(sigma=1.0)(descriptors(4, 2, 16))
    numbers = [*out.flatten()[:6].tolist(), out.sum().item()]
    assert numbers == pytest.approx(RECORDED, abs=1e-5)


RECORDED = [0.61775, -0.916864, 0.005759, -0.159287, -0.436621, 0.152907, -0.519482]


@torch.no_grad()
def test_eval_gives_signs_and_zero_for_zero() -> None:
    layer, x = seeded_layer().eval(), descriptors(4, 5, 16)
    x[2] = 0
    out = layer(x)
    assert torch.equal(out[2], torch.zeros(8))
    assert set(out[[0, 1, 3, 4]].unique().tolist()) == {-1.0, 1.0}
    assert torch.equal(layer(7 * x), out)


@torch.no_grad()
def test_training_tends_to_the_sign_as_sigma_shrinks() -> None:
    x = descriptors(4, 5, 16)
    signs = seeded_layer().eval()(x)
    gaps = [biggest_difference(seeded_layer(s).train()(x), signs) for s in (1.0, 1e-2, 1e-9)]
    assert gaps[0] > gaps[1] > gaps[2]
    assert gaps[2] < 1e-6


@torch.no_grad()
def test_signs_do_not_turn_under_autocast() -> None:
    layer, x = seeded_layer().eval(), descriptors(4, 200, 16)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer(x), seeded_layer().eval()(x).float())
