"""CVNet: the published network number by number, its weights whole or refused, and positions."""

from __future__ import annotations

import json
import zlib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ames_lite.errors import BadInput, MissingFile
from ames_lite.extraction.backbones import build_backbone
from ames_lite.extraction.backbones.cvnet import Cvnet, CvnetNetwork, Shape, load_cvnet
from ames_lite.extraction.backbones.detector import SpatialAttention2d, save_detector
from tests.helpers import shared_file

TINY: dict[str, Any] = {"depths": (1, 2, 2, 1), "width": 4, "global_dim": 24}
SHAPE = Shape((1, 2, 2, 1), 4, 24)
State = dict[str, torch.Tensor]


def filled(shapes: dict[str, Any]) -> State:
    """Parameters from their names, as the fixture's: see ames.md 7."""
    state = {}
    for name, shape in shapes.items():
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(0)
        elif name.endswith("running_var"):
            state[name] = torch.tensor(1 + 0.1 * rng.random(shape)).float()
        elif len(shape) == 1:
            base = 1 if name.endswith("weight") else 0
            state[name] = torch.tensor(base + 0.05 * rng.standard_normal(shape)).float()
        else:
            fan_in = np.prod(shape[1:])
            state[name] = torch.tensor(rng.standard_normal(shape) * (2 / fan_in) ** 0.5).float()
    return state


def tiny_state() -> State:
    shapes = {name: value.shape for name, value in CvnetNetwork(SHAPE).state_dict().items()}
    # a power near 0, as the filling gives it, would only measure how roots amplify roundings
    return {**filled(shapes), "head.pool.p": torch.tensor([2.5])}


def save(tmp_path: Path, content: object, name: str = "cvnet.pyth") -> Path:
    torch.save(content, tmp_path / name)
    return tmp_path / name


def plain_conv(
    state: State, x: torch.Tensor, name: str, norm: str, stride: int = 1
) -> torch.Tensor:
    """A convolution and its batch norm as plain formulas on a state."""
    weight = state[f"{name}.weight"]
    x = F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)
    mean, var, scale, shift = (
        state[f"{norm}.{end}"][:, None, None]
        for end in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / (var + 1e-5).sqrt() * scale + shift


def referee(state: State, x: torch.Tensor, depths: tuple[int, ...]) -> tuple[Any, Any]:
    """The network as plain formulas on a state: the map and the vector."""
    conv = partial(plain_conv, state)
    x = F.max_pool2d(F.relu(conv(x, "stem.conv", "stem.bn", 2)), 3, 2, 1)
    local = x
    for stage in range(1, 5):
        for block in range(1, depths[stage - 1] + 1):
            at, stride = f"s{stage}.b{block}", 2 if stage > 1 and block == 1 else 1
            branch = F.relu(conv(x, f"{at}.f.a", f"{at}.f.a_bn"))
            branch = F.relu(conv(branch, f"{at}.f.b", f"{at}.f.b_bn", stride))
            branch = conv(branch, f"{at}.f.c", f"{at}.f.c_bn")
            shortcut = conv(x, f"{at}.proj", f"{at}.bn", stride) if block == 1 else x
            total = shortcut + branch
            x = F.relu(total)
        local = total if stage == 3 else local
    power = state["head.pool.p"]
    pooled = x.clamp(min=1e-6).pow(power).mean(dim=(2, 3)).pow(1 / power)
    return local, pooled @ state["head.fc.weight"].T + state["head.fc.bias"]


def gap(found: torch.Tensor, expected: Any) -> float:
    """The largest difference, relative to the largest entry."""
    expected = np.asarray(expected)
    return float(np.abs(found.numpy() - expected).max() / np.abs(expected).max())


def test_the_published_network_number_by_number() -> None:
    fixture = np.load(shared_file("fixtures/cvnet_resnet101.npz"))
    network = CvnetNetwork().eval()
    names = json.loads(bytes(fixture["names"]))
    assert {n: list(v.shape) for n, v in network.state_dict().items()} == names
    network.load_state_dict(filled(names))
    with torch.inference_mode():
        local, vector = network(torch.tensor(fixture["image"]))
    assert vector is not None
    assert gap(local, fixture["local_map"]) < 1e-5
    # the fixture's power is 0.006: the root of order 172 amplifies float32's roundings
    assert gap(vector, fixture["global_descriptor"]) < 1e-3


@pytest.mark.parametrize("size", [(97, 130), (64, 64), (33, 17), (5, 9)])
def test_every_size_equals_the_referee(size: tuple[int, int]) -> None:
    network = CvnetNetwork(SHAPE).eval()
    state = tiny_state()
    network.load_state_dict(state)
    pixels = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1)).double()
    with torch.inference_mode():
        local, vector = network.double()(pixels)
        expected = referee({n: v.double() for n, v in state.items()}, pixels, SHAPE.depths)
    assert local.shape == (2, 64, -(-size[0] // 16), -(-size[1] // 16))
    assert gap(local, expected[0]) < 1e-12 and gap(vector, expected[1]) < 1e-12
    assert (local < 0).any()  # before the ReLU


def test_numbers_of_a_seed_filled_network_stay_what_they_are() -> None:
    network = CvnetNetwork(SHAPE).eval()
    network.load_state_dict(tiny_state())
    pixels = torch.from_numpy(np.random.default_rng(5).standard_normal((1, 3, 50, 70))).double()
    with torch.inference_mode():
        local, vector = network.double()(pixels)
    assert vector is not None
    assert np.allclose(local[0, ::7, 1, 2].numpy(), LOCAL, rtol=1e-5)
    assert np.allclose(vector[0, ::3].numpy(), VECTOR, rtol=1e-5)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: s,
        lambda s: {"state": s},
        lambda s: {"model_state": s, "epoch": 3},
        lambda s: {f"module.{n}": v for n, v in s.items()},
        lambda s: {"model_state": {f"encoder_q.{n}": v for n, v in s.items()}},
        lambda s: {
            **{f"module.encoder_q.{n}": v for n, v in s.items()},
            "module.cv_learner.block.weight": torch.ones(2),  # CVNet's reranking network
        },
    ],
)
def test_every_published_form_gives_the_same_network(wrap: Any, tmp_path: Path) -> None:
    state = tiny_state()
    network, digest = load_cvnet(save(tmp_path, wrap(state)), SHAPE)
    assert len(digest) == 64 and not network.training
    found = network.state_dict()
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], value) for name, value in state.items())


