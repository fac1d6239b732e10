"""Private operators of torch that are faster on CPUs, each behind one function.

Where torch lacks one, the plain form is computed, which tests compare it with.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


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
