"""softmax(q k / √C) v for tokens of a pair, by the quickest way that a device and a precision have.

It is scaled_dot_product_attention, but for bf16 on a CPU: measured with AVX-512 and no AMX, its
blocks of bf16 are no faster than float32, and plain products are four times as fast. There the
matrices [N, M] are made of some rows or a few images at a time, and again for the gradient.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

ENTRIES = 700_000  # of the matrices that are made at a time, over all heads: 1.4 MB
ROWS = 200  # query tokens at a time without gradients


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Of q [B, H, N, C], k and v [B, H, M, C]; mask [B, 1, 1, M]: True = seen; None: all are.

    Every row sees at least one key. Memory grows linearly with the tokens.
    """
    plain = q.dtype == torch.bfloat16 and q.device.type == "cpu"
    if torch.compiler.is_compiling() or not plain or q.shape[2] == 1:
        return F.scaled_dot_product_attention(q, k, v, mask)
    q = q * q.shape[-1] ** -0.5
    if not (torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v))):
        return torch.cat([_products(rows, k, v, mask) for rows in q.split(ROWS, 2)], 2)
    size = max(1, ENTRIES // (q[0, :, :, 0].numel() * k.shape[2]))
    masks = [mask] * len(q) if mask is None or len(mask) == 1 else mask.split(size)
    parts = zip(q.split(size), k.split(size), v.split(size), masks, strict=False)
    found = [checkpoint(_products, *part, use_reentrant=False) for part in parts]
    return torch.cat(found)


def _products(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    logits = q @ k.transpose(2, 3)
    if mask is not None:
        logits = logits.masked_fill(~mask, -torch.inf)
    return logits.softmax(-1) @ v
