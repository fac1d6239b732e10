"""AMES (ECCV 2024): a small transformer that scores a pair of images from local descriptors. A
logit depends neither on the order of descriptors, nor on padding, nor on the rest of the batch.
Parameters have their published names.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ames_lite.errors import check_config
from ames_lite.models.binarization import Binarization, unpack_bits
from ames_lite.models.blocks import EncodedImages, PairDecoder
from ames_lite.models.head import PairWeights, SimilarityHead, check_sizes, shape_in_state

LAYER_PARAMETERS = 18
CPU_BLOCK_TOKENS = 4096  # of a block of pairs, see _block_size


class AMES(SimilarityHead[EncodedImages]):
    """In eval the gallery's tokens are rounded to float16, as if they came from a store.

    An image without a valid descriptor has a defined logit: its partner's tokens then see only the
    match token across, and the match token sees the partner alone. Packed bits: the binary form
    takes the signs of its own projection, [B, N, dim/8], and skips it (in training it gets no
    gradient then); the other takes descriptors of -1 and +1, [B, N, Din/8].
    """

    marker, encoding = "mtc_token", EncodedImages
    dim_in: int

    def __init__(
        self,
        dim_in: int = 768,  # width of the descriptors
        dim: int = 128,  # width of the tokens, D
        num_heads: int = 2,
        num_layers: int = 5,
        dim_feedforward: int = 1024,  # hidden width of the feed-forward (ReLU)
        binary: bool = False,  # tokens from the signs of a projection instead of its values
        pre_norm: bool = False,  # LayerNorm before each block, and one at the end
        normalize_input: bool = True,  # L2-normalise descriptors; False: extraction has done it
        round_gallery_fp16: bool = True,  # published: gallery as if stored in float16 (fp, eval)
        binary_sigma: float = 1e-6,  # smoothness of the sign's stand-in in training
    ) -> None:
        super().__init__()
        sizes = {"dim_in": dim_in, "dim": dim, "num_heads": num_heads, "num_layers": num_layers}
        check_sizes(**sizes, dim_feedforward=dim_feedforward)
        what = f"dim {dim} does not divide among {num_heads} heads"
        check_config(dim % num_heads == 0, what, "dim a multiple of num_heads")
        self.dim_in, self.dim, self.num_heads, self.num_layers = dim_in, dim, num_heads, num_layers
        self.dim_feedforward, self.binary, self.pre_norm = dim_feedforward, binary, pre_norm
        self.normalize_input, self.round_gallery_fp16 = normalize_input, round_gallery_fp16
        self.binary_sigma = binary_sigma

        if binary:
            signs = Binarization(dim_in, dim, binary_sigma)
            self.remap_local = nn.Sequential(signs, nn.Linear(dim, dim), nn.LayerNorm(dim))
        else:
            self.remap_local = nn.Sequential(nn.Linear(dim_in, dim), nn.LayerNorm(dim))
        self.mtc_token = nn.Parameter(torch.randn(dim))  # of the size of a LayerNorm's output
        self.decoder = PairDecoder(dim, num_heads, num_layers, dim_feedforward, pre_norm)
        self.classifier = nn.Linear(dim, 1)

    @classmethod
    def arguments_from_state(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """As in SimilarityHead; num_heads and the flags cannot be read from the shapes."""
        binary = "remap_local.0.W" in state
        width = shape_in_state(state, "remap_local.0.W" if binary else "remap_local.0.weight", 2)
        layers = sum(name.startswith("decoder.layers.") for name in state) / LAYER_PARAMETERS
        return {
            "dim_in": width[0 if binary else 1],
            "dim": shape_in_state(state, "mtc_token", 1)[0],
            "num_layers": max(1, round(layers)),
            "dim_feedforward": shape_in_state(state, "decoder.layers.0.linear1.weight", 2)[0],
            "binary": binary,
            "pre_norm": any(name.startswith("decoder.norm.") for name in state),
        }

    @property
    def packed_bits(self) -> int:
        """dim for the binary form, whose projection made them."""
        return self.dim if self.binary else self.dim_in

    def _encode(self, descriptors: Tensor, valid: Tensor | None, gallery: bool) -> EncodedImages:
        dtype, packed = self.mtc_token.dtype, descriptors.dtype == torch.uint8
        x = unpack_bits(descriptors, dtype) if packed else descriptors.to(dtype)
        with torch.autocast(x.device.type, enabled=False):  # half of bf16's error arises here
            if packed and self.binary:
                x = self.remap_local[1:](x)
            else:
                x = self.remap_local(F.normalize(x, dim=-1) if self.normalize_input else x)
        if gallery and self.round_gallery_fp16 and not (self.binary or self.training):
            x = x.half().to(x.dtype)
        return self.decoder.encode(self.mtc_token, x, valid)

    def _score(self, query: EncodedImages, gallery: EncodedImages) -> Tensor:
        return self._classify(self.decoder.score(self.mtc_token, query, gallery, False)[0])

    def _score_tokens(self, query: EncodedImages, gallery: EncodedImages) -> tuple[Tensor, Tensor]:
        """Tokens are [match, query, gallery], padding included."""
        match, tokens = self.decoder.score(self.mtc_token, query, gallery, True)
        assert tokens is not None
        return self._classify(match), tokens

    def _explain(self, query: EncodedImages, gallery: EncodedImages) -> PairWeights:
        """Pairs: the product of the shares of the first cross-attention, from query to gallery and
        back, scaled to sum to 1: which descriptors look at each other, not by how much the logit
        would fall without them. Descriptors: the share that the match token, of which the logit is
        made, has on them in the last layer; what is missing to 1 is on itself.
        """
        there, back, read = self.decoder.attention(self.mtc_token, query, gallery)
        pairs, at = there * back.transpose(1, 2), query.tokens.shape[1]
        for side, images in ((2, query), (1, gallery)):
            if images.valid is not None:
                pairs = pairs * images.valid.unsqueeze(side)
        pairs = pairs / pairs.sum((1, 2), keepdim=True).clamp_min(torch.finfo(pairs.dtype).tiny)
        return PairWeights(pairs, read[:, :at], read[:, at + 1 :])

    def _classify(self, match: Tensor) -> Tensor:
        with torch.autocast(match.device.type, enabled=False):
            return self.classifier(match.to(self.classifier.weight.dtype))[:, 0]

    def _pairs_at_a_time(self, query: EncodedImages, gallery: EncodedImages) -> int | None:
        """On a CPU without gradients few enough for the caches: a fifth faster at 600 x 600."""
        on_cpu = query.tokens.device.type == "cpu" and not torch.is_grad_enabled()
        if torch.compiler.is_compiling() or not on_cpu:
            return None
        return max(1, CPU_BLOCK_TOKENS // (query.tokens.shape[1] + 1 + gallery.tokens.shape[1]))
