"""A start for training that preserves correspondences: similar descriptors attend to each other.

Input: a fresh AMES head and a sample of the descriptors that it will see. Output: the same head,
changed in place. This is an option of training, off where a published recipe is reproduced; it only
sets what it names and leaves all else as it was initialised.
"""

from __future__ import annotations

import math
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ames_lite.errors import BadInput
from ames_lite.models.ames import AMES
from ames_lite.models.binarization import Binarization, principal_directions, random_rotation
from ames_lite.models.blocks import PairAttention, PairLayer


@torch.no_grad()
def start_from_correspondences(
    model: AMES,
    descriptors: Tensor,
    generator: torch.Generator,
    *,
    sharpness: float = 10.0,  # attention logit, in every head, of a token with its equal
) -> None:
    """Remap := isometry of (descriptor - mean); cross-attention: query = key = scaled identity.

    descriptors [M, Din] float, a sample (some thousand rows; at least 2); generator: on the CPU,
    draws the rotation. Two tokens then have the cross-attention logit sharpness * cosine in each
    head, the cosine being that of their descriptors after the mean is subtracted and all but the
    strongest D principal directions are dropped. Raises BadInput.
    """
    x = _sample(model, descriptors)
    mean = x.mean(0)
    basis = _principal_basis(x - mean, model.dim, generator)
    if model.binary:
        cast(Binarization, model.remap_local[0]).W.copy_(basis.T)
        linear = cast(nn.Linear, model.remap_local[1])
        linear.weight.copy_(torch.eye(model.dim))
        linear.bias.copy_(-torch.sign(x @ basis.T).mean(0))
    else:
        linear = cast(nn.Linear, model.remap_local[0])
        linear.weight.copy_(basis)
        linear.bias.copy_(-basis @ mean)
    for layer in model.decoder.layers:
        _attend_to_similar(cast(PairLayer, layer), model.dim, model.num_heads, sharpness)


