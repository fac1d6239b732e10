"""Floating point operations of heads: counted as they run, and worked out from the shapes.

Input: work that runs on a CPU, or the sizes of an AMES and its images. Output: a number of
operations. Only matrix products count (a multiplication and an addition are two operations);
softmax, norms, and the exponentials and element-wise sums of ELViS do not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from ames_lite.runtime import PRECISIONS
from benchmarks.timing import interleaved, middle

MATRIX_SIZE = {"cpu": 1024, "cuda": 8192}


class PairFlops(NamedTuple):
    """Of one query and one gallery image."""

    query: int  # encoding the query, once for all its candidates
    encoded: int  # scoring the pair, both images encoded beforehand
    with_encoding: int  # ... and encoding the gallery image
    dense: int  # the referee, which computes everything for every pair


def count_flops(work: Callable[[], object]) -> int:
    """Operations of work on a CPU that needs no gradients, by torch's counter.

    The counter knows no attention of CPUs: it is told of it here. And it sees no parts of the fused
    kernel of nn.MultiheadAttention: that is switched off while counting.
    """
    fused = torch.backends.mha.get_fastpath_enabled()
    attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with FlopCounterMode(display=False, custom_mapping={attention: _attention}) as counter:
            work()
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    return counter.get_total_flops()


def _attention(query: Any, key: Any, value: Any, *others: Any, **named: Any) -> int:
    """Of shapes [B, H, N, C], [B, H, M, C], [B, H, M, C]."""
    batch, heads, rows, width = query
    return 2 * batch * heads * rows * key[2] * (width + value[3])


def ames_flops(arguments: dict[str, Any], num_query: int, num_gallery: int) -> PairFlops:
    """Operations of an AMES with these constructor arguments, worked out by hand."""
    dim, hidden = arguments["dim"], arguments["dim_feedforward"]
    layers, heads = arguments["num_layers"], arguments["num_heads"]
    square, n = 2 * dim * dim, num_query + 1 + num_gallery  # square: one token through one matrix
    remap = 2 * arguments["dim_in"] * dim + (square if arguments["binary"] else 0)
    feed_forward = 4 * dim * hidden

    def attend(pairs_of_tokens: int) -> int:
        return 4 * dim * pairs_of_tokens

    def pool(tokens: int) -> int:  # the match token over tokens that are never projected
        return 3 * square + 4 * heads * dim * tokens

    def encode(tokens: int) -> int:
        first = 3 * square * (tokens + 1) + attend(tokens * (tokens + 1)) + square * tokens
        return remap * tokens + first + 3 * square * tokens + pool(tokens)

    q, t = num_query, num_gallery
    self_attention = 4 * square * n + attend(q * (q + 1) + n + t * (t + 1))
    cross_attention = square * n + attend(q * (t + 1) + n + t * (q + 1))
    reading = pool(n) + square + feed_forward
    score = pool(1) + 4 * square + reading + 2 * dim
    if layers > 1:
        score += cross_attention + feed_forward * n + self_attention
        between = self_attention + 3 * square * n + cross_attention + feed_forward * n
        score += (layers - 2) * between
    a_layer = 2 * (4 * square * n + attend(n * n)) + feed_forward * n
    dense = remap * (q + t) + layers * a_layer + 2 * dim
    return PairFlops(encode(q), score, score + encode(t), dense)


def matmul_rate(device: torch.device, precision: str, repeats: int = 5) -> float:
    """Floating point operations a second of one large product of square matrices."""
    size = MATRIX_SIZE.get(device.type, 1024)
    dtype, generator = PRECISIONS[precision] or torch.float32, torch.Generator(device)
    a, b = (  # noise: a device may be quicker with numbers that are all alike
        torch.randn(size, size, generator=generator, device=device).to(dtype) for _ in range(2)
    )
    seconds = interleaved({"product": lambda: a @ b}, repeats, device)["product"]
    return 2 * size**3 / middle(seconds)
