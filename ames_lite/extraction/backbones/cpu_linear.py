"""Linear layers in bfloat16 on CPUs: weights laid out once as oneDNN multiplies them.

Input: a network for inference. Output: the same network, whose linear layers of bfloat16 hold their
weights in blocks. torch lays them out anew at every call, a sixth of their time; results are the
same.

A packed layer has no `weight` any more, so only plain nn.Linear layers are packed; whatever reads
weights must do so before.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

ROWS = 1024  # tokens that a layout is chosen for; others work too


class PackedLinear(nn.Module):
    """x weightᵀ + bias of an nn.Linear in bfloat16, whose weight [out, in] is laid out once."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        with torch.no_grad():
            weight = linear.weight.detach().to(torch.bfloat16).contiguous()
            self._packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, ROWS)
            self._bias = None if linear.bias is None else linear.bias.detach().to(torch.bfloat16)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens [..., in] -> bfloat16 [..., out]."""
        given = tokens.to(torch.bfloat16)
        found: Tensor = torch.ops.mkldnn._linear_pointwise(
            given, self._packed, self._bias, "none", [], ""
        )
        return found


def pack_linears(network: nn.Module) -> None:
    """In place: every plain nn.Linear of bfloat16 becomes a PackedLinear, if torch has them."""
    if not can_pack():
        return
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.Linear and child.weight.dtype == torch.bfloat16:
                setattr(module, name, PackedLinear(child))


def can_pack() -> bool:
    """Whether this torch has the two operations, and the CPU what they need."""
    known: Any = torch.ops.mkldnn
    names = ("_reorder_linear_weight", "_linear_pointwise", "_is_mkldnn_bf16_supported")
    return (
        torch.backends.mkldnn.is_available()
        and all(hasattr(known, name) for name in names)
        and bool(known._is_mkldnn_bf16_supported())
    )
