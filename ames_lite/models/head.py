"""What every similarity head shares: one interface, and the refusal of bad input. `encode` takes
what depends on one image, `score` a pair of such encodings, `forward` is both, with the published
signature, whose masks are True on padding; everywhere else `valid` is used, True on a real
descriptor. Descriptors are float [B, N, Din], or packed bits, uint8 [B, N, bits/8].
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Generic, NamedTuple, Self, TypeVar

import torch
import typing_extensions
from torch import Tensor, nn

from ames_lite.errors import BadInput, ConfigError

CPU_BLOCK_ENTRIES = 2**21  # of the matrices of a block of pairs: 8 MiB, of the last cache
BLOCK_ENTRIES = 2**27  # ... elsewhere: half a GiB


@dataclass(frozen=True, eq=False)
class Encoding:
    """Base of encodings: tensors are [B, N, …], those of `of_image` [B, …]."""

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


class PairWeights(NamedTuple):
    """What `explain` says of B pairs; what the numbers are is the head's, see its `_explain`."""

    pairs: Tensor  # [B, Q, T] of descriptor pairs
    query: Tensor  # [B, Q] of descriptors of the query
    gallery: Tensor  # [B, T]


def weights_of(pairs: Tensor) -> PairWeights:
    """Where a descriptor's weight is that of its pairs."""
    return PairWeights(pairs, pairs.sum(2), pairs.sum(1))


def _files() -> Any:
    """How heads are stored: a matter of an upper room, loaded when it is needed."""
    return import_module("ames_lite.pretrained")


Logits = Tensor | tuple[Tensor, Tensor]  # and, on request, tokens
R = TypeVar("R")
E = typing_extensions.TypeVar("E", bound=Encoding, default=Any)  # of a head that may be any


def spread(kind: type[E], query: E, gallery: E) -> tuple[E, E]:
    """Two encodings of as many images; a single image is expanded, not copied. Raises BadInput."""
    for side, images in (("query", query), ("gallery", gallery)):
        if type(images) is not kind:
            what = f"{side} is {type(images).__name__}"
            raise BadInput(what, expected=f"{kind.__name__}, as encode() of this head gives it")
    num = len(query), len(gallery)
    if 0 in num or (num[0] != num[1] and 1 not in num):
        what = f"query has {num[0]} images and gallery {num[1]}"
        raise BadInput(what, expected="as many, or one on either side")
    if num[0] == num[1]:
        return query, gallery
    wide = [images.each(lambda x: x.expand(max(num), *x.shape[1:])) for images in (query, gallery)]
    return wide[0], wide[1]


def score_in_blocks(score: Callable[[E, E], R], query: E, gallery: E, size: int | None) -> list[R]:
    """The results of `score` on blocks of `size` pairs; None: on all at once."""
    num = len(query)
    if size is None or size >= num:
        return [score(query, gallery)]
    blocks = [slice(start, start + size) for start in range(0, num, size)]
    return [score(query.rows(block), gallery.rows(block)) for block in blocks]


