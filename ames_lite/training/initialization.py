"""The initializations of a head, in place: `INITIALIZATIONS[head][start]`.

published        as in the published code
random           as constructed: torch's defaults, the match token of AMES from N(0, 1)
correspondences  similar descriptors attend to each other from the first step
matches          and the logit counts good matches from the first step

The last two take a sample of the descriptors that the head will see.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ames_lite.errors import require
from ames_lite.models import AMES, ELViS, binarization
from ames_lite.models.binarization import Binarization, check_sample
from ames_lite.models.blocks import PairAttention, PairLayer

Sample = Callable[[], Tensor]  # reads descriptors [M, Din] of the training set, where asked
Initialization = Callable[[Any, Sample, torch.Generator], None]
STD = 0.02  # trunc_normal_ cuts at -2 and 2, which is 100 of these


@torch.no_grad()
def _published_ames(model: AMES, _: Sample, generator: torch.Generator) -> None:
    """As in the code of AMES (ECCV 2024): linear layers and the match token from N(0, STD²), biases
    0; input projections of attention as in torch's MultiheadAttention; all else as constructed.
    """
    for module in model.modules():
        if isinstance(module, PairAttention):
            nn.init.xavier_uniform_(module.in_proj_weight, generator=generator)
            nn.init.zeros_(module.in_proj_bias)
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=STD, generator=generator)
            nn.init.zeros_(module.bias)
    nn.init.trunc_normal_(model.mtc_token, std=STD, generator=generator)


@torch.no_grad()
def _published_elvis(model: ELViS, _: Sample, generator: torch.Generator) -> None:
    """As in the code of ELViS (ICLR 2026): linear layers Xavier uniform, biases 0."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight, generator=generator)
            nn.init.zeros_(module.bias)


@torch.no_grad()
def start_from_correspondences(
    model: AMES,
    descriptors: Tensor,
    generator: torch.Generator,
    *,
    sharpness: float = 10.0,  # attention logit, in every head, of a token with its equal
) -> None:
    """Remap := isometry of (descriptor - mean); cross-attention: query = key = scaled identity.

    descriptors [M, Din] float, some thousand rows; generator: on the CPU. Two tokens then have the
    cross-attention logit sharpness * cosine in each head, that of their centred descriptors in the
    strongest D principal directions. Raises BadInput.
    """
    x = _sample(model, descriptors)
    if model.binary:
        basis = _principal_basis(x - x.mean(0), model.dim, generator)
        cast(Binarization, model.remap_local[0]).W.copy_(basis.T)
        linear = cast(nn.Linear, model.remap_local[1])
        linear.weight.copy_(torch.eye(model.dim))
        linear.bias.copy_(-torch.sign(x @ basis.T).mean(0))
    else:
        _isometry(model.remap_local[0], x, generator)
    # tokens have the length sqrt(D), by LayerNorm
    scale = (sharpness / (model.dim / model.num_heads) ** 0.5) ** 0.5
    identity = scale * torch.eye(model.dim)
    for layer in model.decoder.layers:
        attention = cast(PairLayer, layer).cross_attn
        attention.in_proj_weight[: 2 * model.dim].copy_(torch.cat([identity, identity]))
        nn.init.zeros_(attention.in_proj_bias[: 2 * model.dim])


def _isometry(layer: nn.Module, x: Tensor, generator: torch.Generator) -> None:
    """Linear layer := isometry of (row of x [M, Din] - mean)."""
    linear, mean = cast(nn.Linear, layer), x.mean(0)
    basis = _principal_basis(x - mean, linear.out_features, generator)
    linear.weight.copy_(basis)
    linear.bias.copy_(-basis @ mean)


def _sample(model: AMES, descriptors: Tensor) -> Tensor:
    x = check_sample(descriptors, model.dim_in).cpu()
    return F.normalize(x, dim=-1) if model.normalize_input or model.binary else x


def _principal_basis(x: Tensor, dim: int, generator: torch.Generator) -> Tensor:
    """[dim, Din]: the strongest directions of centred x [M, Din], rotated at random."""
    strongest = binarization.principal_directions(x, dim).T
    return binarization.random_rotation(dim, generator, x.dtype)[:, : len(strongest)] @ strongest


# Of `matches`; logits are those of an attention.
SHARPNESS = 32.0  # cross-attention logit of a descriptor with its equal
OWN_SHARPNESS = 8.0  # the same in the first self-attention
THRESHOLD = 0.7  # cosine of centred descriptors from which they match, if they are unique
REPEATED = 14.0  # logits that the threshold rises for what is not unique
PREFER_UNIQUE = 1.0  # logits that a unique descriptor has ahead as a match
LEVEL = 1.5  # of the mark in the tokens of descriptors
ERASE = 0.5  # share of its match that a token loses
EVIDENCE = 3.0  # entry of a sure match
GAIN = 20.0  # of the mean evidence before the classifier, over all heads
NOISE = 0.1  # factor of what stays random
MARK_OF_MATCH = 1.88  # the match token's own entry in `unique`, times UNIQUE / 2: measured
UNIQUE = 4.0  # the entry in `unique` of a descriptor is up to half of it


