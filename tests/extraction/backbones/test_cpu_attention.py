"""Attention of bfloat16 on a CPU: torch's own within rounding, and nobody else is touched."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from ames_lite.extraction.backbones import cpu_attention
from ames_lite.extraction.backbones.cpu_attention import ROWS, HeadByHead, attend, quick_attention

CPU = torch.device("cpu")


def tensors(seed: int, queries: int, keys: int, batch: int = 2, heads: int = 3) -> list[Tensor]:
    """Query, key and value as a network has them: [B, H, N, C] views of [B, N, H, C]."""
    generator = torch.Generator().manual_seed(seed)
    sizes = [(queries, 16), (keys, 16), (keys, 16)]
    drawn = [torch.randn(batch, n, heads, c, generator=generator) for n, c in sizes]
    return [(2 * values).bfloat16().transpose(1, 2) for values in drawn]


@pytest.mark.parametrize("queries, keys", [(1, 1), (7, 5), (ROWS, 40), (2 * ROWS + 3, 64)])
@pytest.mark.parametrize("scale", [None, 0.5])
def test_it_is_the_softmax_of_similarities(queries: int, keys: int, scale: float | None) -> None:
    query, key, value = tensors(1, queries, keys)
    sims = query.double() @ key.double().transpose(2, 3) * (scale or 0.25)
    exact = sims.softmax(dim=-1) @ value.double()
    with torch.autocast("cpu", torch.bfloat16):
        found = attend(query, key, value, scale)
    assert found.dtype == torch.bfloat16 and found.shape == exact.shape
    own = functional.scaled_dot_product_attention(query, key, value, scale=scale)
    error, usual = (float((t.double() - exact).norm() / exact.norm()) for t in (found, own))
    assert error < 4e-3 and error < 2 * usual + 1e-3


def test_plain_calls_are_taken_over_and_others_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Size] = []

    def watch(query: Tensor, *others: Tensor, **named: Any) -> Tensor:
        seen.append(query.shape)
        return attend(query, *others, **named)

    monkeypatch.setattr(cpu_attention, "attend", watch)
    given = tensors(2, 6, 6)
    usual = functional.scaled_dot_product_attention
    with HeadByHead():
        usual(*given)
        usual(*given, dropout_p=0.0, scale=0.3, is_causal=False, attn_mask=None)
        assert len(seen) == 2
        usual(*given, is_causal=True)
        usual(*given, attn_mask=torch.ones(6, 6, dtype=torch.bool))
        usual(*[t.float() for t in given])
        usual(*[t.clone().requires_grad_() for t in given])
        usual(*[t[0] for t in given])
    usual(*given)
    assert len(seen) == 2


def test_it_is_for_bfloat16_on_cpus_that_gain(monkeypatch: pytest.MonkeyPatch) -> None:
    for gains in (True, False):
        monkeypatch.setattr(cpu_attention, "_cpu_gains", lambda gains=gains: gains)
        assert isinstance(quick_attention(CPU, "bf16"), HeadByHead) == gains
        assert not isinstance(quick_attention(CPU, "fp32"), HeadByHead)
        assert not isinstance(quick_attention(torch.device("cuda"), "bf16"), HeadByHead)


def test_the_switch_is_put_back_and_may_be_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    given = tensors(3, 9, 9)
    switch = getattr(torch.backends.mkldnn, "matmul", None)
    before = getattr(switch, "fp32_precision", None)
    with_switch = attend(*given)
    assert getattr(switch, "fp32_precision", None) == before
    monkeypatch.setattr(torch.backends.mkldnn, "matmul", None, raising=False)
    assert (attend(*given) - with_switch).abs().max() <= 2**-7
