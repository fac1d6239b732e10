"""Attention by plain products (bf16, CPU) is that of torch, and so is its gradient."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ames_lite.models import AMES
from ames_lite.models.blocks import ENTRIES, ROWS, attend
from tests.models.measure import LargestTensor
from tests.models.seeded import descriptors

Attention = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]


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


def learned(attention: Attention, dtype: torch.dtype, rows: int, mask: Tensor | None) -> Tensor:
    """The output and the gradients of q, k and v, one after the other."""
    q, k, v = (heads(seed, 90)[..., :64].to(dtype).requires_grad_() for seed in range(3))
    out = attention(q[:, :, :rows], k, v, mask)
    given = heads(3, rows).to(dtype)
    found = torch.autograd.grad(out, (q, k, v), given)
    return torch.cat([x.double().flatten() for x in (out, *found)])


@pytest.mark.parametrize("rows", [1, 2, 90])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("entries", [ENTRIES, 1])
def test_gradients_of_blocks_are_those_of_float32(
    rows: int, padded: bool, entries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All images at once, one at a time."""
    monkeypatch.setattr("ames_lite.models.blocks.ENTRIES", entries)
    valid = torch.arange(90) < torch.tensor([[1], [50]])
    mask = valid[:, None, None] if padded else None
    exact = learned(F.scaled_dot_product_attention, torch.float64, rows, mask)
    gaps = [
        (learned(attention, torch.bfloat16, rows, mask) - exact).norm()
        for attention in (attend, F.scaled_dot_product_attention)
    ]
    assert 0 < gaps[0] < 0.02 * exact.norm()
    assert gaps[0] < 1.5 * gaps[1]


def test_float32_and_what_asks_for_no_gradient_go_as_before() -> None:
    exact, found = (
        learned(attention, torch.float32, 90, None)
        for attention in (F.scaled_dot_product_attention, attend)
    )
    assert torch.equal(found, exact)
    q, k, v = (heads(seed, 90).bfloat16() for seed in range(3))
    with torch.inference_mode():
        quiet = attend(q, k, v, None)
    assert torch.equal(attend(q, k, v, None), quiet)  # gradients are on, and nobody asks for one


def test_no_matrix_of_an_attention_is_kept_for_the_gradient() -> None:
    num, kept = 2 * ROWS, []
    q, k, v = (heads(seed, num).bfloat16().requires_grad_() for seed in range(3))

    def note(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        attend(q, k, v, None)
    assert max(kept, default=0) <= q.numel() < num * num


def test_the_gradient_of_a_head_in_bf16_stays_near_float32() -> None:
    torch.manual_seed(0)
    head = AMES(dim_in=64, num_layers=3, dim_feedforward=128).train()
    query, gallery = descriptors(3, 4, 60, 64), descriptors(4, 4, 90, 64)
    valid = torch.arange(90) < torch.tensor([[5], [90], [60], [1]])
    found = []
    for dtype in (torch.float32, torch.bfloat16):
        head.zero_grad()
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            logits = head.score(head.encode(query), head.encode(gallery, valid, gallery=True))
        assert isinstance(logits, Tensor)
        logits.square().sum().backward()
        gradients = [p.grad for p in head.parameters()]
        found.append(torch.cat([g.flatten() for g in gradients if g is not None]))
    assert 0 < (found[1] - found[0]).norm() < 0.05 * found[0].norm()


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
