"""softmax(q k / √C) v for tokens of a pair, by the quickest way that a device and a precision have.

Input: q [B, H, N, C], k and v [B, H, M, C]; mask [B, 1, 1, M] bool, True = a key that is seen, or
None; every row sees at least one. Output: [B, H, N, C].

It is scaled_dot_product_attention, but for bf16 on a CPU: measured with AVX-512 and no AMX, its
blocks of bf16 are no faster than float32, and with gradients slower, while plain products of
matrices are four times as fast. There the matrices [N, M] of a few images at a time are made, small
enough for the caches, and made again for the gradient, so memory still grows linearly with the
tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from ames_lite.models.cpu_kernels import softmax_gradient

ENTRIES = 700_000  # of the matrices that are made at a time, over all heads: 1.4 MB
ROWS = 200  # query tokens at a time without gradients


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """The attention, as above."""
    plain = q.dtype == torch.bfloat16 and q.device.type == "cpu"
    learning = torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v))
    if torch.compiler.is_compiling() or not plain or (q.shape[2] == 1 and not learning):
        return F.scaled_dot_product_attention(q, k, v, mask)
    if not learning:
        return _without_gradient(q, k, v, mask)
    if q.shape[2] == 1:
        return _one_row(q, k, v, mask)
    out: Tensor = _InBlocks.apply(q, k, v, mask)
    return out


def _without_gradient(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    out = q.new_empty(q.shape[0], q.shape[2], q.shape[1], q.shape[3])
    q = q * q.shape[-1] ** -0.5
    for start in range(0, q.shape[2], ROWS):
        seen = _shares(q[:, :, start : start + ROWS], k, mask)
        out[:, start : start + ROWS] = (seen @ v).transpose(1, 2)
    return out.transpose(1, 2)


def _one_row(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Of a single token, in float32: it costs next to nothing."""
    with torch.autocast(q.device.type, enabled=False):
        logits = (k.float() @ (q.float() * q.shape[-1] ** -0.5).transpose(2, 3)).transpose(2, 3)
        if mask is not None:
            logits = logits.masked_fill(~mask, -torch.inf)
        return (logits.softmax(-1) @ v.float()).to(q.dtype)


def _shares(q: Tensor, k: Tensor, mask: Tensor | None) -> Tensor:
    """softmax(q k) [B, H, N, M]."""
    logits = q @ k.transpose(2, 3)
    if mask is not None:
        logits.masked_fill_(~mask, -torch.inf)
    return logits.softmax(-1)


class _InBlocks(torch.autograd.Function):
    """The attention and its gradient, a few images or rows at a time; nothing [N, M] is kept."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        ctx.save_for_backward(q, k, v, mask)
        out = q.new_empty(q.shape[0], q.shape[2], q.shape[1], q.shape[3])
        for images, rows in _blocks(q, k):
            share = _shares(_scaled(q, images, rows), k[images], _of(mask, images))
            out[images, rows] = (share @ v[images]).transpose(1, 2)
        return out.transpose(1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        q, k, v, mask = ctx.saved_tensors
        blocks = list(_blocks(q, k))
        # Sums over many rows would lose in bf16; of all rows at once there is nothing to add.
        adding = (
            torch.float32 if len(blocks) > len({images.start for images, _ in blocks}) else None
        )
        of_k, of_v = (torch.zeros_like(x, dtype=adding) for x in (k, v))
        of_q = torch.empty_like(q)
        for images, rows in blocks:
            given = gradient[images, :, rows].contiguous()
            scaled, keys = _scaled(q, images, rows), k[images].contiguous()
            share = _shares(scaled, keys, _of(mask, images))
            of_v[images] += share.transpose(2, 3) @ given
            of_share = given @ v[images].transpose(2, 3)
            of_logits = softmax_gradient(of_share, share)
            of_q[images, :, rows] = (of_logits @ keys).mul_(q.shape[-1] ** -0.5)
            of_k[images] += of_logits.transpose(2, 3) @ scaled
        return of_q, of_k.to(k.dtype), of_v.to(v.dtype), None


def _blocks(q: Tensor, k: Tensor) -> Iterator[tuple[slice, slice]]:
    """Images and query tokens that are taken together: some images, or some tokens of one."""
    num, heads, tokens, _ = q.shape
    a_row = heads * k.shape[2]
    images = max(1, ENTRIES // (a_row * tokens))
    rows = -(-tokens // -(-a_row * tokens // ENTRIES)) if images == 1 else tokens
    for first in range(0, num, images):
        for start in range(0, tokens, rows):
            yield slice(first, first + images), slice(start, start + rows)


def _scaled(q: Tensor, images: slice, rows: slice) -> Tensor:
    return q[images, :, rows].contiguous() * q.shape[-1] ** -0.5  # of whole rows: taken twice


def _of(mask: Tensor | None, images: slice) -> Tensor | None:
    return None if mask is None or len(mask) == 1 else mask[images]
