"""start=published has the distributions of the published code, and training gets away from ln 2."""

from __future__ import annotations

import math
from typing import cast

import pytest
import torch
from torch import nn

from ames_lite.io.descriptor_store import DescriptorStore
from ames_lite.models import AMES, ELViS, build_head
from ames_lite.training.initialization import INITIALIZATIONS, Given
from tests.conftest import TinyWorld


def given(store: object = None, seed: int = 0) -> Given:
    generator = torch.Generator().manual_seed(seed)
    return Given(cast(DescriptorStore, store), seed, generator)


def test_ames_has_normal_weights_of_002_and_no_biases() -> None:
    head = AMES(dim_in=768)
    INITIALIZATIONS["ames"]["published"](head, given())
    for name, module in head.named_modules():
        if isinstance(module, nn.Linear) and module.weight.numel() > 1000:
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.03), name
            assert abs(module.weight.mean().item()) < 1e-3, name
        if isinstance(module, nn.Linear):
            assert not module.bias.any(), name
    assert head.mtc_token.std().item() == pytest.approx(0.02, rel=0.2)
    for name, parameter in head.named_parameters():
        if name.endswith("in_proj_weight"):  # Xavier's bound for [3D, D]
            bound = math.sqrt(6 / (4 * head.dim))
            assert parameter.abs().max().item() == pytest.approx(bound, rel=0.01)
        if name.endswith("in_proj_bias"):
            assert not parameter.any()
        if "norm" in name:
            assert torch.equal(parameter, torch.full_like(parameter, "weight" in name))


def test_elvis_has_xavier_weights_and_no_biases() -> None:
    head = ELViS(dim_in=768)
    INITIALIZATIONS["elvis"]["published"](head, given())
    for name, module in head.named_modules():
        if isinstance(module, nn.Linear):
            bound = math.sqrt(6 / sum(module.weight.shape))
            largest = module.weight.abs().max().item()
            assert 0.5 * bound < largest <= bound, name
            assert not module.bias.any(), name
    assert head.dust_bin.item() == 1.0


def test_a_seed_gives_the_same_head_whatever_was_drawn_before() -> None:
    for name, kinds in INITIALIZATIONS.items():
        heads = []
        for _ in range(2):
            torch.rand(7)
            head = build_head(name, dim_in=32)
            kinds["published"](head, given(seed=3))
            heads.append(head.state_dict())
        assert all(torch.equal(heads[0][key], heads[1][key]) for key in heads[0]), name


def test_a_binary_head_has_a_projection_of_its_descriptors(tiny_world: TinyWorld) -> None:
    store = DescriptorStore.open(tiny_world.folder("synthetic-train") / "sift_local.hdf5")
    head = AMES(dim_in=128, dim=16, num_layers=1, binary=True)
    INITIALIZATIONS["ames"]["published"](head, given(store))
    projection = head.state_dict()["remap_local.0.W"]
    assert torch.allclose(projection.T @ projection, torch.eye(16), atol=1e-4)  # ITQ: orthonormal
