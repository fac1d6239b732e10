"""Private operators of torch that are faster on CPUs, each behind one function.

Where torch lacks one, the plain form is computed, which tests compare it with.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

PACKED_ROWS = 1024  # tokens that a layout of weights is chosen for; others work too


def softmax_gradient(gradient: Tensor, output: Tensor) -> Tensor:
    """The gradient of the input of a softmax over the last axis, from that of its output."""
    backward = getattr(torch, "_softmax_backward_data", None)
    if backward is None:
        return plain_softmax_gradient(gradient, output)
    found: Tensor = backward(gradient, output, -1, output.dtype)
    return found


def plain_softmax_gradient(gradient: Tensor, output: Tensor) -> Tensor:
    weighted = gradient * output
    return weighted - output * weighted.sum(-1, keepdim=True)


def relu_gradient_(gradient: Tensor, output: Tensor) -> Tensor:
    """The gradient of the input of a ReLU, in place of that of its output."""
    backward: Any = getattr(torch.ops.aten, "threshold_backward", None)
    if backward is None or not hasattr(backward, "grad_input"):
        return plain_relu_gradient_(gradient, output)
    found: Tensor = backward.grad_input(gradient, output, 0, grad_input=gradient)
    return found


def plain_relu_gradient_(gradient: Tensor, output: Tensor) -> Tensor:
    return gradient.mul_(output > 0)


def pack_weight(weight: Tensor) -> Tensor | None:
    """A bfloat16 weight [out, in], laid out as oneDNN multiplies it; None where it cannot be."""
    known: Any = torch.ops.mkldnn
    names = ("_reorder_linear_weight", "_linear_pointwise", "_is_mkldnn_bf16_supported")
    if not torch.backends.mkldnn.is_available() or not all(hasattr(known, n) for n in names):
        return None
    if not known._is_mkldnn_bf16_supported():
        return None
    packed: Tensor = known._reorder_linear_weight(weight, PACKED_ROWS)
    return packed


def packed_linear(x: Tensor, packed: Tensor, bias: Tensor | None) -> Tensor:
    """x weightᵀ + bias of bfloat16, by what `pack_weight` gave."""
    found: Tensor = torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")
    return found


@contextlib.contextmanager
def bfloat16_products() -> Iterator[None]:
    """Within, float32 products on a CPU may round what they multiply to bfloat16.

    The switch is that of the whole process; without it, products stay as they are.
    """
    switch = getattr(torch.backends.mkldnn, "matmul", None)
    if switch is None or not hasattr(switch, "fp32_precision"):
        yield
        return
    before = switch.fp32_precision
    switch.fp32_precision = "bf16"
    try:
        yield
    finally:
        switch.fp32_precision = before
