"""What every similarity head shares: one interface, and the refusal of bad input.

A head scores pairs of images from their local descriptors [B, N, Din]. `encode` takes what depends
on one image, `score` a pair of such encodings, `forward` is both. The convention to know: `forward`
keeps the published signature, whose masks are True on padding; everywhere else `valid` is used,
True on a real descriptor.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ames_lite.errors import BadInput


class SimilarityHead(nn.Module):
    """Base of all heads. A head implements `_encode`, `score` and `arguments_from_state`.

    Each constructor argument is kept as an attribute of the same name.
    """

    marker: ClassVar[str]  # the parameter by which a published state is known to be of this head
    dim_in: int

    @property
    def arguments(self) -> dict[str, Any]:
        """The constructor arguments, fit for JSON: `type(head)(**head.arguments)` is its equal."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    @classmethod
    def arguments_from_state(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """The constructor arguments that the shapes of a published state tell."""
        raise NotImplementedError

    def encode(
        self, descriptors: Tensor, valid: Tensor | None = None, *, gallery: bool = False
    ) -> Any:
        """What depends on one image: a NamedTuple for `score`.

        descriptors [B, N, Din], float and finite; valid [B, N] bool, True = a real descriptor, None
        where all are; gallery: whether they stand on the gallery's side. Raises BadInput.
        """
        _check_descriptors(descriptors, "descriptors", self.dim_in)
        _check_mask(valid, "valid", descriptors, "True on a real descriptor")
        return self._encode(descriptors, valid, gallery)

    def _encode(self, descriptors: Tensor, valid: Tensor | None, gallery: bool) -> Any:
        raise NotImplementedError

    def score(
        self, query: Any, gallery: Any, return_tokens: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Logits [B] of the pairs of two encodings; either may hold a single image for all of B."""
        raise NotImplementedError

    def forward(
        self,
        src_local: Tensor,
        src_mask: Tensor | None = None,
        tgt_local: Tensor | None = None,
        tgt_mask: Tensor | None = None,
        return_tokens: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Logits [B] of pairs: query src_local [B, Q, Din], gallery tgt_local [B, T, Din].

        src_mask [B, Q], tgt_mask [B, T]: bool, True on padding (as published); None: no padding.
        return_tokens: also the output tokens [B, 1 + Q + T, D]. Raises BadInput (a ValueError).
        """
        encoded = []
        sides = (("src", src_local, src_mask), ("tgt", tgt_local, tgt_mask))
        for side, local, mask in sides:
            _check_descriptors(local, f"{side}_local", self.dim_in)
            assert local is not None  # for the type checker: the line above refuses None
            _check_mask(mask, f"{side}_mask", local, "True on padding")
            valid = None if mask is None else ~mask
            encoded.append(self._encode(local, valid, gallery=side == "tgt"))
        query, gallery = encoded
        return self.score(query, gallery, return_tokens)


def _check_descriptors(x: Tensor | None, name: str, dim_in: int) -> None:
    expected = f"a float tensor [B, N, {dim_in}] with at least one image and one descriptor"
    if not isinstance(x, Tensor):
        raise BadInput(f"{name} is {'missing' if x is None else type(x)}", expected=expected)
    fits = x.ndim == 3 and x.shape[-1] == dim_in and 0 not in x.shape and x.is_floating_point()
    if not fits:
        what = f"{name} has shape {list(x.shape)} and dtype {x.dtype}"
        raise BadInput(what, expected=expected)
    if torch.compiler.is_compiling():  # looking at values would break the graph
        return
    # The sum is finite unless an entry is not (or, once in a blue moon, it overflows): one pass.
    if not x.detach().sum(dtype=torch.float32).isfinite() and not x.isfinite().all():
        image, row, _ = (~x.isfinite()).nonzero()[0].tolist()
        raise BadInput(
            f"{name} has NaN or infinity, first in descriptor {row} of image {image}",
            expected="finite numbers, on padding too",
        )


def _check_mask(mask: Tensor | None, name: str, x: Tensor, meaning: str) -> None:
    if mask is None:
        return
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool or mask.shape != x.shape[:2]:
        came = f"{list(mask.shape)} {mask.dtype}" if isinstance(mask, Tensor) else f"{type(mask)}"
        raise BadInput(
            f"{name} is {came}",
            expected=f"a bool tensor {list(x.shape[:2])}, {meaning}, or None",
        )
