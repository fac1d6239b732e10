"""ELViS (ICLR 2026): a pair of images scored in similarity space, by optimal transport and votes.

The transport is Sinkhorn's, over an affinity matrix with a dustbin row and column. Potentials and
dustbins stay logarithms; the matrix itself is exponentiated once, so that each of the iterations is
a product of a matrix with a vector. A cosine bounds its entries to within exp(2 sharpness).
Axis letters: B pairs or images, N descriptors of one image, M of the other, Q query, T gallery.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ames_lite.errors import check_config
from ames_lite.models import head
from ames_lite.models.binarization import unpack_bits
from ames_lite.models.head import Encoding, PairWeights, SimilarityHead, shape_in_state

MOST_ITERATIONS = 10_000
NEVER = -1e30  # a logarithm of nothing that can be subtracted from itself


@dataclass(frozen=True, eq=False)
class EncodedSets(Encoding):
    """Tokens of unit length, and each one's affinity with the other image's dustbin."""

    dustbin: Tensor  # [B, N]


class TransportSide(NamedTuple):
    """One side of B pairs in the transport: the rows of a matrix, or its columns."""

    dustbin: Tensor  # [B, N] affinities with the dustbin of the other side, float32 at least
    padding: Tensor | None  # [B, N] True where no match is possible
    left_out: Tensor | None  # [B, N] True where not even the dustbin is
    log_count: Tensor  # [B, 1] of the descriptors that take part, at least of one


class Transport(NamedTuple):
    """What is transported in B pairs: kernel [B, Q, T] = exp(sharpness (cosine - 1)); corner: of
    both dustbins. Each descriptor has the mass 1 / (Q + T), a dustbin that of the other side.
    """

    kernel: Tensor
    query: TransportSide
    gallery: TransportSide
    corner: Tensor
    sharpness: float
    iterations: int


class ELViS(SimilarityHead[EncodedSets]):
    """Descriptors are not L2-normalised first. Output: in eval the sum of the votes of all
    descriptors, in (0, Q + T); in training that sum through `g`, a logit for the loss.

    Where an image has no valid descriptor, every descriptor of its partner votes with the
    probability 0. With count_padding=True, as published, logits depend on the padding: unpad, pad
    always alike, or use count_padding=False.
    """

    marker, encoding = "dust_bin", EncodedSets
    dim_in: int

    def __init__(
        self,
        dim_in: int = 768,  # width of the descriptors
        dim: int = 128,  # width of the tokens, D
        embed_dim: int = 16,  # hidden width of f, which makes votes of probabilities
        proj_dim: int = 64,  # hidden width of g, which makes a logit of votes, in training
        iterations: int = 10,  # of Sinkhorn
        sharpness: float = 10.0,  # factor of all affinities, 1 / regulariser; at most 40
        count_padding: bool = True,  # published: padding takes part through the dustbins
    ) -> None:
        super().__init__()
        head.check_sizes(dim_in=dim_in, dim=dim, embed_dim=embed_dim, proj_dim=proj_dim)
        head.check_sizes(iterations=iterations)
        check_config(0 < sharpness <= 40, f"sharpness is {sharpness!r}", "a number in (0, 40]")
        few, most = iterations <= MOST_ITERATIONS, f"at most {MOST_ITERATIONS}"
        check_config(few, f"iterations is {iterations}", most)
        self.dim_in, self.dim, self.embed_dim, self.proj_dim = dim_in, dim, embed_dim, proj_dim
        self.iterations, self.sharpness = iterations, sharpness
        self.count_padding = count_padding

        self.remap_local = nn.Sequential(nn.Linear(dim_in, dim), nn.LayerNorm(dim))
        self.dust_bin = nn.Parameter(torch.tensor(1.0))  # of the two dustbins for each other
        mix = nn.Linear(dim, dim)
        self.dust_bin_mlp = nn.Sequential(mix, nn.GELU(), nn.Linear(dim, 1), nn.Tanh())
        vote, norm = nn.Linear(1, embed_dim), nn.LayerNorm(embed_dim, eps=1e-6)
        self.f = nn.Sequential(vote, norm, nn.GELU(), nn.Linear(embed_dim, 1))
        self.g = nn.Sequential(nn.Linear(1, proj_dim), nn.GELU(), nn.Linear(proj_dim, 1))

    @property
    def depends_on_padding(self) -> bool:
        """True in the published form."""
        return self.count_padding

    @classmethod
    def arguments_from_state(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """As in SimilarityHead; iterations, sharpness and flags cannot be read from the shapes."""
        dim, dim_in = shape_in_state(state, "remap_local.0.weight", 2)
        return {
            "dim_in": dim_in,
            "dim": dim,
            "embed_dim": shape_in_state(state, "f.0.weight", 2)[0],
            "proj_dim": shape_in_state(state, "g.0.weight", 2)[0],
        }

    def _encode(self, descriptors: Tensor, valid: Tensor | None, gallery: bool) -> EncodedSets:
        dtype, packed = self.dust_bin.dtype, descriptors.dtype == torch.uint8
        x = unpack_bits(descriptors, dtype) if packed else descriptors.to(dtype)
        with torch.autocast(x.device.type, enabled=False):  # cheap, and most of bf16's error
            tokens = F.normalize(self.remap_local(x), dim=-1)
            dustbin = self.sharpness * self.dust_bin_mlp(tokens)[..., 0]
        return EncodedSets(tokens, valid, dustbin)

    def _score(self, query: EncodedSets, gallery: EncodedSets) -> Tensor:
        problem = self._transport(query, gallery)
        with torch.autocast(query.tokens.device.type, enabled=False):
            there, back = best_matches(problem)
            votes = self._votes(there, query.valid).sum(1) + self._votes(back, gallery.valid).sum(1)
            return self.logit(votes) if self.training else votes

    def _explain(self, query: EncodedSets, gallery: EncodedSets) -> PairWeights:
        """By how much the votes of two descriptors rise because the other is their best match."""
        plans = transport_plan(self._transport(query, gallery))
        sides = zip(plans, (query.valid, gallery.valid), strict=True)
        there, back = (self._rises(plan, valid) for plan, valid in sides)
        return head.weights_of(there + back.transpose(1, 2))

    def _transport(self, query: EncodedSets, gallery: EncodedSets) -> Transport:
        cosines = query.tokens @ gallery.tokens.transpose(1, 2)
        rows, columns = (transport_side(x, self.count_padding) for x in (query, gallery))
        with torch.autocast(cosines.device.type, enabled=False):
            kernel = cosines.to(rows.dustbin.dtype).sub_(1).mul_(self.sharpness).exp_()
            corner = (self.sharpness * self.dust_bin).to(kernel.dtype)
        return Transport(kernel, rows, columns, corner, self.sharpness, self.iterations)

    def _rises(self, plan: Tensor, valid: Tensor | None) -> Tensor:
        """[B, N, M], of shares [B, N, M] of the mass of each descriptor: at its best match."""
        best, at = plan.max(2)
        rise = self._votes(best, valid) - self._votes(torch.zeros_like(best), valid)
        return F.one_hot(at, plan.shape[2]) * rise[..., None]

    def logit(self, scores: Tensor) -> Tensor:
        """g of the sums of votes [B]."""
        return self.g(scores[:, None].to(self.dust_bin.dtype))[:, 0]

    def _votes(self, probabilities: Tensor, valid: Tensor | None) -> Tensor:
        """[B, N] of the probabilities of a match; padding has none."""
        votes = self.f(probabilities[..., None].to(self.dust_bin.dtype))[..., 0]
        votes = votes.to(probabilities.dtype).sigmoid()
        return votes if valid is None else votes * valid


def transport_side(images: EncodedSets, count_padding: bool) -> TransportSide:
    """One side of the pairs; count_padding: padding takes part, through its dustbin entries."""
    dustbin = images.dustbin.to(torch.promote_types(images.dustbin.dtype, torch.float32))
    padding = None if images.valid is None else ~images.valid
    if images.valid is None or count_padding:
        count = torch.full_like(dustbin[:, :1], images.tokens.shape[1])
        return TransportSide(dustbin, padding, None, count.log())
    count = images.valid.sum(1, keepdim=True).clamp_min(1).to(dustbin.dtype)
    return TransportSide(dustbin, padding, padding, count.log())


def _weighed(problem: Transport) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
    """Of the query's side, then the gallery's: the kernel [B, N, M] times the other side's
    potentials; [B, N], which its logarithm needs to be that of the mass's shares; the padding.
    """
    kernel, query, gallery, corner, sharpness, iterations = problem
    total = torch.logaddexp(query.log_count, gallery.log_count)
    back = kernel.transpose(1, 2)
    potentials = torch.zeros_like(gallery.dustbin), torch.zeros_like(total)
    for _ in range(iterations):
        others = _fit(back, query, gallery, potentials, corner, sharpness, total)
        potentials = _fit(kernel, gallery, query, others, corner, sharpness, total)
    u, v, scale = others[0], potentials[0], total + sharpness
    weights, peak = _weights(v, gallery.padding)
    yield kernel * weights[:, None], peak + scale + u, query.padding
    weights, peak = _weights(u, query.padding)
    yield back * weights[:, None], peak + scale + v, gallery.padding


def best_matches(problem: Transport) -> tuple[Tensor, Tensor]:
    """The shares of mass [B, Q], [B, T] of descriptors at their best match; of padding 0."""
    (rows, u, of_query), (columns, v, of_gallery) = _weighed(problem)
    there, back = rows.amax(2).log() + u, columns.amax(2).log() + v
    return _without(there, of_query).exp(), _without(back, of_gallery).exp()


def transport_plan(problem: Transport) -> tuple[Tensor, Tensor]:
    """All of the probabilities whose largest `best_matches` gives: [B, Q, T] and [B, T, Q]."""
    there, back = (
        _without(x.log() + at[..., None], None if padding is None else padding[..., None]).exp()
        for x, at, padding in _weighed(problem)
    )
    return there, back


def _fit(
    kernel: Tensor,
    side: TransportSide,
    other: TransportSide,
    others: tuple[Tensor, Tensor],
    corner: Tensor,
    sharpness: float,
    total: Tensor,
) -> tuple[Tensor, Tensor]:
    """Log-potentials [B, N] of a side, and [B, 1] of its dustbin, that give it its masses; kernel
    [B, M, N]; others: those of the other side.
    """
    potentials, dustbin = others
    weights, peak = _weights(potentials, other.padding)
    seen = torch.bmm(weights[:, None], kernel)[:, 0].log() + (peak + sharpness)
    in_dustbin = other.dustbin + _without(potentials, other.left_out)
    in_dustbin = in_dustbin.logsumexp(1, keepdim=True)
    return (
        -total - torch.logaddexp(_without(seen, side.padding), side.dustbin + dustbin),
        other.log_count - total - torch.logaddexp(in_dustbin, corner + dustbin),
    )


def _weights(potentials: Tensor, padding: Tensor | None) -> tuple[Tensor, Tensor]:
    """exp(potentials - peak) [B, N] and their peak [B, 1], over what is no padding (or NEVER)."""
    potentials = _without(potentials, padding)
    peak = potentials.detach().amax(1, keepdim=True)
    return (potentials - peak).exp(), peak


def _without(logarithms: Tensor, mask: Tensor | None) -> Tensor:
    return logarithms if mask is None else logarithms.masked_fill(mask, NEVER)
