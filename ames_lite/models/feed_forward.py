"""linear2(relu(linear1(x))), and its gradient a few rows at a time on a CPU.

Input: x [..., D]. Output: the same shape. Step by step autograd makes the hidden layer's gradient
twice, in memory that the system has just cleared, which on a CPU takes time of its own. Here it is
made in blocks that fit the caches, and overwritten. Same numbers as step by step but for the order
in which the weights' gradients are added, in float32 at least.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ames_lite.models.cpu_kernels import relu_gradient_

ROWS = 1024  # of a block: 4 MiB of a hidden layer of 1024 in float32


def feed_forward(x: Tensor, linear1: nn.Linear, linear2: nn.Linear) -> Tensor:
    """The feed-forward, in the precision of autocast where that is on."""
    weights = linear1.weight, linear1.bias, linear2.weight, linear2.bias
    learning = torch.is_grad_enabled() and any(part.requires_grad for part in (x, *weights))
    if learning and x.device.type == "cpu" and not torch.compiler.is_compiling():
        lowered = torch.is_autocast_enabled("cpu")
        dtype = torch.get_autocast_dtype("cpu") if lowered else x.dtype
        parts = [part.to(dtype) for part in (x.flatten(0, -2), *weights)]
        with torch.autocast("cpu", enabled=False):
            out: Tensor = _InBlocks.apply(*parts)
        return out.unflatten(0, x.shape[:-1])
    hidden: Tensor = linear1(x)
    # In place autograd would copy it thrice: the output of a linear layer is a view.
    hidden = hidden.relu() if hidden.requires_grad else hidden.relu_()
    update: Tensor = linear2(hidden)
    return update


class _InBlocks(torch.autograd.Function):
    """Of x [N, D]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> Tensor:
        hidden, out = x.new_empty(len(x), len(w1)), x.new_empty(len(x), len(w2))
        for rows in _blocks(x):
            torch.addmm(b1, x[rows], w1.t(), out=hidden[rows]).relu_()
            torch.addmm(b2, hidden[rows], w2.t(), out=out[rows])
        ctx.save_for_backward(x, hidden, w1, w2)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        x, hidden, w1, w2 = ctx.saved_tensors
        adding = torch.promote_types(x.dtype, torch.float32)
        of_w1, of_w2 = (torch.zeros_like(weight, dtype=adding) for weight in (w1, w2))
        of_b1, of_x = of_w1.new_zeros(len(w1)), torch.empty_like(x)
        for rows in _blocks(x):
            given, active = gradient[rows].contiguous(), hidden[rows]
            of_hidden = given @ w2
            relu_gradient_(of_hidden, active)
            torch.mm(of_hidden, w1, out=of_x[rows])
            _add_product(of_w1, of_hidden.t(), x[rows])
            _add_product(of_w2, given.t(), active)
            of_b1 += of_hidden.sum(0, dtype=adding)
        of_b2 = gradient.sum(0, dtype=adding)
        weights = (part.to(x.dtype) for part in (of_w1, of_b1, of_w2, of_b2))
        return of_x, *weights


def _blocks(x: Tensor) -> list[slice]:
    return [slice(start, start + ROWS) for start in range(0, len(x), ROWS)]


def _add_product(total: Tensor, a: Tensor, b: Tensor) -> None:
    """total += a b, where total may have more digits than a and b."""
    if total.dtype == a.dtype:
        total.addmm_(a, b)
    else:
        total += a @ b