class _Channels(NamedTuple):
    """What the entries of a token hold; the last four of every head are set apart."""

    content: Tensor  # the descriptor
    mark: Tensor  # [H] one level in all descriptors, a higher one in the match token
    slot: Tensor  # [H] free in tokens, carries attention masses in projections
    evidence: Tensor  # [H] how sure a descriptor is of its match
    unique: Tensor  # [H] how little there is like it in its own image


@torch.no_grad()
def start_from_matches(model: AMES, descriptors: Tensor, generator: torch.Generator) -> None:
    """Preserve correspondences and count good matches, before the first step.

    A match counts where two descriptors are more alike than what their own images hold (the ratio
    test of Lowe, with the own image for the second neighbour). In the first self-attention a
    descriptor shares its attention with its likes and with the match token, so the mass on the
    match token says how unique it is. In cross-attention the match token stands for "no match", at
    a threshold that rises for what is not unique; the mass on the other image, weighted by how
    unique the found descriptor is, is the evidence. The later self-attentions bring its mean to the
    match token and the classifier. Train with a learning rate of some 3e-4; higher ones destroy it.

    Arguments and errors as in `start_from_correspondences`; for post-norm heads of at least 2
    layers and 8 entries a head. One head sees whole cosines, two those of halves: one starts
    better. A binary head compares signs of what is left of a descriptor across the mean.
    """
    heads, width = model.num_heads, model.dim // model.num_heads
    fits = not model.pre_norm and model.num_layers >= 2 and width >= 8
    expected = "pre_norm=false, num_layers >= 2, dim / num_heads >= 8"
    require(fits, f"a head with {model.arguments}", expected)
    entries = torch.arange(model.dim).view(heads, width)
    at = _Channels(entries[:, : width - 4].flatten(), *entries[:, width - 4 :].unbind(1))
    _remap_with_mark(model, _sample(model, descriptors), at, generator)
    threshold = of_signs(THRESHOLD) if model.binary else THRESHOLD
    for number, module in enumerate(model.decoder.layers):
        layer = cast(PairLayer, module)
        for part in (layer.self_attn.out_proj, layer.cross_attn.out_proj, layer.linear2):
            part.weight.mul_(NOISE)
        nn.init.zeros_(layer.linear2.bias)
        within, across = _Attention(layer.self_attn, at), _Attention(layer.cross_attn, at)
        if number == 0:
            within.tell_unique()
        else:
            layer.self_attn.in_proj_weight.mul_(NOISE)
            within.v[at.slot] = 0
            within.v[at.slot, at.evidence] = 1.0
            within.carry(at.evidence, GAIN / heads)
        across.match(threshold)
        across.carry(at.evidence, EVIDENCE)
        across.out[at.content] = 0
        across.out[at.content, at.content] = -ERASE
    nn.init.zeros_(model.classifier.weight)
    model.classifier.weight[0, at.evidence] = 1.0
    nn.init.constant_(model.classifier.bias, -1.0)


class _Attention:
    """The weights of an attention, as views to write into."""

    def __init__(self, attention: PairAttention, at: _Channels) -> None:
        self.at, self.projections = at, (attention.in_proj_weight, attention.in_proj_bias)
        self.q, self.k, self.v = attention.in_proj_weight.chunk(3)
        self.b_q, _, self.b_v = attention.in_proj_bias.chunk(3)
        self.out = attention.out_proj.weight
        self.width = len(self.b_q) // attention.num_heads
        self.logit = self.width**0.5  # what the query's slot takes for 1 logit
        self.step = self.width**0.5 - LEVEL  # how much higher the match token's mark is

    def compare(self, sharpness: float) -> None:
        """Equal query and key of the content; in `slot`, a key 1 higher in the match token."""
        at = self.at
        for part in self.projections:
            nn.init.zeros_(part)
        # LayerNorm: a head's tokens have the length √width
        same = (sharpness * self.logit / (self.width - LEVEL**2)) ** 0.5
        self.q[at.content, at.content] = same
        self.k[at.content, at.content] = same
        self.k[at.slot, at.mark] = 1 / self.step

    def tell_unique(self) -> None:
        """First self-attention: `unique` := UNIQUE · (attention that goes to the match token)."""
        at = self.at
        self.compare(OWN_SHARPNESS)
        self.b_q[at.slot] = OWN_SHARPNESS * self.logit
        self.v[at.slot, at.mark] = 1 / self.step  # 1 on the match token, 0 on descriptors
        self.b_v[at.slot] = -LEVEL / self.step
        self.carry(at.unique, UNIQUE)

    def match(self, threshold: float) -> None:
        """Cross-attention to likes or the match token; the slot: how unique, in [0, 1], it is."""
        at = self.at
        self.compare(SHARPNESS)
        self.b_q[at.slot] = (SHARPNESS * threshold + REPEATED + PREFER_UNIQUE) * self.logit
        self.q[at.slot, at.unique] = -REPEATED * self.logit * 2 / UNIQUE
        self.b_q[at.evidence] = PREFER_UNIQUE * self.logit
        self.k[at.evidence, at.unique] = 2 / UNIQUE
        self.k[at.evidence, at.mark] = -MARK_OF_MATCH / self.step
        self.v[at.slot, at.unique] = 2 / UNIQUE
        self.v[at.slot, at.mark] = -MARK_OF_MATCH / self.step
        self.b_v[at.slot] = MARK_OF_MATCH * LEVEL / self.step
        self.v[at.content, at.content] = 1.0

    def carry(self, target: Tensor, gain: float) -> None:
        """Add the attended slot to an entry of the token."""
        self.out[target] = 0
        self.out[target, self.at.slot] = gain


