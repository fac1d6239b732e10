"""Laws that every backbone of the visible dict keeps, tried on tiny networks of its kind.

Every entry is built by its own name; its shape is replaced by a tiny one and its weights by drawn
ones, so that nothing is downloaded.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ames_lite.cli.compose import compose
from ames_lite.errors import BadInput
from ames_lite.extraction.backbones import (
    BACKBONES,
    NETWORKS,
    build_backbone,
    dinov2,
)
from ames_lite.extraction.backbones.dinov2 import dinov2_checkpoint
from ames_lite.extraction.backbones.interface import Backbone
from ames_lite.extraction.backbones.vision_transformers import (
    DINOV3,
    SIGLIP2,
    dinov3_checkpoint,
    siglip2_checkpoint,
)
from ames_lite.io.provenance import check_provenance
from tests.extraction.backbones import dinov2_referee, test_cvnet, test_efficientnet

transformers = pytest.importorskip("transformers")
WITHOUT_WEIGHTS = ("sift", "tiny_random")
MAPS = [name for name in NETWORKS if name not in ("xfeat", "photo")]  # with one descriptor a cell
PATCHES = {"image_size": 96, "scales": [0.7, 1.0], "top_k": 20}


def tiny(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Backbone:
    """The backbone of that name with a tiny network."""
    kind, _, variant = name.partition("_")
    given: dict[str, Any] = {"device": "cpu", "batch_pixels": 10**7} if name in NETWORKS else {}
    if name == "sift":
        return build_backbone(name, top_k=20)
    if name == "xfeat":  # small, and its weights come with its package
        return build_backbone(name, top_k=20, **given)
    if name == "photo":  # of two such
        return build_backbone(name, keypoints=12, cells=8, cell_size=96, **given)
    if name == "tiny_random":
        return build_backbone(name, **PATCHES, **given)
    if kind == "cvnet":
        path = test_cvnet.save(folder, {"model_state": test_cvnet.tiny_state()})
        return build_backbone(name, weights=str(path), top_k=20, **test_cvnet.TINY, **given)
    if kind == "efficientnet":
        path = test_efficientnet.save(folder, test_efficientnet.random_state())
        return build_backbone(name, weights=str(path), **PATCHES, **given)
    weights = _tiny_weights(kind, variant or "vitb14_reg", folder, monkeypatch)
    return build_backbone(name, weights=str(weights), **PATCHES, **given)


def _tiny_weights(kind: str, variant: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if kind == "dinov2":
        registers, swiglu = 4 * variant.endswith("_reg"), "vitg" in variant
        shape = dinov2_checkpoint(32, 2, 2, registers, swiglu=swiglu, grid=5)
        monkeypatch.setitem(dinov2.VARIANTS, variant, shape)
        torch.save(dinov2_referee.random_state(shape), folder / "original.pth")
        return folder / "original.pth"
    if kind == "dinov3":
        tiny_dinov3 = dinov3_checkpoint(32, 2, 2, 64, gated="plus" in variant)
        monkeypatch.setitem(DINOV3, variant, tiny_dinov3)
        _save(
            transformers.DINOv3ViTModel(transformers.DINOv3ViTConfig(**tiny_dinov3.config)), folder
        )
        return folder
    tiny_siglip2 = siglip2_checkpoint(32, 2, 2, 64, 48)
    monkeypatch.setitem(SIGLIP2, variant, tiny_siglip2)
    config = transformers.SiglipVisionConfig(**tiny_siglip2.config)
    _save(transformers.SiglipVisionModel(config), folder)
    return folder


def _save(model: Any, folder: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in model.parameters():
            value.copy_(0.2 * torch.randn(value.shape, generator=generator))
    model.save_pretrained(folder)


@pytest.fixture(scope="module", params=BACKBONES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def backbone(name: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One of every kind: most tests read it alone."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield tiny(name, tmp_path_factory.mktemp(name), monkeypatch)


def pictures(count: int) -> list[np.ndarray]:
    """Pictures of one size with structure, so that SIFT finds something too."""
    rng = np.random.default_rng(1)
    coarse = rng.integers(0, 255, (count, 12, 16, 3)).astype(np.uint8)
    return [np.ascontiguousarray(c.repeat(10, axis=0).repeat(10, axis=1)) for c in coarse]


def test_what_is_promised_is_kept(backbone: Any) -> None:
    image = pictures(1)[0]
    found = backbone.extract(image, (20.0, 10.0, 150.0, 110.0))
    assert 0 < found.count <= 20 and found.size == image.shape[:2]
    assert found.descriptors.shape == (found.count, backbone.dim)
    assert np.allclose(np.linalg.norm(found.descriptors, axis=1), 1, atol=1e-5)
    assert found.xy.min() >= 0 and found.xy.max() <= 1
    assert (np.diff(found.weight) <= 0).all() and np.isfinite(found.weight).all()
    vector = backbone.describe([backbone.prepare(image, None)])[0].vector
    assert (vector is None) == (backbone.global_kind is None) == (backbone.global_dim == 0)
    assert vector is None or (vector.shape == (backbone.global_dim,) and np.isfinite(vector).all())


def test_provenance_is_what_json_gives_back_and_names_the_weights(name: str, backbone: Any) -> None:
    provenance = backbone.provenance
    assert check_provenance(provenance) == provenance
    assert provenance["backbone"] == (
        name if name in ("sift", "tiny_random") else name.split("_")[0]
    )
    assert name in ("sift", "tiny_random") or len(provenance["weights"]) == 64


def test_a_batch_describes_as_single_images_do(backbone: Any) -> None:
    prepared = [backbone.prepare(image, None) for image in pictures(3)]
    for single, together in zip(prepared, backbone.describe(prepared), strict=True):
        alone = backbone.describe([single])[0]
        assert np.allclose(alone.local.weight, together.local.weight, rtol=1e-4)
        assert np.allclose(alone.local.xy, together.local.xy)
        assert np.allclose(alone.local.descriptors, together.local.descriptors, atol=1e-4)
        if alone.vector is not None:
            assert together.vector is not None
            scale = np.abs(alone.vector).max()
            assert np.abs(alone.vector - together.vector).max() < 1e-4 * scale


def test_what_workers_do_can_be_sent_to_them(backbone: Any) -> None:
    sent = pickle.loads(pickle.dumps(backbone.prepare))  # noqa: S301
    image = pictures(1)[0]
    here, there = backbone.prepare(image, None), sent(image, None)
    a, b = backbone.describe([here])[0].local, backbone.describe([there])[0].local
    assert np.array_equal(a.descriptors, b.descriptors) and np.array_equal(a.xy, b.xy)


def not_rgb() -> dict[str, Any]:
    """Arrays and others that are no RGB uint8 [H, W, 3], by what they are."""
    image = pictures(1)[0]
    nan = image.astype(np.float32)
    nan[3, 4] = np.nan
    return {
        "floats in [0, 1]": image / np.float32(255),
        "floats in [0, 255]": image.astype(np.float64),
        "big-endian floats": image.astype(">f4"),
        "float16": image.astype(np.float16),
        "NaN": nan,
        "big-endian uint16": image.astype(">u2"),
        "int64": image.astype(np.int64),
        "int8": image.astype(np.int8),
        "bool": image > 100,
        "grey": image[..., 0],
        "grey [H, W, 1]": image[..., :1],
        "RGBA": np.dstack([image, image[..., :1]]),
        "channels first": image.transpose(2, 0, 1),
        "a batch": image[None],
        "no rows": image[:0],
        "no columns": image[:, :0],
        "objects": image.astype(object),
        "a list": image.tolist(),
        "a tensor": torch.from_numpy(image),
        "Pillow": load_pillow(image),
        "None": None,
        "a path": "image.jpg",
    }


def load_pillow(image: np.ndarray) -> Any:
    return pytest.importorskip("PIL.Image").fromarray(image)


def test_what_is_not_rgb_uint8_is_refused_with_what_is_expected(backbone: Any) -> None:
    for what, given in not_rgb().items():
        for taken in (backbone.extract, lambda x: backbone.prepare(x, None)):
            with pytest.raises(BadInput, match=r"RGB uint8 \[H, W, 3\]"):
                taken(given)
                raise AssertionError(what)
        with pytest.raises(BadInput, match=r"RGB uint8 \[H, W, 3\]"):
            backbone.describe([given])


def test_how_the_pixels_of_an_image_lie_in_memory_changes_nothing(backbone: Any) -> None:
    image = pictures(1)[0]
    locked = image.copy()
    locked.flags.writeable = False
    wide = np.zeros((*image.shape[:2], 6), np.uint8)
    wide[..., ::2] = image
    other = [locked, np.asfortranarray(image), wide[..., ::2], image[::-1].copy()[::-1]]
    for box in (None, (20.0, 10.0, 150.0, 110.0)):
        expected = backbone.extract(image, box)
        for given in other:
            found = backbone.extract(given, box)
            assert np.array_equal(found.descriptors, expected.descriptors)
            assert np.array_equal(found.xy, expected.xy)


def test_float_pixels_of_a_view_reach_the_network_as_they_are() -> None:
    backbone: Any = build_backbone("tiny_random", device="cpu", resize="bicubic_float")
    prepared = backbone.prepare(pictures(1)[0], None)
    (pixels,), (view,) = backbone.normalized([prepared]), prepared.views
    back = pixels[0].permute(1, 2, 0).numpy() * backbone.std + backbone.mean
    assert view.pixels.min() < 0 and np.abs(255 * back - view.pixels).max() < 1e-3


@pytest.mark.parametrize("name", MAPS, indirect=True)
def test_the_published_extraction_is_the_default_and_stands_in_the_provenance(
    name: str, backbone: Any
) -> None:
    made = backbone.provenance
    elvis = name.startswith(("dinov3", "siglip2"))
    assert made["resize"] == ("bicubic_float" if elvis else "area")
    assert (made["method"], made["query_crop"]) == ("resize", "int")
    assert made["global_scales"] == "mean of unit vectors"
    assert "crop_rounding" not in made  # of center_crop alone
    arguments = compose("extract_descriptors", [f"backbone={name}"]).backbone.arguments
    assert arguments["resize"] == made["resize"] and arguments["query_crop"] == "int"
    assert arguments["global_scales"] == "mean"


@pytest.mark.parametrize("name", ["dinov2", "dinov3_vitb16", "siglip2_base_512"])
def test_the_vector_of_several_scales_is_the_mean_of_their_unit_vectors(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mean: Any = tiny(name, tmp_path, monkeypatch)
    prepared = mean.prepare(pictures(1)[0], None)
    vectors = [mean.features(pixels).cls[0].numpy() for pixels in mean.normalized([prepared])]
    found = mean.describe([prepared])[0].vector
    units = [vector / np.linalg.norm(vector) for vector in vectors]
    assert np.allclose(found, np.mean(units, axis=0), atol=1e-6)
    mean.options = replace(mean.options, global_scales="one")
    assert np.array_equal(mean.describe([prepared])[0].vector, vectors[1])  # scales 0.7 and 1
    assert mean.provenance["global_scales"] == 1.0
