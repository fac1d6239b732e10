"""Attention over a pair of images; what depends on one image is computed once per image.

Inside `score` the tokens of a pair stand as [query..., match, gallery...]: the keys that tokens may
see, {query, match} and {match, gallery}, are slices of it. In self-attention query tokens see
{query, match}, gallery tokens {match, gallery}; in cross-attention the other way round; the match
token sees everything. Padding is never a key; every token sees the match token, so rows are finite.
Axis letters: B pairs or images, N tokens of one image, Q query, T gallery tokens, D width, H heads,
C = D / H.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ames_lite.models.head import Encoding

Pair = tuple[Tensor, Tensor]
ENTRIES = 700_000  # of the matrices that are made at a time, over all heads: 1.4 MB
ROWS = 200  # query tokens at a time without gradients
HIDDEN_ROWS = 512  # of the feed-forward at a time


@dataclass(frozen=True, eq=False)
class EncodedImages(Encoding):
    """Tokens after the first self-attention, and what else depends on one image alone."""

    crossing: Tensor  # [B, N, 3D] their query, key, value for the first cross-attention
    match_output: Tensor  # [B, H, C] the match token's first attention over this image alone ...
    match_lse: Tensor  # [B, H] ... and the log-sum-exp of its logits, to merge it with others
    of_image = ("match_output", "match_lse")


class Layout(NamedTuple):
    """Where the match token is in a pair, and which keys are real (True; None where all are)."""

    num_query: int
    query_keys: Tensor | None  # [B, 1, 1, Q + 1]: {query, match}
    gallery_keys: Tensor | None  # [B, 1, 1, 1 + T]: {match, gallery}
    all_keys: Tensor | None  # [B, 1, 1, Q + 1 + T]


def lay_out(query: EncodedImages, gallery: EncodedImages) -> Layout:
    num_query = query.tokens.shape[1]
    if query.valid is None and gallery.valid is None:
        return Layout(num_query, None, None, None)
    match = query.tokens.new_ones(query.tokens.shape[0], 1, dtype=torch.bool)
    keys = torch.cat([_valid(query), match, _valid(gallery)], dim=1)[:, None, None]
    query_keys = None if query.valid is None else keys[..., : num_query + 1]
    gallery_keys = None if gallery.valid is None else keys[..., num_query:]
    return Layout(num_query, query_keys, gallery_keys, keys)


def _valid(images: EncodedImages) -> Tensor:
    if images.valid is not None:
        return images.valid
    return images.tokens.new_ones(images.tokens.shape[:2], dtype=torch.bool)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """softmax(q k / √C) v of q [B, H, N, C], k and v [B, H, M, C]; mask [B, 1, 1, M]: True = seen.

    By scaled_dot_product_attention, but for bf16 on a CPU: measured with AVX-512 and no AMX, its
    blocks of bf16 are no faster than float32, and plain products are four times as fast. There the
    matrices [N, M] are made of some rows or a few images at a time, and again for the gradient.
    """
    plain = q.dtype == torch.bfloat16 and q.device.type == "cpu"
    if torch.compiler.is_compiling() or not plain or q.shape[2] == 1:
        return F.scaled_dot_product_attention(q, k, v, mask)
    q = q * q.shape[-1] ** -0.5
    if not (torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v))):
        return torch.cat([_products(rows, k, v, mask) for rows in q.split(ROWS, 2)], 2)
    size = max(1, ENTRIES // (q[0, :, :, 0].numel() * k.shape[2]))
    masks = [mask] * len(q) if mask is None or len(mask) == 1 else mask.split(size)
    parts = zip(q.split(size), k.split(size), v.split(size), masks, strict=False)
    return torch.cat([checkpoint(_products, *part, use_reentrant=False) for part in parts])


def _products(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    logits = q @ k.transpose(2, 3)
    if mask is not None:
        logits = logits.masked_fill(~mask, -torch.inf)
    return logits.softmax(-1) @ v


class PairAttention(nn.Module):
    """The parameters of one attention (named as nn.MultiheadAttention names them) and its uses."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        self.out_proj = nn.Linear(dim, dim)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def project(self, x: Tensor) -> Tensor:
        """Query, key and value [..., 3D] of tokens [..., D]."""
        return F.linear(x, self.in_proj_weight, self.in_proj_bias)

    def _heads(self, projections: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key, value [B, H, N, C], views of projections [B, N, 3D]."""
        pattern = "b n (three h c) -> three b h n c"
        q, k, v = rearrange(projections, pattern, three=3, h=self.num_heads).unbind()
        return q, k, v

    def _join(self, rows: Sequence[Tensor]) -> Tensor:
        """The update [B, N, D] from attended heads [B, H, n, C] of successive runs of tokens."""
        merged = [part.transpose(1, 2).flatten(2) for part in rows]
        return self.out_proj(merged[0] if len(merged) == 1 else torch.cat(merged, dim=1))

    def within_image(self, match: Tensor, x: Tensor, valid: Tensor | None) -> Tensor:
        """The update [B, N, D] of the tokens x of single images that see {match [D], x}."""
        together = torch.cat([match.to(x.dtype).expand(x.shape[0], 1, -1), x], dim=1)
        q, k, v = self._heads(self.project(together))
        mask = None if valid is None else F.pad(valid, (1, 0), value=True)[:, None, None]
        return self._join([attend(q[:, :, 1:], k, v, mask)])

    def over_pair(self, projections: Tensor, layout: Layout, crossed: bool) -> Tensor:
        """The update [B, N, D] of all tokens of a pair; crossed: by cross-attention."""
        q, k, v = self._heads(projections)
        middle = layout.num_query
        query_side = (slice(0, middle + 1), layout.query_keys)
        gallery_side = (slice(middle, None), layout.gallery_keys)
        runs = [
            (slice(0, middle), *(gallery_side if crossed else query_side)),
            (slice(middle, middle + 1), slice(None), layout.all_keys),
            (slice(middle + 1, None), *(query_side if crossed else gallery_side)),
        ]
        seen = ((q[:, :, at], k[:, :, keys], v[:, :, keys], mask) for at, keys, mask in runs)
        return self._join([attend(*one) for one in seen])

    def across(self, projections: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
        """The shares of cross-attention, mean over heads: of query tokens on gallery tokens [B, Q,
        T], and back [B, T, Q]; what a row has less than 1 is on the match token.
        """
        q, k, _ = self._heads(projections)
        at, shares = layout.num_query, []
        before, after = slice(0, at), slice(at + 1, None)
        for rows, keys, mask in (
            (before, slice(at, None), layout.gallery_keys),
            (after, slice(0, at + 1), layout.query_keys),
        ):
            logits = q[:, :, rows] @ k[:, :, keys].transpose(2, 3) / q.shape[-1] ** 0.5
            if mask is not None:
                logits = logits.masked_fill(~mask, -torch.inf)
            shares.append(logits.softmax(-1).mean(1))
        return shares[0][:, :, 1:], shares[1][:, :, :-1]

    def pool(self, query: Tensor, x: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
        """The attention of one query token [B or 1, D] over x [B, N, D].

        Returns the output [B, H, C], before out_proj, and its logits [B, H, N]. The key projection
        is folded into the query and the value projection comes after the sum, so that tokens are
        never projected. The key's bias adds the same to every logit of a head: it is left out. In
        float32 at least: it costs next to nothing.
        """
        dtype = torch.promote_types(x.dtype, torch.float32)
        with torch.autocast(x.device.type, enabled=False):
            weight, bias, heads = self.in_proj_weight, self.in_proj_bias, self.num_heads
            shape = {"three": 3, "h": heads}
            w_q, w_k, w_v = rearrange(weight.to(dtype), "(three h c) d -> three h c d", **shape)
            b_q, _, b_v = rearrange(bias.to(dtype), "(three h c) -> three h c", **shape)
            x = x.to(dtype)
            q = torch.einsum("bd,hcd->bhc", query.to(dtype), w_q) + b_q
            folded = torch.einsum("bhc,hcd->bhd", q, w_k) / q.shape[-1] ** 0.5
            logits = folded @ x.transpose(1, 2)
            if valid is not None:  # not -inf: an image that is all padding must stay finite
                logits = logits.masked_fill(~valid[:, None], torch.finfo(dtype).min)
            gathered = logits.softmax(-1) @ x
            output = torch.einsum("bhd,hcd->bhc", gathered, w_v) + b_v
        return output, logits

    def finish(self, output: Tensor) -> Tensor:
        """The update [B, D] from the pooled output [B, H, C]."""
        return self.out_proj(output.flatten(1).to(self.out_proj.weight.dtype))


def merge_pooled(parts: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """The attention over a union of sets, from the (output, log-sum-exp) of each."""
    lse = torch.stack(torch.broadcast_tensors(*(lse for _, lse in parts)))
    share = lse.softmax(0)[..., None]
    terms = [output * share[i] for i, (output, _) in enumerate(parts)]
    return torch.stack(terms).sum(0)


class PairLayer(nn.Module):
    """Self-attention, cross-attention, feed-forward (ReLU), each with residual and LayerNorm."""

    def __init__(self, dim: int, num_heads: int, dim_feedforward: int, pre_norm: bool) -> None:
        super().__init__()
        self.pre_norm = pre_norm
        self.self_attn = PairAttention(dim, num_heads)
        self.cross_attn = PairAttention(dim, num_heads)
        self.linear1 = nn.Linear(dim, dim_feedforward)
        self.linear2 = nn.Linear(dim_feedforward, dim)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(dim) for _ in range(3))

    def _before(self, norm: nn.LayerNorm, x: Tensor) -> Tensor:
        return norm(x) if self.pre_norm else x

    def _after(self, norm: nn.LayerNorm, x: Tensor, update: Tensor) -> Tensor:
        return x + update if self.pre_norm else norm(x + update)

    def encode(self, match: Tensor, x: Tensor, valid: Tensor | None) -> EncodedImages:
        """This layer as the first one, as far as one image x [B, N, D] goes; match [D]."""
        match_in, x_in = self._before(self.norm1, match), self._before(self.norm1, x)
        tokens = self._after(self.norm1, x, self.self_attn.within_image(match_in, x_in, valid))
        crossing = self.cross_attn.project(self._before(self.norm2, tokens))
        output, logits = self.self_attn.pool(match_in[None], x_in, valid)
        return EncodedImages(tokens, valid, crossing, output, logits.logsumexp(-1))

    def join(self, match: Tensor, query: EncodedImages, gallery: EncodedImages) -> Pair:
        """Tokens [B, N, D] of the pairs after the first self-attention, and their projections."""
        match_in = self._before(self.norm1, match)[None]
        itself, logits = self.self_attn.pool(match_in, match_in[None], None)
        seen = [(images.match_output, images.match_lse) for images in (query, gallery)]
        update = self.self_attn.finish(merge_pooled([(itself, logits.logsumexp(-1)), *seen]))
        row = self._after(self.norm1, match, update)[:, None].to(query.tokens.dtype)
        crossing = self.cross_attn.project(self._before(self.norm2, row))
        return (
            torch.cat([query.tokens, row, gallery.tokens], dim=1),
            torch.cat([query.crossing, crossing, gallery.crossing], dim=1),
        )

    def attend_self(self, x: Tensor, layout: Layout) -> Tensor:
        """Tokens x [B, N, D] of the pairs after self-attention."""
        projections = self.self_attn.project(self._before(self.norm1, x))
        return self._after(self.norm1, x, self.self_attn.over_pair(projections, layout, False))

    def attend_cross(self, x: Tensor, layout: Layout, projections: Tensor | None) -> Tensor:
        """Tokens x [B, N, D] of the pairs after cross-attention; projections where known."""
        if projections is None:
            projections = self.cross_attn.project(self._before(self.norm2, x))
        return self._after(self.norm2, x, self.cross_attn.over_pair(projections, layout, True))

    def feed_forward(self, x: Tensor) -> Tensor:
        """Tokens [..., D] after it; on a CPU without gradients some rows at a time, for caches."""
        normed = self._before(self.norm3, x)
        if torch.is_grad_enabled() or torch.compiler.is_compiling() or x.device.type != "cpu":
            return self._after(self.norm3, x, self._update(normed))
        parts = [self._update(rows) for rows in normed.flatten(0, -2).split(HIDDEN_ROWS)]
        return self._after(self.norm3, x, torch.cat(parts).view(x.shape))

    def _update(self, x: Tensor) -> Tensor:
        hidden = self.linear1(x)
        # In place autograd would copy it thrice: the output of a linear layer is a view.
        return self.linear2(hidden.relu() if hidden.requires_grad else hidden.relu_())

    def read_match(self, x: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
        """The match token [B, D] after this layer, in full precision, and its logits [B, H, N]."""
        valid = None if layout.all_keys is None else layout.all_keys[:, 0, 0]
        with torch.autocast(x.device.type, enabled=False):
            x_in = self._before(self.norm2, x)
            output, logits = self.cross_attn.pool(_row(x_in, layout.num_query), x_in, valid)
            update = self.cross_attn.finish(output)
            match = self._after(self.norm2, _row(x, layout.num_query), update)
            return self.feed_forward(match), logits


def _row(x: Tensor, at: int) -> Tensor:
    """x[:, at], which torch.compile would do anew for every `at`."""
    return x.narrow(1, at, 1).squeeze(1)


class PairDecoder(nn.Module):
    """The layers, and the final norm where they are pre-norm."""

    def __init__(
        self, dim: int, num_heads: int, num_layers: int, dim_feedforward: int, pre_norm: bool
    ) -> None:
        super().__init__()
        layers = [PairLayer(dim, num_heads, dim_feedforward, pre_norm) for _ in range(num_layers)]
        self.layers = nn.ModuleList(layers)
        self.norm = nn.LayerNorm(dim) if pre_norm else nn.Identity()

    def _layers(self) -> list[PairLayer]:
        return [cast(PairLayer, layer) for layer in self.layers]

    def encode(self, match: Tensor, x: Tensor, valid: Tensor | None) -> EncodedImages:
        """What depends on single images x [B, N, D] alone."""
        return self._layers()[0].encode(match, x, valid)

    def score(
        self, match: Tensor, query: EncodedImages, gallery: EncodedImages, return_tokens: bool
    ) -> tuple[Tensor, Tensor | None]:
        """The match token [B, D] after all layers; return_tokens: also [match, query, gallery]."""
        layout, last = lay_out(query, gallery), self._layers()[-1]
        x, crossing = self._before_last(match, query, gallery, layout)
        if not return_tokens:
            return self.norm(last.read_match(x, layout)[0]), None
        x = last.feed_forward(last.attend_cross(x, layout, crossing))
        at = layout.num_query
        tokens = self.norm(torch.cat([x[:, at : at + 1], x[:, :at], x[:, at + 1 :]], dim=1))
        return tokens[:, 0], tokens

    def _before_last(
        self, match: Tensor, query: EncodedImages, gallery: EncodedImages, layout: Layout
    ) -> tuple[Tensor, Tensor | None]:
        """Tokens before the last cross-attention, and their projections where they are known."""
        layers = self._layers()
        crossing: Tensor | None
        x, crossing = layers[0].join(match, query, gallery)
        for before, layer in pairwise(layers):
            x = before.feed_forward(before.attend_cross(x, layout, crossing))
            x, crossing = layer.attend_self(x, layout), None
        return x, crossing

    def attention(
        self, match: Tensor, query: EncodedImages, gallery: EncodedImages
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Shares, mean over heads: of the first cross-attention, see `PairAttention.across`, and of
        the match token's last attention [B, Q + 1 + T], in the order of the tokens.
        """
        layout, layers = lay_out(query, gallery), self._layers()
        there, back = layers[0].cross_attn.across(layers[0].join(match, query, gallery)[1], layout)
        x, _ = self._before_last(match, query, gallery, layout)
        return there, back, layers[-1].read_match(x, layout)[1].softmax(-1).mean(1)
