"""Private operators of torch against their plain forms; without them those are what is computed."""

from __future__ import annotations

import pytest
import torch

from ames_lite.models import cpu_kernels


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_are_those_of_autograd(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 5, 7).requires_grad_()
    given = torch.randn(3, 5, 7)
    tolerance = 1e-6 if dtype == torch.float32 else 2e-2
    output = x.softmax(-1)
    (wanted,) = torch.autograd.grad(output, x, given)
    parts = given.to(dtype), output.detach().to(dtype)
    for form in (cpu_kernels.softmax_gradient, cpu_kernels.plain_softmax_gradient):
        assert (form(*parts).float() - wanted).abs().max() < tolerance
    output = x.relu()
    (wanted,) = torch.autograd.grad(output, x, given)
    for form in (cpu_kernels.relu_gradient_, cpu_kernels.plain_relu_gradient_):
        gradient = given.to(dtype)
        assert form(gradient, output.detach().to(dtype)) is gradient
        assert torch.equal(gradient, wanted.to(dtype))


def test_a_torch_without_them_computes_the_plain_forms(monkeypatch: pytest.MonkeyPatch) -> None:
    given, output = torch.randn(4, 6), torch.randn(4, 6).softmax(-1)
    plain = cpu_kernels.plain_softmax_gradient(given, output)
    relu = cpu_kernels.plain_relu_gradient_(given.clone(), output - 0.2)
    monkeypatch.delattr(torch, "_softmax_backward_data")
    monkeypatch.setattr(torch.ops, "aten", object())
    assert torch.equal(cpu_kernels.softmax_gradient(given, output), plain)
    assert torch.equal(cpu_kernels.relu_gradient_(given.clone(), output - 0.2), relu)
