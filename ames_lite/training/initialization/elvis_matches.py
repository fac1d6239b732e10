"""Initialization `matches` of ELViS: before the first step its logit counts good matches.

Tokens keep the angles of centred descriptors, the dustbin is a cosine, votes rise with the
probability of a match, and the logit with the votes.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

from ames_lite.errors import require
from ames_lite.models.elvis import ELViS
from ames_lite.training.initialization.matches import centred_isometry

THRESHOLD = 0.6  # cosine at which the dustbin stands
DOUBT = 4.0  # the vote of what has no match is sigmoid(-DOUBT), of a sure one above 0.9
MARGIN = 5.0  # votes above those of unlike images at which the logit is 0
GAIN = 0.15  # logits a vote
NOISE = 0.1  # factor of what stays random


@torch.no_grad()
def start_elvis_from_matches(model: ELViS, descriptors: Tensor, generator: torch.Generator) -> None:
    """descriptors [M, Din] float, a sample; generator on the CPU. Raises BadInput."""
    basis, mean = centred_isometry(descriptors, model.dim_in, model.dim, generator)
    linear = cast(nn.Linear, model.remap_local[0])
    linear.weight.copy_(basis)
    linear.bias.copy_(-basis @ mean)
    fits, expected = model.embed_dim >= 4 and model.proj_dim >= 2, "embed_dim >= 4, proj_dim >= 2"
    require(fits, f"a head with {model.arguments}", expected=expected)
    model.dust_bin.fill_(1.0)
    last = cast(nn.Linear, model.dust_bin_mlp[2])
    last.weight.mul_(NOISE)
    last.bias.fill_(math.atanh(THRESHOLD))
    _votes(model)
    level = _votes_of_unlike(model, descriptors) + MARGIN
    first, second = cast(nn.Linear, model.g[0]), cast(nn.Linear, model.g[2])
    signs = torch.ones(model.proj_dim)
    signs[1::2] = -1  # gelu(x) - gelu(-x) = x: pairs of them let a line through
    first.weight.mul_(NOISE).add_(signs[:, None])
    first.bias.mul_(NOISE).sub_(signs * level)
    second.weight.mul_(NOISE / model.proj_dim).add_(signs[None] * GAIN * 2 / model.proj_dim)
    second.bias.zero_()


def _votes_of_unlike(model: ELViS, descriptors: Tensor, count: int = 100, pairs: int = 16) -> float:
    """The mean votes of pairs of `count` rows each, from all over the sample."""
    rows = len(descriptors)
    step = max(1, rows // (2 * pairs))
    sets = [descriptors[(i * step + torch.arange(count)) % rows] for i in range(2 * pairs)]
    both = torch.stack(sets).float()
    model.eval()
    votes = model(src_local=both[:pairs], tgt_local=both[pairs:])
    model.train()
    return float(votes.mean())


def _votes(model: ELViS) -> None:
    """f rises from -DOUBT at probability 0 to about DOUBT at 1.

    The LayerNorm only keeps directions: (p w + b) turns from b to w, which share no entry.
    """
    half = model.embed_dim // 2
    first, last = model.f[0], model.f[3]
    assert isinstance(first, nn.Linear) and isinstance(last, nn.Linear)
    signs = torch.ones(model.embed_dim)
    signs[1::2] = -1
    along, across = signs.clone(), signs.clone()
    along[half:], across[:half] = 0, 0
    first.weight.mul_(NOISE).add_(3 * along[:, None])
    first.bias.mul_(NOISE).add_(across)
    sure = math.sqrt(2.0) * half / 2  # of the sum below where all of the token is along w
    last.weight.mul_(NOISE).add_((along * 2 * DOUBT / sure)[None])
    last.bias.fill_(-DOUBT)