@pytest.mark.parametrize(
    "harm, message",
    [
        (lambda s: s.pop("s3.b2.f.c.weight"), "1 weights are missing: s3.b2.f.c.weight"),
        (lambda s: s.update(extra=torch.ones(1)), "1 weights are unexpected: extra"),
        (lambda s: s.update({"head.fc.bias": torch.ones(7)}), "1 weights are mismatched"),
        (lambda s: s["stem.conv.weight"].fill_(float("nan")), "NaN or infinite: stem.conv"),
    ],
)
def test_weights_that_are_not_whole_are_refused(harm: Any, message: str, tmp_path: Path) -> None:
    state = tiny_state()
    harm(state)
    with pytest.raises(BadInput, match=message):
        load_cvnet(save(tmp_path, {"model_state": state}), SHAPE)


def test_weights_of_other_depths_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path, tiny_state())
    with pytest.raises(BadInput, match="weights are missing: s3.b3"):
        load_cvnet(path, Shape((1, 2, 3, 1), 4, 24))
    with pytest.raises(BadInput, match="ResNet-101"):
        _ = Cvnet(weights=str(path)).provenance


def test_missing_weights_are_told_with_what_and_where_and_never_drawn(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match="needs weights"):
        _ = build_backbone("cvnet").provenance
    with pytest.raises(MissingFile, match="arguments.weights="):
        build_backbone("cvnet").extract(np.zeros((40, 40, 3), np.uint8))
    with pytest.raises(MissingFile, match="nowhere.pyth"):
        _ = Cvnet(weights=str(tmp_path / "nowhere.pyth")).provenance
    assert build_backbone("cvnet").dim == 1024 and build_backbone("cvnet").global_dim == 2048


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"depths": (3, 4, 6)}, "four depths"),
        ({"width": 0}, "whole numbers from 1"),
        ({"channels": "grb"}, "bgr or rgb"),
        ({"global_scales": "all"}, "one or mean"),
        ({"top_k": -1}, "at least 1"),
        ({"scales": []}, "1 to 256 numbers"),
        ({"weights": 3}, "text"),
        ({"space": "detector"}, "detector=<its weights>"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        Cvnet(**arguments)


def test_three_scales_give_the_strongest_with_their_centres_in_the_whole_image(
    tmp_path: Path,
) -> None:
    rng = np.random.default_rng(2)
    image = rng.integers(0, 255, (90, 131, 3)).astype(np.uint8)
    settings: dict[str, Any] = {"top_k": 0, "device": "cpu", "global_scales": "one", **TINY}
    backbone = Cvnet(str(save(tmp_path, tiny_state())), **settings)
    prepared = backbone.prepare(image)
    assert [view.pixels.shape[:2] for view in prepared.views] == [(64, 93), (90, 131), (127, 185)]
    found = backbone.describe([prepared])[0]
    cells = [4 * 6, 6 * 9, 8 * 12]
    assert np.bincount(found.local.scale).tolist() == cells
    assert np.all(np.diff(found.local.weight) <= 0)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    state = tiny_state()
    for scale, view in enumerate(prepared.views):
        normal = ((view.pixels / 255 - mean) / std)[..., ::-1].copy()  # what it sees is BGR
        pixels = torch.tensor(normal).float().permute(2, 0, 1)[None]
        local, vector = referee(state, pixels, SHAPE.depths)
        height, width = view.pixels.shape[:2]
        rows = np.flatnonzero(found.local.scale == scale)
        for at in rows[:: max(1, len(rows) // 5)]:
            x, y = found.local.xy[at] * [width, height]
            column, row = (x - 0.5) / 16, (y - 0.5) / 16
            assert abs(column - round(column)) < 1e-4 and abs(row - round(row)) < 1e-4
            feature = local[0, :, round(row), round(column)].numpy()
            norm = np.linalg.norm(feature)
            assert np.isclose(found.local.weight[at], norm, rtol=1e-4)
            assert np.allclose(found.local.descriptors[at], feature / norm, atol=1e-4)
        if scale == 1:
            assert gap(torch.tensor(found.vector)[None], vector) < 1e-4


def test_the_order_of_channels_and_the_scales_of_the_vector_are_named(tmp_path: Path) -> None:
    path = str(save(tmp_path, tiny_state()))
    image = np.random.default_rng(0).integers(0, 255, (60, 80, 3)).astype(np.uint8)
    settings: dict[str, Any] = {"weights": path, "device": "cpu", **TINY}
    bgr = Cvnet(global_scales="one", **settings)
    rgb = Cvnet(global_scales="one", channels="rgb", **settings)
    a, b = bgr.extract(image), rgb.extract(np.ascontiguousarray(image[..., ::-1]))
    # ImageNet's mean and std belong to colours, not to places: they turn with the channels
    assert not np.array_equal(a.descriptors, b.descriptors)
    assert bgr.provenance["channels"] == "bgr" and rgb.provenance["channels"] == "rgb"
    assert bgr.provenance["global_scales"] == 1.0
    mean = Cvnet(**settings)
    assert mean.provenance["global_scales"] == "mean of unit vectors"
    singles = [
        Cvnet(scales=[s], **settings).describe([Cvnet(scales=[s], **settings).prepare(image)])[0]
        for s in (0.7071, 1.0, 1.4142)
    ]
    units = [s.vector / np.linalg.norm(s.vector) for s in singles if s.vector is not None]
    found = mean.describe([mean.prepare(image)])[0].vector
    assert found is not None and np.allclose(found, np.mean(units, axis=0), atol=1e-5)
    one = bgr.describe([bgr.prepare(image)])[0].vector
    assert one is not None and np.array_equal(one, singles[1].vector)


def test_a_crop_box_keeps_positions_in_the_whole_image(tmp_path: Path) -> None:
    backbone = Cvnet(str(save(tmp_path, tiny_state())), top_k=0, device="cpu", **TINY)
    image = np.random.default_rng(3).integers(0, 255, (96, 128, 3)).astype(np.uint8)
    found = backbone.extract(image, (32, 48, 96, 96))
    alone = backbone.extract(np.ascontiguousarray(image[48:96, 32:96]))
    assert np.array_equal(found.descriptors, alone.descriptors)
    assert np.allclose(found.xy * [128, 96], alone.xy * [64, 48] + [32, 48], atol=1e-3)


def test_the_published_detector_weighs_and_describes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    detector = SpatialAttention2d(64, 20)
    path = str(save(tmp_path, {"state": detector.state_dict()}, "detector.pt"))
    backbone = Cvnet(
        str(save(tmp_path, tiny_state())), detector=path, top_k=30, device="cpu", **TINY
    )
    assert backbone.dim == 20 and backbone.space == "detector"
    found = backbone.extract(np.random.default_rng(3).integers(0, 255, (60, 90, 3), np.uint8))
    assert found.descriptors.shape == (30, 20) and (found.weight > 0).all()
    assert backbone.provenance["detector"] == "SpatialAttention2d"


def test_a_detector_trained_for_other_features_is_refused(tmp_path: Path) -> None:
    path, weights = tmp_path / "detector.pt", str(save(tmp_path, tiny_state()))
    made = Cvnet(weights, device="cpu", **TINY).provenance
    arguments: dict[str, Any] = {"detector": str(path), "device": "cpu", **TINY}
    save_detector(path, SpatialAttention2d(64, 20), {"backbone": made})
    assert Cvnet(weights, **arguments).provenance["detector"] == "SpatialAttention2d"
    save_detector(path, SpatialAttention2d(64, 20), {"backbone": {**made, "backbone": "dinov2"}})
    with pytest.raises(BadInput, match="backbone is 'dinov2'"):
        Cvnet(weights, **arguments)
    save_detector(path, SpatialAttention2d(64, 20), {"backbone": {**made, "weights": "other"}})
    with pytest.raises(BadInput, match="weights is 'other'"):
        _ = Cvnet(weights, **arguments).provenance


LOCAL = [
    *(11.90583, -7.696248, -6.481666, -1.010541, 28.79845),
    *(-2.235716, 0.04773808, -11.21429, -2.351893, -17.20269),
]
VECTOR = [
    *(-15.79411, 24.13801, -28.15592, 11.34163),
    *(-6.979246, -7.884609, 11.18638, 0.1935219),
]
