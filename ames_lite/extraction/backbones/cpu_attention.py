"""Attention in bfloat16 on CPUs: quicker than torch's kernel where matrices have no unit (AMX).

Input: a block of code. Output: in it, `scaled_dot_product_attention` of bfloat16 tensors on a CPU
is computed here, head by head. Similarities are float32, as in torch's kernel; what is multiplied
is bfloat16 on both sides, so that products are exact and only the order of sums differs.

While similarities are computed, float32 matrix products of the whole process may be those of
oneDNN, which on CPUs with bfloat16 instructions may round what it multiplies. Here that changes
nothing, for it is bfloat16 already. Other threads beware.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from ames_lite.models.cpu_kernels import bfloat16_products

ROWS = 512  # queries at a time: their similarities stay in the cache
CPUINFO = Path("/proc/cpuinfo")


def quick_attention(
    device: torch.device, precision: str
) -> contextlib.AbstractContextManager[object]:
    """The context in which attention is computed here, where that is quicker; else none."""
    if device.type == "cpu" and precision == "bf16" and _cpu_gains():
        return HeadByHead()
    return contextlib.nullcontext()


class HeadByHead(TorchFunctionMode):
    """Takes over the calls that `attend` can do; all others go their way."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        named = kwargs or {}
        if func is functional.scaled_dot_product_attention and _fits(*args, **named):
            query, key, value = args[:3]
            return attend(query, key, value, named.get("scale"))
        return func(*args, **named)


def attend(query: Tensor, key: Tensor, value: Tensor, scale: float | None = None) -> Tensor:
    """softmax(query keyᵀ scale) value: bfloat16 [B, H, Q, C], [B, H, T, C], [B, H, T, V] on a CPU.

    Returns bfloat16 [B, H, Q, V]; scale: None is 1 / sqrt(C).
    """
    batch, heads, num, width = query.shape
    factor = width**-0.5 if scale is None else scale
    exact = math.frexp(factor)[0] == 0.5  # a power of two: the queries stay bfloat16 numbers
    found = query.new_empty(batch, num, heads, value.shape[-1])  # as callers go on with it
    with torch.autocast("cpu", enabled=False):
        for one in range(batch):
            for head in range(heads):
                keys, values = key[one, head].float().T, value[one, head]
                queries = query[one, head].float()
                if exact:
                    queries *= factor
                for first in range(0, num, ROWS):
                    rows = slice(first, first + ROWS)
                    with bfloat16_products():
                        sims = queries[rows] @ keys
                    if not exact:
                        sims *= factor
                    weights = sims.softmax(dim=-1).to(query.dtype)
                    found[one, rows, head] = weights @ values
    return found.transpose(1, 2)


def _fits(
    query: Any,
    key: Any = None,
    value: Any = None,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    **named: Any,
) -> bool:
    """Whether a call is plain: bfloat16 on a CPU, no mask, no gradients."""
    if attn_mask is not None or dropout_p or is_causal or set(named) - {"scale", "enable_gqa"}:
        return False
    tensors = (query, key, value)
    return not named.get("enable_gqa") and all(
        isinstance(t, Tensor)
        and t.dtype == torch.bfloat16
        and t.device.type == "cpu"
        and t.ndim == 4
        and not (t.requires_grad and torch.is_grad_enabled())
        for t in tensors
    )


@cache
def _cpu_gains() -> bool:
    """Whether this CPU multiplies bfloat16 (AVX-512) and has no unit for matrices (AMX)."""
    if not CPUINFO.is_file():
        return False
    flags = set(CPUINFO.read_text(encoding="utf-8", errors="replace").split())
    return "avx512_bf16" in flags and "amx_bf16" not in flags
