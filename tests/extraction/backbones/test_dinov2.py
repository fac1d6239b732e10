"""DINOv2: the original features at every size and facet, and weights that are never random."""

from __future__ import annotations

import importlib.util
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ames_lite.errors import BadInput, MissingFile
from ames_lite.extraction.backbones import NETWORKS, build_backbone
from ames_lite.extraction.backbones.dinov2 import (
    FACETS,
    VARIANTS,
    Dinov2,
    Dinov2Network,
    TinyRandom,
    dinov2_checkpoint,
    load_network,
    original_shapes,
    originals_to_transformers,
    position_embeddings,
)
from ames_lite.extraction.backbones.pretrained import Checkpoint
from tests.extraction.backbones import dinov2_referee as referee
from tests.helpers import shared_file
from tests.processes import Child

GOLDEN_SIZES = [(518, 518), (224, 224), (168, 308)]
SMALL = {"dim": 32, "depth": 3, "grid": 5}
needs_transformers = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None,
    reason="needs transformers, which is not installed",
)


def golden() -> tuple[Any, Any]:
    """The module that fills weights and inputs, and what the original code made of them."""
    spec = importlib.util.spec_from_file_location("g", shared_file("fixtures/dinov2_golden.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module, np.load(shared_file("fixtures/dinov2_golden.npz"))


def golden_state(module: Any, registers: int) -> dict[str, torch.Tensor]:
    filled = module.weights(original_shapes(dinov2_checkpoint(384, 2, 6, registers)))
    return {name: torch.tensor(value, dtype=torch.float32) for name, value in filled.items()}


def sampled(tokens: torch.Tensor) -> np.ndarray:
    """[1, N, D] thinned out as the fixture is."""
    rows = tokens[0].numpy()
    return rows[:: max(1, len(rows) // 5), ::16]


def as_tokens(maps: torch.Tensor) -> torch.Tensor:
    return maps.flatten(2).transpose(1, 2)


def load(tmp_path: Path, state: dict[str, torch.Tensor], variant: Checkpoint) -> torch.nn.Module:
    torch.save(state, tmp_path / "original.pth")
    return load_network(variant, tmp_path / "original.pth")[0]


@pytest.mark.parametrize("registers", [0, 4])
@pytest.mark.parametrize("size", GOLDEN_SIZES[1:])
def test_the_referee_is_the_original_code(registers: int, size: tuple[int, int]) -> None:
    module, expected = golden()
    state = {k: v.double() for k, v in golden_state(module, registers).items()}
    pixels = torch.tensor(module.image(*size))
    for facet in ("cls", *FACETS):
        found = referee.features(state, pixels, 6, facet, 1)
        key = f"{registers // 4}_{size[0]}x{size[1]}_{facet}"
        assert np.abs(sampled(found) - expected[key]).max() < 1e-12, key


@needs_transformers
@pytest.mark.parametrize("registers", [0, 4])
@pytest.mark.parametrize(
    "size", [pytest.param(GOLDEN_SIZES[0], marks=pytest.mark.slow), *GOLDEN_SIZES[1:]]
)
def test_features_equal_the_original_code_at_every_size(
    registers: int, size: tuple[int, int], tmp_path: Path
) -> None:
    module, expected = golden()
    variant = dinov2_checkpoint(384, 2, 6, registers)
    network = Dinov2Network(load(tmp_path, golden_state(module, registers), variant), registers)
    for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 1e-4)):
        network, pixels = network.to(dtype), torch.tensor(module.image(*size), dtype=dtype)
        for facet in FACETS if dtype == torch.float64 else ("value",):
            network.facet = facet
            with torch.inference_mode():
                found = network(pixels)
            key = f"{registers // 4}_{size[0]}x{size[1]}_"
            gap = np.abs(sampled(as_tokens(found.patches)) - expected[key + facet]).max()
            assert gap < tolerance, (facet, dtype)
        network.facet = "patch"
        with torch.inference_mode():
            cls = network(pixels).cls
        assert np.abs(sampled(cls[:, None]) - expected[key + "cls"]).max() < tolerance


@needs_transformers
@pytest.mark.parametrize("registers", [0, 4])
@pytest.mark.parametrize("swiglu", [False, True])
@pytest.mark.parametrize("facet, layer", [("patch", 2), ("token", 0), ("query", 2), ("value", 1)])
def test_every_facet_of_every_block_equals_the_referee(
    registers: int, swiglu: bool, facet: str, layer: int, tmp_path: Path
) -> None:
    variant = dinov2_checkpoint(heads=4, registers=registers, swiglu=swiglu, **SMALL)
    state = referee.random_state(variant)
    network = Dinov2Network(load(tmp_path, state, variant), registers, facet, layer).double()
    pixels = torch.randn(2, 3, 42, 98, generator=torch.Generator().manual_seed(2)).double()
    double = {k: v.double() for k, v in state.items()}
    with torch.inference_mode():
        found = network(pixels)
    expected = referee.features(double, pixels, 4, facet, layer)
    assert (as_tokens(found.patches) - expected).abs().max() < 1e-9
    assert (found.cls is None) == (facet != "patch")


@needs_transformers
def test_the_network_stops_at_the_block_of_its_facet(tmp_path: Path) -> None:
    variant = dinov2_checkpoint(heads=4, **SMALL)
    network = Dinov2Network(load(tmp_path, referee.random_state(variant), variant), 0, "key", 1)
    pixels, run = torch.zeros(1, 3, 28, 28), []
    for index, block in enumerate(network.model.encoder.layer):
        block.register_forward_hook(lambda *_, index=index: run.append(index))
    with torch.inference_mode():
        network(pixels)
    assert run == [0]  # a projection needs no attention of its own block
    network.facet = "token"
    with torch.inference_mode():
        network(pixels)
    assert run == [0, 0, 1]


@needs_transformers
def test_sides_that_are_no_multiples_of_the_patch_are_refused(tmp_path: Path) -> None:
    variant = dinov2_checkpoint(heads=4, **SMALL)
    network = Dinov2Network(load(tmp_path, referee.random_state(variant), variant), 0)
    with pytest.raises(BadInput, match="multiples of 14"):
        network(torch.zeros(1, 3, 28, 30))


def test_a_trained_grid_is_left_unchanged() -> None:
    trained = torch.randn(1, 26, 8)
    assert position_embeddings(trained, 5, 5, registers=True) is trained
    other = position_embeddings(trained, 3, 7, registers=False)
    assert other.shape == (1, 22, 8) and torch.equal(other[:, 0], trained[:, 0])


def test_keys_map_to_the_names_of_transformers() -> None:
    attention, feed = ("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj")
    wanted = [f"encoder.layer.0.attention.{name}.weight" for name in attention]
    wanted += [f"encoder.layer.0.mlp.{name}.weight" for name in feed]
    wanted.append("encoder.layer.0.layer_scale1.lambda1")
    qkv, w12 = torch.arange(12.0).reshape(6, 2), torch.arange(8.0).reshape(4, 2)
    state = {"blocks.0.attn.qkv.weight": qkv, "blocks.0.mlp.w12.weight": w12}
    state["blocks.0.0.ls1.gamma"] = torch.ones(2)  # ViT-g groups its blocks
    found = originals_to_transformers({**state, "head.weight": w12}, wanted)
    assert found.keys() == {*wanted, "head.weight"}
    assert torch.equal(torch.cat([found[name] for name in wanted[:3]]), qkv)
    assert torch.equal(torch.cat([found[name] for name in wanted[3:-1]]), w12)


@needs_transformers
@pytest.mark.parametrize(
    "harm, message",
    [
        (lambda s: s.pop("blocks.1.attn.qkv.bias"), "3 weights are missing"),
        (lambda s: s.update(head=torch.ones(2)), "1 weights are unexpected: head"),
        (lambda s: s.update(cls_token=torch.ones(1, 1, 16)), "1 weights are mismatched"),
    ],
)
def test_an_original_that_does_not_fit_is_refused(harm: Any, message: str, tmp_path: Path) -> None:
    variant = dinov2_checkpoint(heads=4, registers=4, **SMALL)
    state = referee.random_state(variant)
    harm(state)
    with pytest.raises(BadInput, match=message):
        load(tmp_path, state, variant)


@needs_transformers
def test_a_folder_gives_the_same_network_and_foreign_keys_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    variant = dinov2_checkpoint(heads=4, registers=4, **SMALL)
    state = referee.random_state(variant)
    model, folder = load(tmp_path, state, variant), tmp_path / "folder"
    model.save_pretrained(folder)
    again, digest = load_network(variant, folder)
    assert len(digest) == 64
    for name, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    whole = load_file(folder / "model.safetensors")
    key = next(name for name in whole if name.endswith("norm1.weight"))
    for broken in (
        {f"module.{name}": value for name, value in whole.items()},
        {name: value for name, value in whole.items() if name != key},
        {**whole, key: torch.ones(7)},
    ):
        save_file(broken, folder / "model.safetensors", {"format": "pt"})
        with pytest.raises(BadInput, match="missing|unexpected|mismatched"):
            load_network(variant, folder)


@needs_transformers
def test_a_folder_of_another_variant_is_refused(tmp_path: Path) -> None:
    variant = dinov2_checkpoint(heads=4, registers=4, **SMALL)
    load(tmp_path, referee.random_state(variant), variant).save_pretrained(tmp_path / "f")
    with pytest.raises(BadInput, match="num_hidden_layers is 3"):
        load_network(dinov2_checkpoint(32, 4, 4, 4, grid=5), tmp_path / "f")
    with pytest.raises(BadInput, match="model_type is 'dinov2_with_registers'"):
        load_network(dinov2_checkpoint(heads=4, **SMALL), tmp_path / "f")
    config = json.loads((tmp_path / "f" / "config.json").read_text())
    assert config["model_type"] == "dinov2_with_registers"


@needs_transformers
def test_without_weights_and_network_the_answer_is_quick_and_says_what_to_do(
    tmp_path: Path,
) -> None:
    code = (
        "import time; from ames_lite.errors import MissingFile\n"
        "from ames_lite.extraction.backbones.dinov2 import Dinov2\n"
        "began = time.perf_counter()\n"
        "try: Dinov2('vits14').provenance\n"
        "except MissingFile as error: print(time.perf_counter() - began, error)"
    )
    cache = str(tmp_path)
    child = Child(code, HF_HUB_OFFLINE="1", HF_HOME=cache, HF_HUB_CACHE=cache)
    said, _ = child.communicate()
    assert float(said.split()[0]) < 2
    for words in ("facebook/dinov2-small", "dinov2_vits14_pretrain.pth", "arguments.weights="):
        assert words in said


@needs_transformers
def test_a_hub_that_hangs_is_given_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    from ames_lite.extraction.backbones import pretrained

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(pretrained, "PROBE", "import time; time.sleep(60)")
    began = time.perf_counter()
    assert not pretrained.hub_answers()
    assert time.perf_counter() - began < 2


def test_weights_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match="nowhere.pth"):
        _ = Dinov2("vits14", weights=str(tmp_path / "nowhere.pth")).provenance


@needs_transformers
def test_a_file_that_is_no_weights_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.pth"
    path.write_text("<html>not found</html>")
    with pytest.raises(BadInput, match="cannot be read as weights alone"):
        load_network(VARIANTS["vits14"], path)


def test_every_network_is_built_without_its_weights() -> None:
    widths = {"s": 384, "b": 768, "l": 1024, "g": 1536}
    for name in NETWORKS:
        backbone = build_backbone(name, device="cpu")
        if name.startswith("dinov2_"):
            assert backbone.dim == widths[name.removeprefix("dinov2_vit")[0]]
    assert isinstance(build_backbone("dinov2"), Dinov2)
    assert build_backbone("dinov2").dim == 768


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"variant": "vitb16"}, "vitb14_reg"),
        ({"facet": "attention"}, "one of patch"),
        ({"layer": 12, "facet": "value"}, "a block from 0 to 11"),
        ({"layer": 3}, "facet=token"),
        ({"layer": "last"}, "a block from 0 to 11"),
        ({"batch_pixels": "many"}, "a number from 0"),
        ({"weights": 7}, "text"),
        ({"scales": ["a"]}, "1 to 256 numbers"),
        ({"space": "detector"}, "detector=<its weights>"),
        ({"method": "stretch"}, "one of"),
        ({"scales": []}, "1 to 256 numbers"),
        ({"image_size": 5}, "14 pixels and more"),
        ({"top_k": -1}, "at least 1"),
        ({"image_size": [320, 5]}, "14 pixels and more"),
        ({"image_size": "large"}, "14 pixels and more"),
        ({"precision": "fp8"}, "one of"),
        ({"precision": "fp16", "device": "cpu"}, "bf16"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_before_weights_load(
    arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        Dinov2(**arguments)


def test_random_weights_have_no_real_name() -> None:
    assert "tiny_random" not in VARIANTS
    with pytest.raises(MissingFile, match="the weights of tiny_random are missing"):
        assert TinyRandom(weights="some.pth").provenance


@needs_transformers
def test_tiny_random_says_what_it_is_and_repeats_itself() -> None:
    image = np.random.default_rng(0).integers(0, 255, (90, 60, 3)).astype(np.uint8)
    arguments: dict[str, Any] = {"image_size": 140, "top_k": 30, "device": "cpu"}
    first, again = (TinyRandom(seed=3, **arguments) for _ in range(2))
    assert first.provenance == again.provenance
    assert first.provenance["backbone"] == "tiny_random"
    assert first.provenance["weights"] == "random, seed 3"
    a, b = first.extract(image), again.extract(image)
    assert np.array_equal(a.descriptors, b.descriptors) and a.count == 30
    other = TinyRandom(seed=4, **arguments).extract(image)
    assert not np.array_equal(a.descriptors, other.descriptors)
    assert np.allclose(np.linalg.norm(a.descriptors, axis=1), 1, atol=1e-5)


@needs_transformers
def test_bf16_stays_close_to_fp32() -> None:
    image = np.random.default_rng(0).integers(0, 255, (90, 60, 3)).astype(np.uint8)
    arguments: dict[str, Any] = {"image_size": 140, "top_k": 1000, "device": "cpu"}
    full, half = (TinyRandom(precision=p, **arguments) for p in ("fp32", "bf16"))
    batch = [full.prepare(image)]
    pixels = full.normalized(batch)[0]
    a, b = (backbone.features(pixels).patches for backbone in (full, half))
    cosine = torch.nn.functional.cosine_similarity(a, b, dim=1)
    assert 0 < (1 - cosine).max() < 1e-3
    assert full.provenance != half.provenance


@needs_transformers
def test_a_batch_describes_as_single_images_do() -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (90, 60, 3)).astype(np.uint8) for _ in range(3)]
    backbone = TinyRandom(image_size=140, top_k=40, scales=(0.5, 1.0), device="cpu")
    together = backbone.describe([backbone.prepare(image) for image in images])
    for image, (found, _) in zip(images, together, strict=True):
        alone = backbone.extract(image)
        assert np.allclose(alone.descriptors, found.descriptors, atol=1e-5)
        assert np.allclose(alone.xy, found.xy) and set(found.scale) <= {0, 1}
    tokens = np.stack([found.vector for found in together])
    assert tokens.shape == (3, backbone.global_dim) and tokens.dtype == np.float32
    assert backbone.global_kind == "cls"
    inner = TinyRandom(facet="value", device="cpu")
    assert inner.global_kind is None and inner.global_dim == 0
    assert inner.describe([inner.prepare(images[0])])[0].vector is None


@needs_transformers
def test_without_a_bound_all_tokens_are_kept(caplog: pytest.LogCaptureFixture) -> None:
    image = np.random.default_rng(0).integers(0, 255, (90, 60, 3)).astype(np.uint8)
    arguments: dict[str, Any] = {"image_size": [140, 70], "scales": (0.5, 1.0), "device": "cpu"}
    every, some = (TinyRandom(top_k=k, **arguments) for k in (0, 40))
    found = every.extract(image)
    assert found.count == 5 * 2 + 10 * 5  # 70 × 35 is 5 × 2 patches
    assert "no detector weights" not in caplog.text
    best = some.extract(image)
    assert np.array_equal(found.strongest(40).descriptors, best.descriptors)
    assert every.provenance["top_k"] == 0 and every.provenance["image_size"] == [140, 70]
    assert every.provenance["method"] == "resize"
    assert TinyRandom(image_size=140, device="cpu").provenance["image_size"] == 140
