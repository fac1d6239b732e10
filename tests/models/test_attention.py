"""Attention by runs of rows (bf16, CPU, no gradients) is scaled_dot_product_attention."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ames_lite.models import AMES
from ames_lite.models.blocks import ROWS, attend
from tests.models.measure import LargestTensor
from tests.models.seeded import descriptors


def heads(seed: int, num: int) -> Tensor:
    """[2, 2, num, 64], strided as the projections of tokens are."""
    return descriptors(seed, 2, num, 128).unflatten(2, (2, 64)).transpose(1, 2)


@pytest.mark.parametrize("num", [2, ROWS, ROWS + 1, 3 * ROWS - 7])
@pytest.mark.parametrize("padded", [False, True])
def test_runs_of_rows_are_scaled_dot_product_attention(num: int, padded: bool) -> None:
    q, k, v = heads(0, num), heads(1, 77), heads(2, 77)
    mask = None
    if padded:
        valid = torch.arange(77) < torch.tensor([[1], [50]])  # one key alone; 50 of 77
        mask = valid[:, None, None]
        v = v.masked_fill(~mask.transpose(2, 3), 1e4)  # what padding holds is never seen
    exact = F.scaled_dot_product_attention(q, k, v, mask)
    with torch.inference_mode():
        found = attend(q.bfloat16(), k.bfloat16(), v.bfloat16(), mask)
    assert found.dtype == torch.bfloat16 and found.shape == exact.shape
    assert (found.float() - exact).abs().max() < 0.03 * exact.abs().max()


def test_it_is_nearer_to_float32_than_the_fused_kernel_or_about_as_near() -> None:
    q, k, v = (heads(seed, 300) for seed in range(3))
    exact = F.scaled_dot_product_attention(q, k, v)
    half = [x.bfloat16() for x in (q, k, v)]
    with torch.inference_mode():
        gaps = [
            (attention(*half, None).float() - exact).pow(2).mean().sqrt()
            for attention in (attend, F.scaled_dot_product_attention)
        ]
    assert gaps[0] < 1.5 * gaps[1]


def test_gradients_flow_through_the_fused_kernel() -> None:
    q, k, v = (heads(seed, ROWS + 5).bfloat16().requires_grad_() for seed in range(3))
    attend(q, k, v, None).float().sum().backward()
    assert all(x.grad is not None and bool(x.grad.isfinite().all()) for x in (q, k, v))


def test_a_head_in_bf16_stays_near_float32_beyond_one_run() -> None:
    torch.manual_seed(0)
    head = AMES(dim_in=64, num_layers=3, dim_feedforward=128).eval()
    query, gallery = descriptors(3, 1, ROWS + 30, 64), descriptors(4, 4, 2 * ROWS + 3, 64)
    valid = torch.arange(2 * ROWS + 3) < torch.tensor([[5], [ROWS], [ROWS + 1], [2 * ROWS + 3]])
    with torch.inference_mode():
        exact = head.score(head.encode(query), head.encode(gallery, valid, gallery=True))
        with torch.autocast("cpu", torch.bfloat16):
            found = head.score(head.encode(query), head.encode(gallery, valid, gallery=True))
    assert not torch.equal(found, exact)
    assert (found - exact).abs().max() < 2e-2


def test_memory_of_the_runs_grows_linearly() -> None:
    sizes = []
    for num in (2 * ROWS, 4 * ROWS, 8 * ROWS):
        q, k, v = (heads(seed, num).bfloat16() for seed in range(3))
        with torch.inference_mode(), LargestTensor() as largest:
            attend(q, k, v, None)
        sizes.append(largest.numel)
    assert sizes[2] <= 2 * sizes[1] <= 4 * sizes[0]
    assert sizes[2] < 2 * 2 * (8 * ROWS) ** 2 / 4  # a quarter of all logits
