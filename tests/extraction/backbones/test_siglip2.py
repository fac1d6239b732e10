"""SigLIP 2: the plain forward's tokens and pooled vector, from folders with and without text part.

Networks are tiny, with random weights, saved to folders: nothing is downloaded.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ames_lite.errors import BadInput, MissingFile
from ames_lite.extraction.backbones import build_backbone, pretrained
from ames_lite.extraction.backbones.vision_transformers import (
    SIGLIP2,
    FinalTokens,
    Siglip2,
    siglip2_checkpoint,
)

transformers = pytest.importorskip("transformers")
TINY = siglip2_checkpoint(32, 2, 2, 64, 48, hub="google/tiny")
TEXT = {
    **{"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "vocab_size": 50},
    **{"num_attention_heads": 2, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0},
}


def make(seed: int = 0) -> Any:
    """Vision and text, every weight drawn."""
    config = transformers.SiglipConfig(vision_config=TINY.config, text_config=TEXT)
    model = transformers.SiglipModel(config).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in model.parameters():
            value.copy_(0.2 * torch.randn(value.shape, generator=generator))
    return model


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a tiny network with both parts, whose variant is known by the name tiny."""
    monkeypatch.setitem(SIGLIP2, "tiny", TINY)
    make().save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3)).astype(np.uint8)


@pytest.mark.parametrize("size", [(48, 48), (32, 96)])
@pytest.mark.parametrize("alone", [False, True])
def test_features_are_the_plain_forwards_tokens(
    size: tuple[int, int], alone: bool, tmp_path: Path
) -> None:
    model = make()
    (model.vision_model if alone else model).save_pretrained(tmp_path)
    loaded, digest = pretrained.load_pretrained(TINY, tmp_path)
    assert len(digest) == 64
    pixels = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = model.vision_model(pixels, interpolate_pos_encoding=size != (48, 48))
        found = FinalTokens(loaded, 16, Siglip2.call)(pixels)
    columns = size[1] // 16
    for index in range(size[0] // 16 * columns):
        token = expected.last_hidden_state[:, index]
        assert torch.equal(found.patches[:, :, index // columns, index % columns], token)
    assert found.cls is not None and torch.equal(found.cls, expected.pooler_output)


def test_an_image_goes_through_as_the_formulas_say(tiny: Path) -> None:
    backbone = Siglip2("tiny", str(tiny), top_k=4, device="cpu")
    prepared = backbone.prepare(picture(30, 60))
    assert prepared.shape == ((32, 48),)  # 24 × 48 of the trained 48 × 48, in whole patches
    found = backbone.describe([prepared])[0]
    pixels = torch.tensor(prepared.views[0].pixels / 127.5 - 1).float().permute(2, 0, 1)[None]
    with torch.inference_mode():
        expected = make().vision_model(pixels, interpolate_pos_encoding=True)
    tokens = expected.last_hidden_state[0].numpy()
    order = np.argsort(-np.linalg.norm(tokens, axis=1), kind="stable")[:4]
    assert np.allclose(found.local.weight, np.linalg.norm(tokens, axis=1)[order], rtol=1e-4)
    unit = tokens[order] / np.linalg.norm(tokens[order], axis=1, keepdims=True)
    assert np.allclose(found.local.descriptors, unit, atol=1e-5)
    assert np.allclose(found.vector, expected.pooler_output[0].numpy(), atol=1e-4)


def test_a_pair_stretches_to_the_trained_grid(tiny: Path) -> None:
    backbone = Siglip2("tiny", str(tiny), image_size=[48, 48], device="cpu")
    assert backbone.prepare(picture(30, 60)).shape == ((48, 48),)
    assert backbone.provenance["image_size"] == [48, 48]


def test_naflex_is_refused_by_name(tiny: Path) -> None:
    path = tiny / "config.json"
    config = json.loads(path.read_text())
    config["model_type"] = "siglip2"
    config["vision_config"]["model_type"] = "siglip2_vision_model"
    path.write_text(json.dumps(config))
    with pytest.raises(BadInput, match="model_type is 'siglip2_vision_model'"):
        _ = Siglip2("tiny", str(tiny), device="cpu").provenance


def test_a_configuration_that_leaves_defaults_out_is_completed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    base = SIGLIP2["base_512"]
    given = {"model_type": "siglip", "vision_config": {"image_size": 512}}
    (tmp_path / "config.json").write_text(json.dumps(given))
    pretrained._check_config(tmp_path / "config.json", base)
    with pytest.raises(BadInput, match="image_size is 512"):
        pretrained._check_config(tmp_path / "config.json", SIGLIP2["base_384"])
    with pytest.raises(BadInput, match="hidden_size is 768"):
        pretrained._check_config(tmp_path / "config.json", SIGLIP2["large_512"])


def test_a_folder_of_foreign_keys_is_refused_by_name(tiny: Path) -> None:
    from safetensors.torch import load_file, save_file

    whole = load_file(tiny / "model.safetensors")
    key = "vision_model.post_layernorm.weight"
    text_alone = {n: v for n, v in whole.items() if not n.startswith("vision_model.")}
    for broken, message in (
        (text_alone, "weights are missing"),
        ({n: v for n, v in whole.items() if n != key}, "1 weights are missing"),
        ({**whole, "vision_model.extra": torch.ones(3)}, "1 weights are unexpected: .*extra"),
        ({**whole, key: torch.ones(7)}, "1 weights are mismatched"),
    ):
        save_file(broken, tiny / "model.safetensors", {"format": "pt"})
        with pytest.raises(BadInput, match=message):
            _ = Siglip2("tiny", str(tiny), device="cpu").provenance


def test_without_network_the_answer_says_what_to_download(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(pretrained, "hub_answers", lambda: False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(MissingFile, match="hf download google/siglip2-base-patch16-512") as told:
        _ = build_backbone("siglip2_base_512").provenance
    assert "requested" not in str(told.value)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"variant": "base_224"}, "base_384"),
        ({"facet": "key"}, "backbone=dinov2"),
        ({"weights": 7}, "text"),
        ({"image_size": 5}, "16 pixels and more"),
        ({"space": "detector"}, "detector=<its weights>"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_before_weights_load(
    arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        Siglip2(**arguments)


def test_bf16_stays_close_to_fp32(tiny: Path) -> None:
    full, half = (Siglip2("tiny", str(tiny), precision=p, device="cpu") for p in ("fp32", "bf16"))
    pixels = full.normalized([full.prepare(picture(60, 90))])[0]
    a, b = (backbone.features(pixels) for backbone in (full, half))
    cosine = torch.nn.functional.cosine_similarity(a.patches, b.patches, dim=1)
    assert 0 < (1 - cosine).max() < 1e-3
    assert torch.nn.functional.cosine_similarity(a.cls, b.cls, dim=1).min() > 0.999


def test_every_variant_is_an_entry_with_its_published_place() -> None:
    for name, variant in SIGLIP2.items():
        backbone = build_backbone(f"siglip2_{name}", device="cpu")
        assert isinstance(backbone, Siglip2) and backbone.dim == backbone.global_dim == variant.dim
        word, size = name.split("_")
        assert variant.hub == f"google/siglip2-{word}-patch16-{size}"
        assert backbone.prepare.image_size == variant.config["image_size"] == int(size)
