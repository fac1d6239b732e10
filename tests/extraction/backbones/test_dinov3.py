"""DINOv3: the plain forward's tokens without CLS and registers, and weights that are never random.

Networks are tiny, with random weights, saved to folders: nothing is downloaded.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ames_lite.errors import BadInput, ConfigError, MissingFile
from ames_lite.extraction.backbones import build_backbone, pretrained
from ames_lite.extraction.backbones.pretrained import Checkpoint
from ames_lite.extraction.backbones.vision_transformers import (
    DINOV3,
    Dinov3,
    FinalTokens,
    dinov3_checkpoint,
)
from tests.processes import Child

transformers = pytest.importorskip("transformers")
TINY = dinov3_checkpoint(32, 2, 2, 64, word="tiny")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def make(variant: Checkpoint, seed: int = 0) -> Any:
    """A model of transformers whose every weight is drawn, the zeros of its making too."""
    model = transformers.DINOv3ViTModel(transformers.DINOv3ViTConfig(**variant.config)).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in model.parameters():
            value.copy_(0.2 * torch.randn(value.shape, generator=generator))
    return model


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a tiny network, whose variant is known by the name tiny."""
    monkeypatch.setitem(DINOV3, "tiny", TINY)
    make(TINY).save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3)).astype(np.uint8)


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("size", [(64, 64), (32, 96)])
def test_features_are_the_plain_forwards_patches(
    gated: bool, size: tuple[int, int], tmp_path: Path
) -> None:
    variant = dinov3_checkpoint(32, 2, 2, 64, gated=gated)
    model = make(variant)
    model.save_pretrained(tmp_path)
    loaded, digest = pretrained.load_pretrained(variant, tmp_path)
    assert len(digest) == 64 and not loaded.training
    network = FinalTokens(loaded, 16, {})
    pixels = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = model(pixels).last_hidden_state
        found = network(pixels)
    rows, columns = size[0] // 16, size[1] // 16
    assert expected.shape[1] == 1 + 4 + rows * columns
    for row in range(rows):
        for column in range(columns):
            token = expected[:, 5 + row * columns + column]
            assert torch.equal(found.patches[:, :, row, column], token)
    assert found.cls is not None and torch.equal(found.cls, expected[:, 0])


def test_an_image_goes_through_as_the_formulas_say(tiny: Path) -> None:
    backbone = Dinov3("tiny", str(tiny), image_size=96, top_k=0, device="cpu")
    image = picture(60, 90)
    prepared = backbone.prepare(image)
    assert prepared.shape == ((64, 96),)
    found = backbone.describe([prepared])[0]
    pixels = (torch.tensor(prepared.views[0].pixels / 255) - torch.tensor(MEAN)) / torch.tensor(STD)
    with torch.inference_mode():
        tokens = make(TINY)(pixels.float().permute(2, 0, 1)[None]).last_hidden_state[0].numpy()
    order = np.argsort(-np.linalg.norm(tokens[5:], axis=1), kind="stable")
    assert found.local.count == 24
    assert np.allclose(found.local.weight, np.linalg.norm(tokens[5:], axis=1)[order], rtol=1e-4)
    assert np.allclose(
        found.local.xy,
        np.stack([(order % 6 + 0.5) / 6, (order // 6 + 0.5) / 4], axis=1),
        atol=1e-6,
    )
    assert np.allclose(found.vector, tokens[0], atol=1e-4)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"variant": "vitb14"}, "vitb16"),
        ({"facet": "value"}, "backbone=dinov2"),
        ({"weights": 7}, "text"),
        ({"image_size": 5}, "16 pixels and more"),
        ({"method": "stretch"}, "one of"),
        ({"top_k": -1}, "at least 1"),
        ({"space": "detector"}, "detector=<its weights>"),
        ({"precision": "fp16", "device": "cpu"}, "bf16"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_before_weights_load(
    arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        Dinov3(**arguments)


def test_sides_that_are_no_multiples_of_the_patch_are_refused() -> None:
    with pytest.raises(BadInput, match="multiples of 16"):
        FinalTokens(torch.nn.Identity(), 16, {})(torch.zeros(1, 3, 32, 40))


def test_a_folder_of_foreign_keys_is_refused_by_name(tiny: Path) -> None:
    from safetensors.torch import load_file, save_file

    whole = load_file(tiny / "model.safetensors")
    key = "layer.0.norm1.weight"
    assert key in whole
    for broken, message in (
        ({f"backbone.{name}": value for name, value in whole.items()}, "weights are missing"),
        ({n: v for n, v in whole.items() if n != key}, r"1 weights are missing: .*norm1.weight"),
        ({**whole, "head.weight": torch.ones(3)}, "1 weights are unexpected: head.weight"),
        ({**whole, key: torch.ones(7)}, r"1 weights are mismatched: .*norm1.weight"),
    ):
        save_file(broken, tiny / "model.safetensors", {"format": "pt"})
        with pytest.raises(BadInput, match=message):
            _ = Dinov3("tiny", str(tiny), device="cpu").provenance
    whole.pop("embeddings.mask_token")  # plays no part
    save_file(whole, tiny / "model.safetensors", {"format": "pt"})
    assert Dinov3("tiny", str(tiny), device="cpu").provenance["backbone"] == "dinov3"


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"num_hidden_layers": 3}, "num_hidden_layers is 3"),
        ({"num_register_tokens": 0}, "num_register_tokens is 0"),
        ({"model_type": "dinov2"}, "model_type is 'dinov2'"),
        ({"rope_theta": 50.0}, "rope_theta is 50.0"),
    ],
)
def test_a_folder_of_another_network_is_refused(
    changed: dict[str, Any], message: str, tiny: Path
) -> None:
    path = tiny / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))
    with pytest.raises(BadInput, match=message):
        _ = Dinov3("tiny", str(tiny), device="cpu").provenance


