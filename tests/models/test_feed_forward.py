"""The feed-forward in blocks against the same step by step."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ames_lite.models import feed_forward as subject


def layers(
    dim: int, hidden: int, dtype: torch.dtype = torch.float32
) -> tuple[nn.Linear, nn.Linear]:
    torch.manual_seed(0)
    return nn.Linear(dim, hidden, dtype=dtype), nn.Linear(hidden, dim, dtype=dtype)


def plainly(x: Tensor, linear1: nn.Linear, linear2: nn.Linear) -> Tensor:
    return F.linear(linear1(x).relu(), linear2.weight, linear2.bias)


def gradients(of: Tensor, given: Tensor, *parts: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad((of * given).sum(), parts)


@pytest.mark.parametrize("shape", [(7, 8), (3, 5, 8), (1, 8)])
def test_value_and_gradients(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "ROWS", 4)  # blocks of unlike sizes
    both = layers(8, 16, torch.float64)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    given = torch.randn(shape, dtype=torch.float64)
    parts = [x, *(p for layer in both for p in layer.parameters())]
    found, wanted = subject.feed_forward(x, *both), plainly(x, *both)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
    for a, b in zip(gradients(found, given, *parts), gradients(wanted, given, *parts), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_without_gradients_it_is_step_by_step() -> None:
    both = layers(8, 16)
    x = torch.randn(5, 8)
    with torch.no_grad():
        assert torch.equal(subject.feed_forward(x, *both), plainly(x, *both))


def test_only_the_weights_learn() -> None:
    both = layers(8, 16)
    subject.feed_forward(torch.randn(5, 8), *both).sum().backward()
    assert both[0].weight.grad is not None and both[0].weight.grad.dtype == torch.float32


def test_under_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products in bf16; gradients are of the parameters' float32, and added in float32."""
    both = layers(64, 128)
    x, given = torch.randn(3000, 64, requires_grad=True), torch.randn(3000, 64)
    parts = [x, *(p for layer in both for p in layer.parameters())]
    exact = gradients(plainly(x, *both), given, *parts)

    def errors(form: Callable[..., Tensor]) -> list[float]:
        with torch.autocast("cpu", torch.bfloat16):
            found = form(x, *both)
        assert found.dtype == torch.bfloat16
        made = gradients(found, given, *parts)
        assert all(part.dtype == torch.float32 for part in made)
        return [float((a - b).norm() / b.norm()) for a, b in zip(made, exact, strict=True)]

    plain = errors(plainly)
    for rows in (3000, 16):  # many blocks lose nothing
        monkeypatch.setattr(subject, "ROWS", rows)
        for ours, theirs in zip(errors(subject.feed_forward), plain, strict=True):
            assert ours < 1.1 * theirs
