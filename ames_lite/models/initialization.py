"""A start for training that preserves correspondences: similar descriptors attend to each other.

In: a fresh AMES head and a sample of the descriptors that it will see. Out: the same head, changed
in place. The convention to know: this is an option of training, off where a published recipe is
reproduced; it only sets what it names and leaves all else as it was initialised.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ames_lite.errors import BadInput
from ames_lite.models.ames import AMES
from ames_lite.models.binarization import Binarization
from ames_lite.models.blocks import PairLayer


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


def _sample(model: AMES, descriptors: Tensor) -> Tensor:
    shape = list(descriptors.shape)
    fits = len(shape) == 2 and shape[0] >= 2 and shape[1] == model.dim_in
    if not fits or not descriptors.is_floating_point() or not descriptors.isfinite().all():
        what = f"descriptors are {shape} {descriptors.dtype}, or not finite"
        raise BadInput(what, expected=f"a finite float sample [M, {model.dim_in}], M at least 2")
    x = descriptors.to("cpu", torch.float64)
    return F.normalize(x, dim=-1) if model.normalize_input or model.binary else x


def _principal_basis(x: Tensor, dim: int, generator: torch.Generator) -> Tensor:
    """[dim, Din]: the strongest principal directions of centred x [M, Din], randomly rotated.

    The rotation shares the variance among all entries, so that each head sees its part. Where
    Din < dim the map is an isometry into dim entries.
    """
    _, directions = torch.linalg.eigh(x.T @ x)  # columns, weakest first
    strongest = directions.flip(1)[:, :dim].T
    noise = torch.randn(dim, dim, generator=generator, dtype=x.dtype)
    rotation, _ = torch.linalg.qr(noise)
    return rotation[:, : len(strongest)] @ strongest


def _attend_to_similar(layer: PairLayer, dim: int, num_heads: int, sharpness: float) -> None:
    """Equal query and key projections; tokens have the length sqrt(D) (LayerNorm)."""
    scale = (sharpness / (dim / num_heads) ** 0.5) ** 0.5
    identity = scale * torch.eye(dim)
    layer.cross_attn.in_proj_weight[: 2 * dim].copy_(torch.cat([identity, identity]))
    nn.init.zeros_(layer.cross_attn.in_proj_bias[: 2 * dim])


@torch.no_grad()
def start_from_matches(
    model: AMES,
    descriptors: Tensor,
    generator: torch.Generator,
    *,
    level: float = 2.0,  # of the constant channel in every descriptor's token
    sharpness: float = 2.0,  # cross-attention: scale of the equal query and key projections
    threshold: float = 3.0,  # cross-attention: the same for the constant channel
    erase: float = 0.7,  # share of its match that a token loses
    noise: float = 0.1,  # factor of what stays random
) -> None:
    """Preserved correspondences, and from them, before the first step, evidence of a match.

    The last four entries of every head are set apart. All tokens carry a constant there, the match
    token nothing else. Cross-attention subtracts from a token what it found: a matched one becomes
    small, so that LayerNorm raises its constant, and the second layer's self-attention collects the
    constants for the classifier: the logit rises with the share of matched descriptors. In the
    first self-attention the match token takes the attention of descriptors that have no like in
    their own image and marks them, so that training can tell repeated structure (windows) from what
    is unique. descriptors, generator and errors as in `start_from_correspondences`; post-norm
    heads that are not binary, of at least 2 layers and 8 entries a head.
    """
    heads, width = model.num_heads, model.dim // model.num_heads
    if model.binary or model.pre_norm or model.num_layers < 2 or width < 8:
        raise BadInput(
            f"a head with {model.arguments}",
            expected="binary=false, pre_norm=false, num_layers >= 2, dim / num_heads >= 8",
        )
    entries = torch.arange(model.dim).view(heads, width)
    content = entries[:, : width - 4].flatten()
    constant, slot, evidence, unique = entries[:, width - 4 :].unbind(1)
    _remap_with_constant(model, _sample(model, descriptors), content, constant, level, generator)
    gains = torch.zeros(model.dim)
    for number, module in enumerate(model.decoder.layers):
        layer, d = cast(PairLayer, module), model.dim
        for part in (layer.self_attn.out_proj, layer.cross_attn.out_proj, layer.linear2):
            part.weight.mul_(noise)
        nn.init.zeros_(layer.linear2.bias)
        gains[content], gains[constant] = sharpness, threshold
        projection = layer.cross_attn.in_proj_weight
        projection[: 2 * d].copy_(torch.cat([gains.diag(), gains.diag()]))
        gains[content], gains[constant] = 1.0, 0.0
        projection[2 * d :].copy_(gains.diag())
        layer.cross_attn.out_proj.weight.copy_(-erase * gains.diag())
        projection, out = layer.self_attn.in_proj_weight, layer.self_attn.out_proj
        if number == 0:
            gains[content], gains[constant] = 1.25, 2.6
            projection[: 2 * d].copy_(torch.cat([gains.diag(), gains.diag()]))
            projection[2 * d :].mul_(noise)
            _carry(projection[2 * d :], out, constant, constant, unique, gain=1.0)
            out.bias[unique] = -(level + 0.3 * (_match_level(model.dim, heads) - level))
        else:
            projection[: 2 * d].mul_(noise)
            _carry(projection[2 * d :], out, constant, slot, evidence, gain=2.0)
    nn.init.zeros_(model.classifier.weight)
    nn.init.zeros_(model.classifier.bias)
    model.classifier.weight[0, evidence] = 1.0


def _match_level(dim: int, heads: int) -> float:
    """The constant of a token that has nothing else, after LayerNorm."""
    return (dim / heads) ** 0.5


def _carry(
    value: Tensor, out: nn.Linear, source: Tensor, slot: Tensor, target: Tensor, gain: float
) -> None:
    """In each head, bring one entry of the attended tokens to one entry of the token."""
    value[slot] = 0
    value[slot, source] = 1.0
    out.weight[target] = 0
    out.weight[target, slot] = gain


def _remap_with_constant(
    model: AMES,
    x: Tensor,
    content: Tensor,
    constant: Tensor,
    level: float,
    generator: torch.Generator,
) -> None:
    """Remap := isometry of (descriptor - mean) into `content`, and a constant entry a head."""
    mean = x.mean(0)
    basis = _principal_basis(x - mean, len(content), generator)
    linear = cast(nn.Linear, model.remap_local[0])
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    linear.weight[content] = basis.to(linear.weight.dtype)
    linear.bias[content] = (-basis @ mean).to(linear.bias.dtype)
    length = (x - mean).norm(dim=1).mean()
    linear.bias[constant] = float(length) * level / model.dim**0.5
    nn.init.zeros_(model.mtc_token)
    model.mtc_token[constant] = 1.0
