"""Linear layers in bfloat16 on CPUs, their weights laid out once as oneDNN multiplies them.

torch lays them out anew at every call, a sixth of their time; results are the same. A packed layer
has no `weight` any more: whatever reads weights must do so before.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ames_lite.models.cpu_kernels import pack_weight, packed_linear


class PackedLinear(nn.Module):
    """x weightᵀ + bias of an nn.Linear in bfloat16. packed: its weight."""

    def __init__(self, packed: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self._packed = packed
        self._bias = None if bias is None else bias.detach().to(torch.bfloat16)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens [..., in] -> bfloat16 [..., out]."""
        return packed_linear(tokens.to(torch.bfloat16), self._packed, self._bias)


def pack_linears(network: nn.Module) -> None:
    """In place: every plain nn.Linear of bfloat16 becomes a PackedLinear, if torch has them."""
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.Linear and child.weight.dtype == torch.bfloat16:
                packed = pack_weight(child.weight.detach().contiguous())
                if packed is not None:
                    setattr(module, name, PackedLinear(packed, child.bias))
