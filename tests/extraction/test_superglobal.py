"""SuperGlobal's network against plain formulas on the state, its scales, what it says of itself."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ames_lite.errors import BadInput
from ames_lite.extraction.backbones.cvnet import (
    CvnetNetwork,
    SuperGlobal,
    SuperGlobalNetwork,
    SuperGlobalPooling,
)
from ames_lite.io.provenance import check_provenance
from tests.extraction.backbones.test_cvnet import (
    SHAPE,
    TINY,
    State,
    gap,
    plain_conv,
    save,
    tiny_state,
)

SETTINGS: dict[str, Any] = {"device": "cpu", **TINY}


def referee(state: State, x: torch.Tensor, least: float) -> torch.Tensor:
    """A scale's vector: ReLUP behind blocks of stages 1 to 3, rGeM, GeM, L2, fc."""
    conv = partial(plain_conv, state)
    x = F.max_pool2d(F.relu(conv(x, "stem.conv", "stem.bn", 2)), 3, 2, 1)
    for stage, depth in enumerate(SHAPE.depths, 1):
        for block in range(1, depth + 1):
            at, stride = f"s{stage}.b{block}", 2 if stage > 1 and block == 1 else 1
            branch = F.relu(conv(x, f"{at}.f.a", f"{at}.f.a_bn"))
            branch = F.relu(conv(branch, f"{at}.f.b", f"{at}.f.b_bn", stride))
            branch = conv(branch, f"{at}.f.c", f"{at}.f.c_bn")
            shortcut = conv(x, f"{at}.proj", f"{at}.bn", stride) if block == 1 else x
            x = torch.maximum(shortcut + branch, torch.tensor(least if stage < 4 else 0.0))
    windows = F.pad(x, (2, 2, 2, 2), mode="reflect").unfold(2, 5, 1).unfold(3, 5, 1)
    x = (x + windows.pow(2.5).mean(dim=(4, 5)).pow(1 / 2.5)) / 2
    pooled = x.clamp(min=1e-8).pow(4.6).mean(dim=(2, 3)).pow(1 / 4.6)
    unit = pooled / pooled.norm(dim=1, keepdim=True)
    return unit @ state["head.fc.weight"].T + state["head.fc.bias"]


@pytest.mark.parametrize("least", [0.014, 0.0, 0.5])
@pytest.mark.parametrize("size", [(97, 130), (65, 65)])
def test_every_size_equals_the_referee(size: tuple[int, int], least: float) -> None:
    cvnet, state = CvnetNetwork(SHAPE).eval(), tiny_state()
    cvnet.load_state_dict(state)
    network = SuperGlobalNetwork(cvnet, SuperGlobalPooling(relup=least)).double()
    pixels = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1)).double()
    with torch.inference_mode():
        found = network(pixels).cls
        expected = referee({n: v.double() for n, v in state.items()}, pixels, least)
    assert found is not None and gap(found, expected) < 1e-10


def image(height: int = 100, width: int = 130) -> np.ndarray:
    return np.random.default_rng(2).integers(0, 255, (height, width, 3)).astype(np.uint8)


def described(backbone: SuperGlobal, *images: np.ndarray) -> np.ndarray:
    found = backbone.describe([backbone.prepare(one) for one in images])
    assert all(one.local.count == 0 for one in found)
    return np.stack([one.vector for one in found if one.vector is not None])


@pytest.mark.parametrize("sgem", ["max", 10.0])
@pytest.mark.parametrize("scales", [(1.0,), (0.7071, 1.0, 1.4142)])
def test_scales_are_joined_by_sgem(tmp_path: Path, sgem: Any, scales: tuple[float, ...]) -> None:
    path = str(save(tmp_path, tiny_state()))
    pooling = SuperGlobalPooling(sgem=sgem)
    found = described(SuperGlobal(pooling, weights=path, scales=scales, **SETTINGS), image())[0]
    network = SuperGlobal(pooling, weights=path, scales=scales, **SETTINGS)
    singles = [
        network.features(pixels).cls for pixels in network.normalized([network.prepare(image())])
    ]
    stacked = np.stack([one[0].numpy() for one in singles if one is not None]).astype(float)
    if sgem == "max":
        expected = (stacked / np.linalg.norm(stacked, axis=1, keepdims=True)).max(axis=0)
    else:
        least = stacked.min()
        expected = ((stacked - least) ** sgem).mean(axis=0) ** (1 / sgem) + least
    assert found.shape == (24,) and np.allclose(found, expected, atol=1e-5)


def test_a_batch_gives_what_single_images_give(tmp_path: Path) -> None:
    backbone = SuperGlobal(weights=str(save(tmp_path, tiny_state())), **SETTINGS)
    images = [image(), image()[::-1].copy()]
    together = described(backbone, *images)
    alone = np.concatenate([described(backbone, one) for one in images])
    assert np.allclose(together, alone, atol=1e-5) and not np.allclose(*alone, atol=1e-3)


def test_half_precision_is_near(tmp_path: Path) -> None:
    path = str(save(tmp_path, tiny_state()))
    vectors = [
        described(SuperGlobal(weights=path, precision=p, **SETTINGS), image())[0]
        for p in ("fp32", "bf16")
    ]
    a, b = (v / np.linalg.norm(v) for v in vectors)
    assert a @ b > 0.999


def test_provenance_has_what_changes_the_vectors_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = str(save(tmp_path, tiny_state()))
    made = SuperGlobal(SuperGlobalPooling(sgem=10), weights=path, top_k=9, **SETTINGS).provenance
    assert check_provenance(made) == made and made["backbone"] == "cvnet"
    assert (made["relup"], made["rgem_power"], made["gem_power"], made["sgem"]) == (
        *(0.014, 2.5, 4.6),
        10.0,
    )
    assert made["scales"] == [0.7071, 1.0, 1.4142] and "global_scales" not in made
    assert "no detector weights" not in caplog.text  # local descriptors are none of its business
    assert SuperGlobal(weights=path, **SETTINGS).global_kind == "superglobal"


def test_a_map_below_rgems_windows_is_refused(tmp_path: Path) -> None:
    backbone = SuperGlobal(weights=str(save(tmp_path, tiny_state())), **SETTINGS)
    with pytest.raises(BadInput, match="too small"):
        described(backbone, image(80, 200))
    assert described(backbone, image(92, 200)).shape == (1, 24)
