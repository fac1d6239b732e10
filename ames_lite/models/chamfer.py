"""Chamfer similarity, a baseline without parameters: the mean of best matches,
1/2 (mean over query of max over gallery of cosine + the same the other way round).
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ames_lite.errors import ConfigError, require
from ames_lite.models.binarization import unpack_bits
from ames_lite.models.head import Encoding, PairWeights, SimilarityHead, check_sizes, weights_of

NO_MATCH = -1.0  # the logit where an image has no valid descriptor


class Chamfer(SimilarityHead[Encoding]):
    """An image without a valid descriptor has the logit -1, the lowest that there is."""

    marker, encoding = None, Encoding

    def __init__(self, dim_in: int | None = None) -> None:  # of the descriptors; None: any
        super().__init__()
        if dim_in is not None:
            check_sizes(dim_in=dim_in)
        self.dim_in = dim_in

    @classmethod
    def arguments_from_state(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """Raises ConfigError: there is no state."""
        raise ConfigError("the head 'chamfer' has no parameters", expected="no weights")

    def _encode(self, descriptors: Tensor, valid: Tensor | None, gallery: bool) -> Encoding:
        x = unpack_bits(descriptors) if descriptors.dtype == torch.uint8 else descriptors
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        return Encoding(F.normalize(x, dim=-1), valid)

    def _score(self, query: Encoding, gallery: Encoding) -> Tensor:
        cosines = _cosines(query, gallery)
        there = _mean_best(cosines, query.valid, gallery.valid)
        back = _mean_best(cosines.transpose(1, 2), gallery.valid, query.valid)
        return (there + back) / 2

    def _explain(self, query: Encoding, gallery: Encoding) -> PairWeights:
        """A pair's part of the logit: they sum to it. 0 where neither is the other's best."""
        cosines = _cosines(query, gallery)
        there = _parts(cosines, query.valid, gallery.valid)
        back = _parts(cosines.transpose(1, 2), gallery.valid, query.valid)
        return weights_of((there + back.transpose(1, 2)) / 2)


def _cosines(query: Encoding, gallery: Encoding) -> Tensor:
    """[B, Q, T]"""
    widths = query.tokens.shape[-1], gallery.tokens.shape[-1]
    what = f"query has descriptors of width {widths[0]} and gallery of {widths[1]}"
    require(widths[0] == widths[1], what, "one width")
    return query.tokens @ gallery.tokens.transpose(1, 2)


def _parts(cosines: Tensor, valid: Tensor | None, partner: Tensor | None) -> Tensor:
    """What each pair of [B, N, M] adds to `_mean_best`; 0 where an image has no descriptors."""
    if partner is not None:
        cosines = cosines.masked_fill(~partner[:, None], NO_MATCH)
    best = F.one_hot(cosines.argmax(2), cosines.shape[2]) * cosines
    if partner is not None:
        best = best * partner[:, None]
    if valid is None:
        return best / cosines.shape[1]
    return best * valid[:, :, None] / valid.sum(1).clamp_min(1)[:, None, None]


def _mean_best(cosines: Tensor, valid: Tensor | None, partner: Tensor | None) -> Tensor:
    """Mean [B] over the valid of N of the best cosine [B, N, M] with a valid one of M."""
    if partner is not None:
        cosines = cosines.masked_fill(~partner[:, None], NO_MATCH)
    best = cosines.amax(2)
    best = best.to(torch.promote_types(best.dtype, torch.float32))
    if valid is None:
        return best.mean(1)
    count = valid.sum(1)
    return torch.where(count > 0, (best * valid).sum(1) / count.clamp_min(1), NO_MATCH)