def centred_isometry(
    descriptors: Tensor, dim_in: int, dim: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """A basis [dim, dim_in] of the strongest directions of a sample [M, dim_in], and its mean.

    Raises BadInput for what is no such sample.
    """
    x = _checked(descriptors, dim_in)
    mean = x.mean(0)
    return _principal_basis(x - mean, dim, generator), mean


def _checked(descriptors: Tensor, dim_in: int) -> Tensor:
    shape = list(descriptors.shape)
    fits = len(shape) == 2 and shape[0] >= 2 and shape[1] == dim_in
    if not fits or not descriptors.is_floating_point() or not descriptors.isfinite().all():
        what = f"descriptors are {shape} {descriptors.dtype}, or not finite"
        raise BadInput(what, expected=f"a finite float sample [M, {dim_in}], M at least 2")
    return descriptors.to("cpu", torch.float64)


def _sample(model: AMES, descriptors: Tensor) -> Tensor:
    x = _checked(descriptors, model.dim_in)
    return F.normalize(x, dim=-1) if model.normalize_input or model.binary else x


def _principal_basis(x: Tensor, dim: int, generator: torch.Generator) -> Tensor:
    """[dim, Din]: the strongest principal directions of centred x [M, Din], randomly rotated.

    The rotation shares the variance among all entries, so that each head sees its part. Where
    Din < dim the map is an isometry into dim entries.
    """
    strongest = principal_directions(x, dim).T
    return random_rotation(dim, generator, x.dtype)[:, : len(strongest)] @ strongest


def _attend_to_similar(layer: PairLayer, dim: int, num_heads: int, sharpness: float) -> None:
    """Equal query and key projections; tokens have the length sqrt(D) (LayerNorm)."""
    scale = (sharpness / (dim / num_heads) ** 0.5) ** 0.5
    identity = scale * torch.eye(dim)
    layer.cross_attn.in_proj_weight[: 2 * dim].copy_(torch.cat([identity, identity]))
    nn.init.zeros_(layer.cross_attn.in_proj_bias[: 2 * dim])


class _Channels(NamedTuple):
    """What the entries of a token hold; the last four of every head are set apart."""

    content: Tensor  # the descriptor
    mark: Tensor  # [H] one level in all descriptors, a higher one in the match token
    slot: Tensor  # [H] free in tokens, carries attention masses in projections
    evidence: Tensor  # [H] how sure a descriptor is of its match
    unique: Tensor  # [H] how little there is like it in its own image


THRESHOLD = 0.7  # a cosine of centred descriptors
MARK_OF_MATCH = 1.88  # the match token's own entry in `unique`, times UNIQUE / 2: measured
UNIQUE = 4.0  # the entry in `unique` of a descriptor is up to half of it


@torch.no_grad()
def start_from_matches(
    model: AMES,
    descriptors: Tensor,
    generator: torch.Generator,
    *,
    sharpness: float = 32.0,  # cross-attention logit of a descriptor with its equal
    threshold: float | None = None,  # cosine from which a descriptor matches, if it is unique;
    # None: THRESHOLD, of binary heads that of their signs
    repeated: float = 14.0,  # logits that the threshold rises for what is not unique
    own_sharpness: float = 8.0,  # the first self-attention's logit of a descriptor with its equal
    prefer_unique: float = 1.0,  # logits that a unique descriptor has ahead as a match
    level: float = 1.5,  # of the mark in every descriptor's token
    erase: float = 0.5,  # share of its match that a token loses
    evidence: float = 3.0,  # entry of a sure match
    gain: float = 20.0,  # of the mean evidence before the classifier, over all heads
    noise: float = 0.1,  # factor of what stays random
) -> None:
    """Preserved correspondences, and from them, before the first step, a count of good matches.

    A match of two descriptors is worth something where they are more alike than what their own
    images hold (the ratio test of Lowe, with the own image for the second neighbour). Attention
    can do it: in the first self-attention a descriptor shares its attention with its likes and
    with the match token, so the mass on the match token says how unique it is; in cross-attention
    the match token stands for "no match", at a threshold that rises for what is not unique, and
    the mass on the other image, weighted by how unique the found descriptor is, is the evidence.
    The later self-attentions bring its mean to the match token and the classifier. All of it stays
    trainable, with a learning rate of some 3e-4; higher ones destroy it.

    descriptors, generator and errors as in `start_from_correspondences`; post-norm heads of at
    least 2 layers and 8 entries a head. One head sees whole cosines, two see those of halves: one
    starts better. A binary head compares signs of what is left of a descriptor across the mean.
    """
    heads, width = model.num_heads, model.dim // model.num_heads
    if model.pre_norm or model.num_layers < 2 or width < 8:
        raise BadInput(
            f"a head with {model.arguments}",
            expected="pre_norm=false, num_layers >= 2, dim / num_heads >= 8",
        )
    if threshold is None:
        threshold = of_signs(THRESHOLD) if model.binary else THRESHOLD
    entries = torch.arange(model.dim).view(heads, width)
    at = _Channels(entries[:, : width - 4].flatten(), *entries[:, width - 4 :].unbind(1))
    _remap_with_mark(model, _sample(model, descriptors), at, level, generator)
    for number, module in enumerate(model.decoder.layers):
        layer = cast(PairLayer, module)
        for part in (layer.self_attn.out_proj, layer.cross_attn.out_proj, layer.linear2):
            part.weight.mul_(noise)
        nn.init.zeros_(layer.linear2.bias)
        if number == 0:
            _tell_unique(layer.self_attn, at, level, own_sharpness)
        else:
            layer.self_attn.in_proj_weight.mul_(noise)
            _carry(layer.self_attn, at, at.evidence, at.evidence, gain / heads)
        _match(layer.cross_attn, at, level, sharpness, threshold, repeated, prefer_unique)
        _carry(layer.cross_attn, at, None, at.evidence, evidence)
        layer.cross_attn.out_proj.weight[at.content] = 0
        layer.cross_attn.out_proj.weight[at.content, at.content] = -erase
    nn.init.zeros_(model.classifier.weight)
    model.classifier.weight[0, at.evidence] = 1.0
    nn.init.constant_(model.classifier.bias, -1.0)


def _parts(attention: PairAttention) -> tuple[Tensor, ...]:
    """Query, key and value weights [D, D] and their biases [D], views."""
    return *attention.in_proj_weight.chunk(3), *attention.in_proj_bias.chunk(3)


def _compare(attention: PairAttention, at: _Channels, level: float, sharpness: float) -> float:
    """Equal query and key of the content; in `slot`, a key that is 1 higher in the match token.

    All else of the projections becomes 0. Returns what the query's slot takes for 1 logit.
    """
    q, k, _, *_ = _parts(attention)
    nn.init.zeros_(attention.in_proj_weight)
    nn.init.zeros_(attention.in_proj_bias)
    width = len(attention.in_proj_bias) // 3 // attention.num_heads
    scale = width**0.5  # attention divides by it
    same = (sharpness * scale / (width - level**2)) ** 0.5  # LayerNorm: a head's tokens have √width
    q[at.content, at.content] = same
    k[at.content, at.content] = same
    k[at.slot, at.mark] = 1 / _step(width, level)
    return scale


def _step(width: int, level: float) -> float:
    """How much higher the mark of the match token is: it has nothing else."""
    return width**0.5 - level


def _tell_unique(attention: PairAttention, at: _Channels, level: float, sharpness: float) -> None:
    """First self-attention: `unique` := UNIQUE · (attention that goes to the match token)."""
    scale = _compare(attention, at, level, sharpness)
    _, _, v, b_q, _, b_v = _parts(attention)
    step = _step(len(b_q) // attention.num_heads, level)
    b_q[at.slot] = sharpness * scale
    v[at.slot, at.mark] = 1 / step  # 1 on the match token, 0 on descriptors
    b_v[at.slot] = -level / step
    _carry(attention, at, None, at.unique, UNIQUE)


def _match(
    attention: PairAttention,
    at: _Channels,
    level: float,
    sharpness: float,
    threshold: float,
    repeated: float,
    prefer_unique: float,
) -> None:
    """Cross-attention between likes or to the match token; its slot brings `unique` of the found.

    The slot's value is 0 on the match token, in [0, 1] on descriptors.
    """
    scale = _compare(attention, at, level, sharpness)
    q, k, v, b_q, _, b_v = _parts(attention)
    step = _step(len(b_q) // attention.num_heads, level)
    b_q[at.slot] = (sharpness * threshold + repeated + prefer_unique) * scale
    q[at.slot, at.unique] = -repeated * scale * 2 / UNIQUE
    b_q[at.evidence] = prefer_unique * scale
    k[at.evidence, at.unique] = 2 / UNIQUE
    k[at.evidence, at.mark] = -MARK_OF_MATCH / step
    v[at.slot, at.unique] = 2 / UNIQUE
    v[at.slot, at.mark] = -MARK_OF_MATCH / step
    b_v[at.slot] = MARK_OF_MATCH * level / step
    v[at.content, at.content] = 1.0


def _carry(
    attention: PairAttention, at: _Channels, source: Tensor | None, target: Tensor, gain: float
) -> None:
    """Bring the attended slot to an entry of the token; source: an entry that fills the slot."""
    _, _, v, *_ = _parts(attention)
    if source is not None:
        v[at.slot] = 0
        v[at.slot, source] = 1.0
    attention.out_proj.weight[target] = 0
    attention.out_proj.weight[target, at.slot] = gain


def _remap_with_mark(
    model: AMES, x: Tensor, at: _Channels, level: float, generator: torch.Generator
) -> None:
    """Remap := isometry of (descriptor or its signs - mean) into `content`, and the mark."""
    if model.binary:
        x = _signs_across_mean(cast(Binarization, model.remap_local[0]), x, generator)
    mean = x.mean(0)
    basis = _principal_basis(x - mean, len(at.content), generator)
    linear = cast(nn.Linear, model.remap_local[1 if model.binary else 0])
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    linear.weight[at.content] = basis.to(linear.weight.dtype)
    linear.bias[at.content] = (-basis @ mean).to(linear.bias.dtype)
    length = (x - mean).norm(dim=1).mean()
    linear.bias[at.mark] = float(length) * level / model.dim**0.5
    nn.init.zeros_(model.mtc_token)
    model.mtc_token[at.mark] = (model.dim / model.num_heads) ** 0.5


def of_signs(cosine: float) -> float:
    """The expected cosine of signs in random directions, of descriptors that have this one.

    Signs differ in the share angle / π of the directions (Goemans and Williamson, 1995).
    """
    return 1 - 2 * math.acos(cosine) / math.pi


def _signs_across_mean(layer: Binarization, x: Tensor, generator: torch.Generator) -> Tensor:
    """W := directions that no mean descriptor has a part in; the signs [M, D] of x [M, Din]."""
    mean = F.normalize(x.mean(0), dim=0)
    basis = _principal_basis(x - x.mean(0), layer.W.shape[1], generator).T
    layer.W.copy_(F.normalize(basis - mean[:, None] * (mean @ basis), dim=0))
    return torch.sign(x @ layer.W.to(x.dtype))