def test_what_a_folder_lacks_is_named(tiny: Path) -> None:
    (tiny / "model.safetensors").unlink()
    with pytest.raises(MissingFile, match="model.safetensors"):
        _ = Dinov3("tiny", str(tiny)).provenance
    with pytest.raises(MissingFile, match="nowhere"):
        _ = Dinov3("tiny", str(tiny.parent / "nowhere")).provenance


@pytest.mark.slow
def test_without_network_the_answer_is_quick_and_says_that_access_has_to_be_requested(
    tmp_path: Path,
) -> None:
    code = (
        "import time; from ames_lite.errors import MissingFile\n"
        "from ames_lite.extraction.backbones.vision_transformers import Dinov3\n"
        "began = time.perf_counter()\n"
        "try: Dinov3('vitl16').provenance\n"
        "except MissingFile as error: print(time.perf_counter() - began, error)"
    )
    cache = str(tmp_path)
    child = Child(code, HF_HUB_OFFLINE="1", HF_HOME=cache, HF_HUB_CACHE=cache)
    said, _ = child.communicate()
    assert float(said.split()[0]) < 2
    hub = "facebook/dinov3-vitl16-pretrain-lvd1689m"
    for words in (f"hf download {hub}", f"requested first at https://huggingface.co/{hub}"):
        assert words in said
    assert ".pth" not in said


def test_a_transformers_without_the_class_is_named() -> None:
    with pytest.raises(ConfigError, match=r"transformers [0-9.]+ has no DINOv3Unheard"):
        pretrained.transformers_class("DINOv3Unheard")


def test_bf16_stays_close_to_fp32(tiny: Path) -> None:
    arguments: dict[str, Any] = {"image_size": 96, "device": "cpu"}
    full, half = (Dinov3("tiny", str(tiny), precision=p, **arguments) for p in ("fp32", "bf16"))
    pixels = full.normalized([full.prepare(picture(60, 90))])[0]
    a, b = (backbone.features(pixels).patches for backbone in (full, half))
    cosine = torch.nn.functional.cosine_similarity(a, b, dim=1)
    assert 0 < (1 - cosine).max() < 1e-3


def test_every_variant_is_an_entry_with_its_published_place() -> None:
    for name, variant in DINOV3.items():
        backbone = build_backbone(f"dinov3_{name}", device="cpu")
        assert isinstance(backbone, Dinov3) and backbone.dim == variant.dim
        assert variant.hub == f"facebook/dinov3-{name}-pretrain-lvd1689m"
        config = transformers.DINOv3ViTConfig(**variant.config)
        assert config.hidden_size % config.num_attention_heads == 0
