"""Packed linear layers: what nn.Linear gives in bfloat16, and no other layer is touched."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from ames_lite.extraction.backbones import cpu_linear
from ames_lite.extraction.backbones.cpu_linear import PackedLinear, pack_linears
from ames_lite.models.cpu_kernels import pack_weight

PACKS = pack_weight(torch.ones(8, 8, dtype=torch.bfloat16)) is not None
needs_ops = pytest.mark.skipif(not PACKS, reason="no packed bfloat16 products on this CPU")


@needs_ops
@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (1, 1370)])
@pytest.mark.parametrize("bias", [True, False])
def test_it_is_the_linear_layer(shape: tuple[int, int], bias: bool) -> None:
    torch.manual_seed(3)
    linear = nn.Linear(48, 80, bias=bias).bfloat16().requires_grad_(False)
    tokens = torch.randn(*shape, 48)
    exact = functional.linear(
        tokens.bfloat16().double(),
        linear.weight.double(),
        None if not bias else linear.bias.double(),
    )
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        packed = pack_weight(linear.weight)
        assert packed is not None
        found, usual = PackedLinear(packed, linear.bias)(tokens), linear(tokens)
    assert found.dtype == usual.dtype == torch.bfloat16 and found.shape == exact.shape
    error, own = (float((t.double() - exact).norm() / exact.norm()) for t in (found, usual))
    assert error < 3e-3 and error < 1.01 * own + 1e-5


@needs_ops
def test_plain_bfloat16_layers_are_packed_and_others_are_not() -> None:
    class Other(nn.Linear):
        pass

    network = nn.Sequential(
        nn.Linear(8, 8).bfloat16(),
        nn.Linear(8, 8),
        Other(8, 8).bfloat16(),
        nn.Sequential(nn.Linear(8, 4).bfloat16()),
    )
    network.requires_grad_(False)
    pack_linears(network)
    assert isinstance(network[0], PackedLinear)
    assert type(network[1]) is nn.Linear and type(network[2]) is Other
    assert isinstance(network[3][0], PackedLinear)
    assert network[3](torch.ones(2, 8)).shape == (2, 4)


def test_without_the_operations_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_linear, "pack_weight", lambda weight: None)
    network = nn.Sequential(nn.Linear(8, 8).bfloat16())
    pack_linears(network)
    assert type(network[0]) is nn.Linear
