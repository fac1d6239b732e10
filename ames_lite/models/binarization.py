"""Descriptors as signs: the layer, its initialization by ITQ, packed bits."""

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from ames_lite.errors import BadInput, require


class Binarization(nn.Module):
    """x -> sign(normalise(x) W); in training erf(normalise(x) W / sqrt(2 sigma)), which tends to it
    as sigma tends to 0. sign(0) = 0, as in the published code; packed, 0 becomes -1.
    """

    def __init__(self, dim_in: int, dim: int, sigma: float = 1e-6) -> None:
        super().__init__()
        self.sigma = sigma
        self.W = nn.Parameter(torch.empty(dim_in, dim))
        nn.init.orthogonal_(self.W)

    def forward(self, x: Tensor) -> Tensor:
        """Signs [..., D] of descriptors [..., Din], float; gradients reach W in training only."""
        with torch.autocast(x.device.type, enabled=False):  # near zero it would turn signs
            projected = F.normalize(x, dim=-1) @ self.W
            if self.training:
                return torch.erf(projected / (2 * self.sigma) ** 0.5)
            return torch.sign(projected)


def pack_bits(signs: Tensor) -> Tensor:
    """Packed bits, uint8 [..., D/8], big-endian: 1 where signs [..., D] are above 0. BadInput."""
    fits, what = signs.ndim and signs.shape[-1] % 8 == 0, f"signs have shape {list(signs.shape)}"
    require(fits, what, "[..., D], D a multiple of 8")
    bits = (signs > 0).to(torch.uint8).unflatten(-1, (-1, 8))
    return (bits << _shifts(signs.device)).sum(-1, dtype=torch.uint8)


def unpack_bits(packed: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Signs -1 and +1 [..., D] of packed bits, uint8 [..., D/8], big-endian. Raises BadInput."""
    if packed.dtype != torch.uint8 or packed.ndim == 0:
        raise BadInput(f"packed bits are {list(packed.shape)} {packed.dtype}", expected="uint8")
    bits = (packed.unsqueeze(-1) >> _shifts(packed.device)) & 1
    return bits.flatten(-2).to(dtype) * 2 - 1


def _shifts(device: torch.device) -> Tensor:
    return torch.arange(7, -1, -1, dtype=torch.uint8, device=device)


@torch.no_grad()
def fit_itq(descriptors: Tensor, bits: int, generator: Generator, iterations: int = 50) -> Tensor:
    """W float32 [Din, bits], for `Binarization.W` (`remap_local.0.W` of a binary head).

    descriptors [M, Din] float, better some 100 a bit; generator: on the CPU, draws the first
    rotation. Iterative quantisation (Gong and Lazebnik, CVPR 2011): principal directions of the
    centred sample, then by turns B = sign(V R) and the rotation R from the SVD of V^T B, for the
    projections V. Raises BadInput.

    The layer has no bias, so W is orthogonal to the mean of the sample instead: then x W =
    (x - mean) W, and every bit splits the sample about evenly. With bits = Din one projection is 0
    throughout, and the rotation shares it among all bits; below that, W has orthonormal columns.
    """
    x = F.normalize(check_sample(descriptors), dim=-1)
    expected = f"1 to {x.shape[1]}, the width of a descriptor"
    require(1 <= bits <= x.shape[1], f"bits is {bits}", expected)
    mean = x.mean(0)
    axis = F.normalize(mean, dim=0)
    x = x - mean
    x = x - (x @ axis)[:, None] * axis
    basis = principal_directions(x, bits)
    basis = basis - axis[:, None] * (axis @ basis)  # rounding, and the direction of no variance
    rotation = random_rotation(bits, generator, torch.float64).to(x.device)
    projections = x @ basis
    for _ in range(iterations):
        rotation = nearest_rotation(projections, torch.sign(projections @ rotation))
    return (basis @ rotation).float()


def principal_directions(x: Tensor, num: int) -> Tensor:
    """The strongest `num` principal directions of centred rows [M, D], as columns [D, num]."""
    _, directions = torch.linalg.eigh(x.T @ x)  # columns, weakest first
    return directions.flip(1)[:, :num]


def random_rotation(dim: int, generator: Generator, dtype: torch.dtype = torch.float32) -> Tensor:
    """A random orthogonal [D, D] on the CPU."""
    return torch.linalg.qr(torch.randn(dim, dim, generator=generator, dtype=dtype))[0]


def nearest_rotation(points: Tensor, targets: Tensor) -> Tensor:
    """The orthogonal R [D, D] with the least |points R - targets|, both [M, D] (Procrustes)."""
    left, _, right = torch.linalg.svd(points.T @ targets)
    return left @ right


def check_sample(descriptors: Tensor, dim_in: int | None = None) -> Tensor:
    """A sample [M, Din] in float64; dim_in: its width. Raises BadInput."""
    shape = list(descriptors.shape)
    fits = len(shape) == 2 and shape[0] >= 2 and dim_in in (None, shape[1])
    fits = fits and descriptors.is_floating_point() and bool(descriptors.isfinite().all())
    what = f"descriptors are {shape} {descriptors.dtype}, or have NaN or infinity"
    width = "Din" if dim_in is None else dim_in
    require(fits, what, f"a finite float sample [M, {width}], M at least 2")
    return descriptors.double()