def _remap_with_mark(model: AMES, x: Tensor, at: _Channels, generator: torch.Generator) -> None:
    """Remap := isometry of (descriptor or its signs - mean) into `content`, and the mark."""
    if model.binary:  # signs by directions that no mean descriptor has a part in
        layer, own = cast(Binarization, model.remap_local[0]), F.normalize(x.mean(0), dim=0)
        basis = _principal_basis(x - x.mean(0), layer.W.shape[1], generator).T
        layer.W.copy_(F.normalize(basis - own[:, None] * (own @ basis), dim=0))
        x = torch.sign(x @ layer.W.to(x.dtype))
    mean = x.mean(0)
    basis = _principal_basis(x - mean, len(at.content), generator)
    linear = cast(nn.Linear, model.remap_local[1 if model.binary else 0])
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    linear.weight[at.content] = basis.to(linear.weight.dtype)
    linear.bias[at.content] = (-basis @ mean).to(linear.bias.dtype)
    length = (x - mean).norm(dim=1).mean()
    linear.bias[at.mark] = float(length) * LEVEL / model.dim**0.5
    nn.init.zeros_(model.mtc_token)
    model.mtc_token[at.mark] = (model.dim / model.num_heads) ** 0.5


def of_signs(cosine: float) -> float:
    """The cosine of the signs of such descriptors (Goemans and Williamson, 1995: angle / π)."""
    return 1 - 2 * math.acos(cosine) / math.pi


# Of `matches` of ELViS.
ELVIS_THRESHOLD = 0.6  # cosine at which the dustbin stands
DOUBT = 4.0  # the vote of what has no match is sigmoid(-DOUBT), of a sure one above 0.9
MARGIN = 5.0  # votes above those of unlike images at which the logit is 0
ELVIS_GAIN = 0.15  # logits a vote


@torch.no_grad()
def start_elvis_from_matches(model: ELViS, descriptors: Tensor, generator: torch.Generator) -> None:
    """Start with a logit that counts good matches: tokens keep angles, the dustbin is a cosine."""
    _isometry(model.remap_local[0], check_sample(descriptors, model.dim_in).cpu(), generator)
    fits, expected = model.embed_dim >= 4 and model.proj_dim >= 2, "embed_dim >= 4, proj_dim >= 2"
    require(fits, f"a head with {model.arguments}", expected)
    model.dust_bin.fill_(1.0)
    last = cast(nn.Linear, model.dust_bin_mlp[2])
    last.weight.mul_(NOISE)
    last.bias.fill_(math.atanh(ELVIS_THRESHOLD))
    _votes(model)
    level = _votes_of_unlike(model, descriptors) + MARGIN
    first, second = cast(nn.Linear, model.g[0]), cast(nn.Linear, model.g[2])
    signs = torch.ones(model.proj_dim)
    signs[1::2] = -1  # gelu(x) - gelu(-x) = x: pairs of them let a line through
    first.weight.mul_(NOISE).add_(signs[:, None])
    first.bias.mul_(NOISE).sub_(signs * level)
    second.weight.mul_(NOISE / model.proj_dim).add_(signs[None] * ELVIS_GAIN * 2 / model.proj_dim)
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
    """f rises from -DOUBT at probability 0 to about DOUBT at 1: its LayerNorm turns b to w."""
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


def _as_constructed(*_: Any) -> None:
    pass


def _of_sample(start: Callable[[Any, Tensor, torch.Generator], None]) -> Initialization:
    return lambda head, sample, generator: start(head, sample(), generator)


INITIALIZATIONS: dict[str, dict[str, Initialization]] = {
    "ames": {
        "published": _published_ames,
        "random": _as_constructed,
        "correspondences": _of_sample(start_from_correspondences),
        "matches": _of_sample(start_from_matches),
    },
    "elvis": {
        "published": _published_elvis,
        "random": _as_constructed,
        "matches": _of_sample(start_elvis_from_matches),
    },
}
