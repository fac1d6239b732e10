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
