"""The sign and its smooth stand-in; the ITQ start; bits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ames_lite.errors import BadInput
from ames_lite.models import AMES
from ames_lite.models.binarization import (
    Binarization,
    fit_itq,
    nearest_rotation,
    pack_bits,
    unpack_bits,
)
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


def clustered(seed: int, num: int = 600, dim: int = 24) -> tuple[torch.Tensor, torch.Tensor]:
    """Descriptors [num, dim] about 60 places, with a mean far from 0, and their places."""
    places = descriptors(seed, 60, dim) * torch.linspace(2, 0.3, dim) + 1.5
    place = torch.arange(num) % 60
    return places[place] + 0.4 * descriptors(seed + 1, num, dim), place


def fitted(x: torch.Tensor, bits: int, seed: int = 0, **options: int) -> torch.Tensor:
    return fit_itq(x, bits, torch.Generator().manual_seed(seed), **options)


def test_itq_gives_orthonormal_columns_that_do_not_see_the_mean() -> None:
    x, _ = clustered(0)
    w = fitted(x, 16)
    assert w.shape == (24, 16) and w.dtype == torch.float32
    assert biggest_difference(w.T @ w, torch.eye(16)) < 1e-6
    mean = torch.nn.functional.normalize(x, dim=-1).mean(0)
    assert (mean @ w).abs().max() < 1e-6
    assert biggest_difference(fitted(7 * x, 16), w) < 1e-5  # the layer normalises too
    share = (torch.nn.functional.normalize(x, dim=-1) @ w > 0).float().mean(0)
    assert share.min() > 0.3 and share.max() < 0.7


def test_itq_comes_nearer_to_the_signs_with_every_iteration() -> None:
    x, _ = clustered(0)
    unit = torch.nn.functional.normalize(x.double(), dim=-1)
    losses = []
    for iterations in range(8):
        projected = unit @ fitted(x, 16, iterations=iterations).double()
        losses.append((projected.sign() - projected).square().sum().item())
    assert all(later < earlier for earlier, later in zip(losses, losses[1:], strict=False))


def test_itq_spans_the_strongest_directions() -> None:
    x, _ = clustered(0)
    unit = torch.nn.functional.normalize(x.double(), dim=-1)
    axis = torch.nn.functional.normalize(unit.mean(0), dim=0)
    flat = unit - unit.mean(0)
    flat = flat - (flat @ axis)[:, None] * axis
    strongest = torch.linalg.svd(flat, full_matrices=False)[2][:16].T
    w = fitted(x, 16).double()
    assert biggest_difference(w @ w.T, strongest @ strongest.T) < 1e-6


@pytest.mark.slow
def test_nearest_rotation_is_the_nearest_of_all_in_the_plane() -> None:
    points = descriptors(1, 50, 2).double()
    targets = points.sign()
    best = min(
        (points @ rotation - targets).square().sum().item()
        for flip in (1.0, -1.0)
        for angle in torch.linspace(0, 2 * torch.pi, 20_001, dtype=torch.float64)
        for rotation in [
            torch.tensor(
                [[angle.cos(), -flip * angle.sin()], [angle.sin(), flip * angle.cos()]],
                dtype=torch.float64,
            )
        ]
    )
    found = (points @ nearest_rotation(points, targets) - targets).square().sum().item()
    assert best - 1e-4 < found < best + 1e-9


def test_itq_codes_find_neighbours_better_than_random_projections() -> None:
    x, place = clustered(0)
    found = []
    for w in (fitted(x, 16), torch.linalg.qr(descriptors(5, 24, 16))[0]):
        layer = Binarization(24, 16).eval()
        layer.load_state_dict({"W": w})
        with torch.no_grad():
            codes = layer(x)
        alike = codes @ codes.T - 100 * torch.eye(len(x))
        nearest = alike.topk(5, dim=1).indices
        found.append((place[nearest] == place[:, None]).float().mean().item())
    assert found[0] > found[1] + 0.1


def test_itq_is_repeatable_by_seed_and_0_is_a_seed() -> None:
    x, _ = clustered(0)
    first, again, other = (fitted(x, 8, seed) for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_itq_with_as_many_bits_as_entries_leaves_out_the_mean_alone() -> None:
    x, _ = clustered(0)
    w = fitted(x, 24).double()
    mean = torch.nn.functional.normalize(x.double(), dim=-1).mean(0)
    axis = torch.nn.functional.normalize(mean, dim=0)
    assert biggest_difference(w @ w.T, torch.eye(24).double() - axis[:, None] * axis) < 1e-5


def test_itq_fits_a_binary_head_and_packed_codes_are_its_own() -> None:
    x, _ = clustered(0)
    head = AMES(dim_in=24, dim=16, num_layers=1, dim_feedforward=16, binary=True).eval()
    layer = head.remap_local[0]
    assert isinstance(layer, Binarization)
    with torch.no_grad():
        layer.W.copy_(fitted(x, 16))
        codes = pack_bits(layer(x[None, :9]))
        assert codes.shape == (1, 9, 2)
        assert torch.equal(head(codes, None, codes), head(x[None, :9], None, x[None, :9]))


@pytest.mark.parametrize(
    "wrong, message",
    [
        ((torch.zeros(5), 2), r"\[5\]"),
        ((torch.zeros(1, 8), 2), r"\[1, 8\]"),
        ((torch.zeros(5, 8).long(), 2), "int64"),
        ((torch.full((5, 8), torch.nan), 2), "NaN"),
        ((torch.zeros(5, 8), 9), "bits is 9.*1 to 8"),
        ((torch.zeros(5, 8), 0), "bits is 0"),
    ],
)
def test_what_itq_cannot_fit_is_refused(wrong: tuple[torch.Tensor, int], message: str) -> None:
    with pytest.raises(BadInput, match=f"(?s){message}"):
        fitted(*wrong)


def test_bits_that_do_not_fill_bytes_are_refused() -> None:
    with pytest.raises(BadInput, match=r"(?s)\[3, 12\].*multiple of 8"):
        pack_bits(torch.zeros(3, 12))
    with pytest.raises(BadInput, match="float32"):
        unpack_bits(torch.zeros(3, 2))


def test_zero_packs_as_minus_one() -> None:
    signs = torch.tensor([[0.0, 1, 0, -1, 1, 1, 0, 0]])
    assert unpack_bits(pack_bits(signs)).tolist() == [[-1, 1, -1, -1, 1, 1, -1, -1]]
