"""DINOv2 as plain formulas on a state under the original names: slow, obvious, the referee."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ames_lite.extraction.backbones.dinov2 import original_shapes
from ames_lite.extraction.backbones.pretrained import Checkpoint

State = dict[str, Tensor]


def random_state(variant: Checkpoint, seed: int = 1) -> State:
    """An original state of that variant, from seed-filled parameters."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in sorted(original_shapes(variant).items()):
        value = torch.randn(shape, generator=generator)
        matrix = name.endswith("weight") and len(shape) > 1
        state[name] = value / shape[-1] ** 0.5 if matrix else 0.5 + 0.3 * value
    return state


def features(state: State, pixels: Tensor, heads: int, facet: str, layer: int) -> Tensor:
    """Patch tokens [B, h * w, D] of a facet; facet "cls" is the final CLS token [B, 1, D]."""
    registers = state["register_tokens"].shape[1] if "register_tokens" in state else 0
    x = _embed(state, pixels)
    for i in range(layer + 1):
        block = {k.split(".", 2)[2]: v for k, v in state.items() if k.startswith(f"blocks.{i}.")}
        qkv = F.linear(_norm(x, block, "norm1"), block["attn.qkv.weight"], block["attn.qkv.bias"])
        query, key, value = qkv.chunk(3, dim=-1)
        if i == layer and facet in ("query", "key", "value"):
            chosen = {"query": query, "key": key, "value": value}[facet]
            return chosen[:, 1 + registers :]
        x = x + block["ls1.gamma"] * _linear(_attend(query, key, value, heads), block, "attn.proj")
        x = x + block["ls2.gamma"] * _feed_forward(_norm(x, block, "norm2"), block)
    if facet == "token":
        return x[:, 1 + registers :]
    x = _norm(x, state, "norm")
    return x[:, :1] if facet == "cls" else x[:, 1 + registers :]


def _linear(x: Tensor, state: State, name: str) -> Tensor:
    return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])


def _norm(x: Tensor, state: State, name: str) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], 1e-6)


def _attend(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    width = query.shape[-1] // heads
    out = []
    for h in range(heads):
        q, k, v = (t[..., h * width : (h + 1) * width] for t in (query, key, value))
        out.append((q @ k.transpose(1, 2) / width**0.5).softmax(dim=-1) @ v)
    return torch.cat(out, dim=-1)


def _feed_forward(x: Tensor, block: State) -> Tensor:
    if "mlp.w12.weight" in block:
        gate, up = _linear(x, block, "mlp.w12").chunk(2, dim=-1)
        return _linear(F.silu(gate) * up, block, "mlp.w3")
    return _linear(F.gelu(_linear(x, block, "mlp.fc1")), block, "mlp.fc2")


def _embed(state: State, pixels: Tensor) -> Tensor:
    weight, bias = state["patch_embed.proj.weight"], state["patch_embed.proj.bias"]
    patches = F.conv2d(pixels, weight, bias, stride=14)
    rows, columns = patches.shape[2:]
    tokens = patches.flatten(2).transpose(1, 2)
    x = torch.cat([state["cls_token"].expand(len(pixels), 1, -1), tokens], dim=1)
    x = x + _positions(state, rows, columns)
    if "register_tokens" not in state:
        return x
    middle = state["register_tokens"].expand(len(pixels), -1, -1)
    return torch.cat([x[:, :1], middle, x[:, 1:]], dim=1)


def _positions(state: State, rows: int, columns: int) -> Tensor:
    trained = state["pos_embed"]
    side = int((trained.shape[1] - 1) ** 0.5)
    if rows == columns == side:
        return trained
    grid = trained[0, 1:].float().T.reshape(1, -1, side, side)
    if "register_tokens" in state:
        grid = F.interpolate(grid, size=(rows, columns), mode="bicubic", antialias=True)
    else:
        factors = ((rows + 0.1) / side, (columns + 0.1) / side)
        grid = F.interpolate(grid, scale_factor=factors, mode="bicubic")
    return torch.cat([trained[:, :1], grid.flatten(2).transpose(1, 2).to(trained.dtype)], dim=1)
