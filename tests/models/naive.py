"""The slow, obvious forms of ELViS and chamfer: one pair after the other, plain sums, no logarithm.

Built from the description of the methods alone. Masks True on padding. Run them in float64: the
plain exponentials of Sinkhorn need it.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ames_lite.models import ELViS

Pair = tuple[Tensor, Tensor | None, Tensor, Tensor | None]


def masks_of(pair: Pair) -> tuple[Tensor, Tensor]:
    given = ((pair[0], pair[1]), (pair[2], pair[3]))
    query, gallery = (
        torch.zeros(x.shape[:2], dtype=torch.bool) if mask is None else mask for x, mask in given
    )
    return query, gallery


def naive_elvis(head: ELViS, pair: Pair) -> Tensor:
    """Logits [B] of `head` in its mode, in the precision of its parameters."""
    parts = zip(pair[0], masks_of(pair)[0], pair[2], masks_of(pair)[1], strict=True)
    logits = []
    for query, query_mask, gallery, gallery_mask in parts:
        if not head.count_padding:
            query, gallery = query[~query_mask], gallery[~gallery_mask]
            query_mask, gallery_mask = query_mask[~query_mask], gallery_mask[~gallery_mask]
        logits.append(_one_pair(head, query, query_mask, gallery, gallery_mask))
    return torch.stack(logits)


def _one_pair(head: ELViS, query: Tensor, no_q: Tensor, gallery: Tensor, no_g: Tensor) -> Tensor:
    p: dict[str, Any] = dict(head.named_parameters())
    query, gallery = (_tokens(p, x) for x in (query, gallery))
    num_q, num_g = len(query), len(gallery)
    affinity = torch.zeros(num_q + 1, num_g + 1, dtype=query.dtype)
    affinity[:num_q, :num_g] = query @ gallery.T
    affinity[:num_q, num_g] = _dustbin(p, query)
    affinity[num_q, :num_g] = _dustbin(p, gallery)
    affinity[num_q, num_g] = p["dust_bin"]
    plan = (affinity * head.sharpness).exp()
    possible = torch.ones_like(plan)
    possible[:num_q, :num_g] = (~no_q)[:, None] & ~no_g
    plan = plan * possible
    rows, columns = torch.ones(num_q + 1), torch.ones(num_g + 1)
    rows[num_q], columns[num_g] = num_g, num_q
    # where an image has nothing at all its partner's only choice is a dustbin without mass
    rows, columns = (x.clamp_min(1).to(plan.dtype) / (num_q + num_g) for x in (rows, columns))
    for _ in range(head.iterations):
        plan = plan * (rows / plan.sum(1))[:, None]
        plan = plan * (columns / plan.sum(0))[None]
    plan = plan[:num_q, :num_g] * (num_q + num_g)
    best = [plan[i].max() if num_g else plan.new_zeros(()) for i in range(num_q) if not no_q[i]] + [
        plan[:, j].max() if num_q else plan.new_zeros(()) for j in range(num_g) if not no_g[j]
    ]
    total = sum((_vote(p, x) for x in best), torch.zeros((), dtype=plan.dtype))
    if not head.training:
        return total
    hidden = F.gelu(total * p["g.0.weight"][:, 0] + p["g.0.bias"])
    return (p["g.2.weight"] @ hidden + p["g.2.bias"])[0]


def _tokens(p: dict[str, Any], x: Tensor) -> Tensor:
    x = x @ p["remap_local.0.weight"].T + p["remap_local.0.bias"]
    x = F.layer_norm(x, x.shape[-1:], p["remap_local.1.weight"], p["remap_local.1.bias"])
    return x / x.norm(dim=-1, keepdim=True)


def _dustbin(p: dict[str, Any], tokens: Tensor) -> Tensor:
    hidden = F.gelu(tokens @ p["dust_bin_mlp.0.weight"].T + p["dust_bin_mlp.0.bias"])
    return torch.tanh(hidden @ p["dust_bin_mlp.2.weight"].T + p["dust_bin_mlp.2.bias"])[:, 0]


def _vote(p: dict[str, Any], probability: Tensor) -> Tensor:
    hidden = probability * p["f.0.weight"][:, 0] + p["f.0.bias"]
    hidden = F.layer_norm(hidden, hidden.shape, p["f.1.weight"], p["f.1.bias"], 1e-6)
    return torch.sigmoid(F.gelu(hidden) @ p["f.3.weight"][0] + p["f.3.bias"][0])


def naive_chamfer(pair: Pair) -> Tensor:
    """Logits [B]: of every descriptor the best cosine; the mean of both sides' means."""
    parts = zip(pair[0], masks_of(pair)[0], pair[2], masks_of(pair)[1], strict=True)
    logits = []
    for query, query_mask, gallery, gallery_mask in parts:
        query, gallery = query[~query_mask], gallery[~gallery_mask]
        if not len(query) or not len(gallery):
            logits.append(-1.0)
            continue
        cosine = [[F.cosine_similarity(a, b, dim=0).item() for b in gallery] for a in query]
        there = sum(max(row) for row in cosine) / len(query)
        back = sum(max(row[j] for row in cosine) for j in range(len(gallery))) / len(gallery)
        logits.append((there + back) / 2)
    return torch.tensor(logits, dtype=pair[0].dtype)
