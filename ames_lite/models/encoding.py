"""Encodings: what a head computes of B single images before it sees a pair."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Self, TypeVar

import torch
import typing_extensions
from torch import Tensor

from ames_lite.errors import BadInput

CPU_BLOCK_ENTRIES = 2**19  # of the matrices of a block of pairs: 2 MiB, to stay in the caches
BLOCK_ENTRIES = 2**27  # ... elsewhere: half a GiB


@dataclass(frozen=True, eq=False)
class Encoding:
    """Base of the encodings of all heads. Every tensor is [B, …]; those of `of_image` have no axis
    of descriptors, the others are [B, N, …].
    """

    tokens: Tensor  # [B, N, D]
    valid: Tensor | None  # [B, N] bool, True = a real descriptor; None where all are
    of_image: ClassVar[tuple[str, ...]] = ()

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """By name, without `valid` where it is None."""
        named = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {name: value for name, value in named if value is not None}

    def each(self, change: Callable[[Tensor], Tensor]) -> Self:
        """The same with every tensor changed alike."""
        return replace(self, **{name: change(value) for name, value in self.tensors.items()})

    def rows(self, index: slice | Tensor) -> Self:
        """The images that index (a slice, numbers or a mask) selects."""
        return self.each(lambda part: part[index])

    def first(self, count: int) -> Self:
        """The same images, each with its first `count` descriptors alone (views)."""
        cut = {k: v[:, :count] for k, v in self.tensors.items() if k not in self.of_image}
        return replace(self, **cut)


R = TypeVar("R")
E = typing_extensions.TypeVar("E", bound=Encoding, default=Any)  # of a head that may be any


def spread(kind: type[E], query: E, gallery: E) -> tuple[E, E]:
    """Two encodings of as many images; a single image is expanded, not copied. Raises BadInput."""
    for side, images in (("query", query), ("gallery", gallery)):
        if not isinstance(images, kind):
            what = f"{side} is {type(images).__name__}"
            raise BadInput(what, expected=f"{kind.__name__}, as encode() of this head gives it")
    num = len(query), len(gallery)
    if 0 in num or (num[0] != num[1] and 1 not in num):
        raise BadInput(
            f"query has {num[0]} images and gallery {num[1]}",
            expected="as many, or one on either side",
        )
    return _seen(query, max(num)), _seen(gallery, max(num))


def _seen(images: E, num: int) -> E:
    if len(images) == num:
        return images
    return images.each(lambda part: part.expand(num, *part.shape[1:]))


def score_in_blocks(score: Callable[[E, E], R], query: E, gallery: E, size: int | None) -> list[R]:
    """The results of `score` on blocks of `size` pairs; None: on all at once."""
    num = len(query)
    if size is None or size >= num:
        return [score(query, gallery)]
    blocks = [slice(start, start + size) for start in range(0, num, size)]
    return [score(query.rows(block), gallery.rows(block)) for block in blocks]


def pairs_at_a_time(query: Encoding, gallery: Encoding) -> int | None:
    """Pairs per block, by the entries of their matrices [Q, T]; None: all, as gradients need."""
    if torch.compiler.is_compiling() or torch.is_grad_enabled():
        return None
    limit = CPU_BLOCK_ENTRIES if query.tokens.device.type == "cpu" else BLOCK_ENTRIES
    return max(1, limit // (query.tokens.shape[1] * gallery.tokens.shape[1]))