class SimilarityHead(nn.Module, Generic[E]):
    """Base of all heads, E the encoding of images. A head implements `_encode`, `_score` and
    `arguments_from_state`; each constructor argument is kept as an attribute of the same name.
    """

    marker: ClassVar[str | None]  # parameter by which a state is recognised; None: has no weights
    encoding: ClassVar[type[Any]]  # E
    dim_in: int | None  # width of the descriptors; None: any
    ensemble: tuple[float, float] | None = None  # λ and γ that its file came with, where it has any
    meta: object = None  # what else its folder said, kept for save_pretrained

    @classmethod
    def from_pretrained(cls, name: str | Path, **download: Any) -> Self:
        """In eval mode, of a folder or the Hub (download: of snapshot_download). MissingFile."""
        return _files().from_pretrained(cls, name, **download)

    def save_pretrained(self, folder: str | Path, **card: Any) -> None:
        """Write weights.safetensors, meta.json and a model card. card: see push_to_hub."""
        _files().on_hub(self).save_pretrained(folder, **card)

    def push_to_hub(self, name: str, **upload: Any) -> str:
        """Upload to the Hugging Face Hub; returns the commit's address. upload: as of its mixin."""
        return _files().on_hub(self).push_to_hub(name, **upload)

    @property
    def arguments(self) -> dict[str, Any]:
        """The constructor arguments, fit for JSON: `type(head)(**head.arguments)` is its equal."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    @property
    def packed_bits(self) -> int | None:
        """Bits of a packed descriptor, which stands for a float one of -1 and +1; None: any."""
        return self.dim_in

    @property
    def depends_on_padding(self) -> bool:
        """Whether padding changes a logit: inputs must then be padded always alike."""
        return False

    @property
    def device(self) -> torch.device:
        """Where the head is."""
        tensors = [*self.parameters(), *self.buffers()]
        return tensors[0].device if tensors else torch.device("cpu")

    @classmethod
    def arguments_from_state(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """The constructor arguments that the shapes of a published state tell. Raises BadInput."""
        raise NotImplementedError

    def encode(
        self, descriptors: Tensor, valid: Tensor | None = None, *, gallery: bool = False
    ) -> E:
        """What depends on one image, for `score`. descriptors [B, N, Din]; valid [B, N] bool, None
        where all are; gallery: whether they are of gallery images. Raises BadInput; that numbers
        are finite is checked on a CPU alone, so as not to synchronize.
        """
        self._check_descriptors(descriptors, "descriptors")
        if descriptors.device.type == "cpu":
            _check_finite(descriptors, "descriptors")
        _check_mask(valid, "valid", descriptors, "True on a real descriptor")
        return self._encode(descriptors, valid, gallery)

    def _encode(self, descriptors: Tensor, valid: Tensor | None, gallery: bool) -> E:
        raise NotImplementedError

    def score(self, query: E, gallery: E, return_tokens: bool = False) -> Logits:
        """Logits [B] of the pairs; one query for all gallery images (or the reverse) broadcasts.
        return_tokens: also the output tokens [B, 1 + Q + T, D], of a head that makes them. Raises
        BadInput.
        """
        query, gallery = spread(self.encoding, query, gallery)
        size = self._pairs_at_a_time(query, gallery)
        if not return_tokens:
            return torch.cat(score_in_blocks(self._score, query, gallery, size))
        parts = score_in_blocks(self._score_tokens, query, gallery, size)
        logits, tokens = (torch.cat(found) for found in zip(*parts, strict=True))
        return logits, tokens

    def _score(self, query: E, gallery: E) -> Tensor:
        raise NotImplementedError

    def _score_tokens(self, query: E, gallery: E) -> tuple[Tensor, Tensor]:
        name = type(self).__name__.lower()
        what = f"return_tokens=True, but the head '{name}' makes no output tokens"
        raise BadInput(what, expected="return_tokens=False, or the head 'ames'")

    def explain(self, query: E, gallery: E) -> PairWeights:
        """Which descriptors the logits come from, computed here alone. Raises BadInput."""
        return self._explain(*spread(self.encoding, query, gallery))

    def _explain(self, query: E, gallery: E) -> PairWeights:
        what = f"the head {type(self).__name__} has no explanation"
        raise BadInput(what, expected="its _explain")

    def _pairs_at_a_time(self, query: E, gallery: E) -> int | None:
        """Pairs of a block, by the entries of their matrices [Q, T]; None: all, for gradients."""
        if torch.compiler.is_compiling() or torch.is_grad_enabled():
            return None
        limit = CPU_BLOCK_ENTRIES if query.tokens.device.type == "cpu" else BLOCK_ENTRIES
        return max(1, limit // (query.tokens.shape[1] * gallery.tokens.shape[1]))

    def logit(self, scores: Tensor) -> Tensor:
        """Logits [B] of the training loss, from what `score` returns in eval: the same, here."""
        return scores

    def forward(
        self,
        src_local: Tensor,
        src_mask: Tensor | None = None,
        tgt_local: Tensor | None = None,
        tgt_mask: Tensor | None = None,
        return_tokens: bool = False,
    ) -> Logits:
        """Logits [B] of pairs: query src_local [B, Q, Din], gallery tgt_local [B, T, Din]; masks
        [B, Q], [B, T]: bool, True on padding (as published). Raises BadInput.
        """
        encoded = []
        for side, local, mask in (("src", src_local, src_mask), ("tgt", tgt_local, tgt_mask)):
            self._check_descriptors(local, f"{side}_local")
            assert local is not None  # for the type checker: the line above refuses None
            _check_finite(local, f"{side}_local")
            _check_mask(mask, f"{side}_mask", local, "True on padding")
            valid = None if mask is None else ~mask
            encoded.append(self._encode(local, valid, gallery=side == "tgt"))
        query, gallery = encoded
        return self.score(query, gallery, return_tokens)

    def _check_descriptors(self, x: Tensor | None, name: str) -> None:
        bits = self.packed_bits
        expected = f"a float tensor [B, N, {self.dim_in or 'Din'}]"
        if bits is None or bits % 8 == 0:
            expected += f" or packed bits, uint8 [B, N, {bits // 8 if bits else 'Din/8'}],"
        expected += " with at least one image and one descriptor"
        if not isinstance(x, Tensor):
            raise BadInput(f"{name} is {'missing' if x is None else type(x)}", expected=expected)
        packed = x.dtype == torch.uint8 and (bits is None or bits % 8 == 0)
        width = self.dim_in if not packed else None if bits is None else bits // 8
        fits = x.ndim == 3 and 0 not in x.shape and width in (None, x.shape[-1])
        if not fits or not (packed or x.is_floating_point()):
            what = f"{name} has shape {list(x.shape)} and dtype {x.dtype}"
            raise BadInput(what, expected=expected)


def _check_finite(x: Tensor, name: str) -> None:
    """Raises BadInput at the first number that is not finite; synchronizes a device."""
    if x.dtype == torch.uint8 or torch.compiler.is_compiling():  # values would break the graph
        return
    # The sum is finite unless an entry is not (or, once in a blue moon, it overflows).
    if not x.detach().sum(dtype=torch.float32).isfinite() and not x.isfinite().all():
        image, row, _ = (~x.isfinite()).nonzero()[0].tolist()
        what = f"{name} has NaN or infinity, first in descriptor {row} of image {image}"
        raise BadInput(what, expected="finite numbers, on padding too")


def _check_mask(mask: Tensor | None, name: str, x: Tensor, meaning: str) -> None:
    if mask is None:
        return
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool or mask.shape != x.shape[:2]:
        came = f"{list(mask.shape)} {mask.dtype}" if isinstance(mask, Tensor) else f"{type(mask)}"
        expected = f"a bool tensor {list(x.shape[:2])}, {meaning}, or None"
        raise BadInput(f"{name} is {came}", expected=expected)


def check_sizes(**sizes: int) -> None:
    """Raises ConfigError for the first argument that is no whole number from 1."""
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ConfigError(f"{name} is {size!r}", expected="a whole number from 1")


def shape_in_state(state: Mapping[str, Tensor], name: str, rank: int) -> torch.Size:
    """The shape of a parameter. Raises BadInput that names it where it is missing or misshapen."""
    if name not in state or state[name].ndim != rank:
        came = f"has shape {list(state[name].shape)}" if name in state else "is missing"
        raise BadInput(f"parameter {name} {came}", expected=f"a parameter of rank {rank}")
    return state[name].shape
