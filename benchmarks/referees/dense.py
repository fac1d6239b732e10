"""The slow, obvious form of AMES: one N x N attention with a mask for what may not be seen.

Built from the description of the method alone, with nn.MultiheadAttention, and loaded with the
same state as the head that it judges. Tokens are [match, query, gallery]; masks True on padding.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ames_lite.models import AMES
from ames_lite.models.binarization import Binarization


class DenseLayer(nn.Module):
    def __init__(self, dim: int, num_heads: int, dim_feedforward: int, pre_norm: bool) -> None:
        super().__init__()
        self.pre_norm, self.num_heads = pre_norm, num_heads
        self.self_attn = nn.MultiheadAttention(dim, num_heads, batch_first=True)
        self.cross_attn = nn.MultiheadAttention(dim, num_heads, batch_first=True)
        self.linear1, self.linear2 = (
            nn.Linear(dim, dim_feedforward),
            nn.Linear(dim_feedforward, dim),
        )
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(dim), nn.LayerNorm(dim), nn.LayerNorm(dim)

    def forward(self, x: Tensor, hidden: tuple[Tensor, Tensor], padding: Tensor) -> Tensor:
        blocks = [
            (self.norm1, lambda y: self._attend(self.self_attn, y, hidden[0], padding)),
            (self.norm2, lambda y: self._attend(self.cross_attn, y, hidden[1], padding)),
            (self.norm3, lambda y: self.linear2(F.relu(self.linear1(y)))),
        ]
        for norm, block in blocks:
            x = x + block(norm(x)) if self.pre_norm else norm(x + block(x))
        return x

    @staticmethod
    def _attend(attention: nn.Module, y: Tensor, hidden: Tensor, padding: Tensor) -> Tensor:
        return attention(y, y, y, attn_mask=hidden, key_padding_mask=padding)[0]


class DenseAMES(nn.Module):
    """The referee of `head`, with a copy of its parameters and its mode."""

    def __init__(self, head: AMES) -> None:
        super().__init__()
        a = head.arguments
        self.flags = a
        dim = a["dim"]
        if a["binary"]:
            signs = Binarization(a["dim_in"], dim, a["binary_sigma"])
            self.remap_local = nn.Sequential(signs, nn.Linear(dim, dim), nn.LayerNorm(dim))
        else:
            self.remap_local = nn.Sequential(nn.Linear(a["dim_in"], dim), nn.LayerNorm(dim))
        self.mtc_token = nn.Parameter(torch.zeros(dim))
        sizes = (dim, a["num_heads"], a["dim_feedforward"], a["pre_norm"])
        self.decoder: Any = nn.Module()
        self.decoder.layers = nn.ModuleList([DenseLayer(*sizes) for _ in range(a["num_layers"])])
        self.decoder.norm = nn.LayerNorm(dim) if a["pre_norm"] else nn.Identity()
        self.classifier = nn.Linear(dim, 1)
        self.load_state_dict(head.state_dict())
        self.train(head.training)

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None,
        tgt: Tensor,
        tgt_mask: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Logits [B] and tokens [B, 1+Q+T, D]."""
        q, t = self._remap(src), self._remap(tgt)
        if self.flags["round_gallery_fp16"] and not (self.flags["binary"] or self.training):
            t = t.half().float()
        x = torch.cat([self.mtc_token.expand(len(q), 1, -1), q, t], dim=1)
        nothing = [torch.zeros(y.shape[:2], dtype=torch.bool) for y in (x[:, :1], q, t)]
        masks = [nothing[0], nothing[1] if src_mask is None else src_mask]
        padding = torch.cat([*masks, nothing[2] if tgt_mask is None else tgt_mask], dim=1)
        hidden = hidden_keys(q.shape[1], t.shape[1])
        for layer in self.decoder.layers:
            x = layer(x, hidden, padding)
        x = self.decoder.norm(x)
        return self.classifier(x[:, 0])[:, 0], x

    def _remap(self, x: Tensor) -> Tensor:
        return self.remap_local(F.normalize(x, dim=-1) if self.flags["normalize_input"] else x)


def hidden_keys(num_query: int, num_gallery: int) -> tuple[Tensor, Tensor]:
    """The masks [N, N] of self- and cross-attention, True where row may not see column."""
    image = torch.tensor([0] + [1] * num_query + [2] * num_gallery)
    row, column = image[:, None], image[None]
    both_are_images = (row > 0) & (column > 0)
    return both_are_images & (row != column), both_are_images & (row == column)
