"""The detector and the choice of the strongest: the published numbers, and a slow referee."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ames_lite.errors import BadInput, MissingFile
from ames_lite.extraction.backbones.detector import SpatialAttention2d, load_detector
from ames_lite.extraction.backbones.dinov2 import Dinov2, TinyRandom
from ames_lite.extraction.backbones.map_backbone import top_k
from tests.helpers import shared_file

K = 60


def fixture() -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
    arrays = np.load(shared_file("fixtures/detector_topk.npz"))
    state = {
        name.removeprefix("state/"): torch.from_numpy(arrays[name])
        for name in arrays.files
        if name.startswith("state/")
    }
    cases = []
    for case in range(3):
        prefix = f"case{case}/"
        names = [name for name in arrays.files if name.startswith(prefix)]
        cases.append({name.removeprefix(prefix): arrays[name] for name in names})
    return state, cases


@pytest.mark.parametrize("case", range(3))
def test_detector_and_top_k_give_the_published_numbers(case: int, tmp_path: Path) -> None:
    state, cases = fixture()
    torch.save({"state": state}, tmp_path / "detector.pt")
    detector, expected = load_detector(tmp_path / "detector.pt", 24), cases[case]
    maps, weights = [], []
    for scale in range(sum(name.startswith("features") for name in expected)):
        with torch.inference_mode():
            unit, weight = detector(torch.from_numpy(expected[f"features{scale}"]))
        assert np.abs(unit.numpy() - expected[f"normalized{scale}"]).max() < 1e-6
        # weights go up to 10: a float32 step there is 1e-6
        assert np.allclose(weight.numpy(), expected[f"attention{scale}"], rtol=1e-6, atol=1e-6)
        maps.append(unit)
        weights.append(weight)
    found = top_k(maps, weights, K)
    assert found.weight.shape[1] == expected["count"]
    assert np.allclose(found.weight.numpy(), expected["weights"], rtol=1e-6, atol=1e-6)
    assert np.abs(found.descriptors.numpy() - expected["descriptors"]).max() < 1e-6
    assert np.array_equal(found.scale.numpy(), expected["scale"])
    row_column = found.xy.numpy()[..., ::-1]
    assert np.abs(row_column - expected["xy"]).max() < 1e-6


def test_top_k_equals_a_slow_referee() -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = [(3, 5), (4, 2), (1, 7)]
    maps = [torch.randn(2, 6, h, w, generator=generator) for h, w in shapes]
    weights = [torch.rand(2, 1, h, w, generator=generator) for h, w in shapes]
    weights[1][0, 0, 0, 0] = weights[0][0, 0, 2, 4]  # a tie: the first scale comes first
    found = top_k(maps, weights, 12)
    for image in range(2):
        everything = [
            (-float(weights[s][image, 0, y, x]), s, y, x)
            for s, (h, w) in enumerate(shapes)
            for y in range(h)
            for x in range(w)
        ]
        for place, (weight, s, y, x) in enumerate(sorted(everything)[:12]):
            h, w = shapes[s]
            assert found.weight[image, place] == -weight and found.scale[image, place] == s
            assert torch.equal(found.descriptors[image, place], maps[s][image, :, y, x])
            centre = [(x + 0.5) / w, (y + 0.5) / h]
            assert found.xy[image, place].tolist() == pytest.approx(centre)


def test_all_are_kept_where_there_are_fewer_than_k() -> None:
    unit, norm = TinyRandom(device="cpu")._weigh(torch.randn(1, 4, 2, 3))
    found = top_k([unit], [norm], 100)
    assert found.descriptors.shape == (1, 6, 4)
    assert bool((found.weight.diff(dim=1) <= 0).all())


def test_the_norm_stands_in_for_the_detector() -> None:
    features = torch.randn(1, 4, 2, 3)
    unit, norm = TinyRandom(device="cpu")._weigh(features)
    assert torch.allclose(unit * norm, features, atol=1e-6)


def detector_file(tmp_path: Path, dim_in: int = 384, dim: int = 128) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "detector.pt"
    torch.save(SpatialAttention2d(dim_in, dim).state_dict(), path)
    return path


@pytest.mark.parametrize(
    "harm, message",
    [
        (lambda state: state.pop("bn.running_var"), "bn.running_var"),
        (lambda state: state.update(extra=torch.ones(1)), "extra"),
        (lambda state: state["conv2.bias"].fill_(float("nan")), "NaN"),
        (lambda state: state.pop("conv1.weight"), "missing"),
        (lambda state: state.update({"conv1.weight": "text"}), "something else"),
    ],
)
def test_a_detector_that_does_not_fit_is_refused(harm: Any, message: str, tmp_path: Path) -> None:
    path = detector_file(tmp_path)
    state = torch.load(path, weights_only=True)
    harm(state)
    torch.save(state, path)
    with pytest.raises(BadInput, match=message):
        load_detector(path, 384)


def test_a_detector_of_another_width_or_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="features of width 768"):
        load_detector(detector_file(tmp_path), 768)
    with pytest.raises(MissingFile, match="absent.pt"):
        load_detector(tmp_path / "absent.pt", 768)
    (tmp_path / "text.pt").write_text("no weights")
    with pytest.raises(BadInput, match="cannot be read as weights alone"):
        load_detector(tmp_path / "text.pt", 768)


def test_the_space_of_descriptors_decides_their_width(tmp_path: Path) -> None:
    path = str(detector_file(tmp_path))
    assert Dinov2("vits14").space == "backbone" and Dinov2("vits14").dim == 384
    ames, elvis = (Dinov2("vits14", detector=path, space=s) for s in (None, "backbone"))
    assert (ames.space, ames.dim) == ("detector", 128)
    assert (elvis.space, elvis.dim) == ("backbone", 384)


def test_a_seeded_detector_keeps_its_numbers() -> None:
    generator = torch.Generator().manual_seed(7)
    detector = SpatialAttention2d(6, 5).eval()
    shift = {"conv1": -0.5, "conv2": -0.5, "bn": 0.0}
    with torch.no_grad():
        for name, value in sorted(detector.state_dict().items()):
            if value.is_floating_point():
                more = 0.5 if "var" in name else shift[name.split(".")[0]]
                value.copy_(torch.rand(value.shape, generator=generator) + more)
        unit, weight = detector(torch.randn(1, 6, 3, 4, generator=generator))
    found = top_k([unit], [weight], 4)
    expected = [0.84264, 0.8388, 0.80161, 0.76824]
    assert found.weight[0].tolist() == pytest.approx(expected, abs=1e-5)
    expected = [0.43683, 0.02896, 0.33633, 0.83271, 0.04264, 0.48477, 0.10291, 0.3145, 0.80741]
    assert found.descriptors.flatten()[:9].tolist() == pytest.approx(expected, abs=1e-5)
    assert found.xy[0].flatten().tolist() == pytest.approx(
        [0.625, 1 / 2, 0.125, 1 / 6, 0.375, 5 / 6, 0.625, 5 / 6]
    )


def test_a_backbone_stores_what_its_detector_chose(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    image = np.random.default_rng(0).integers(0, 255, (50, 70, 3)).astype(np.uint8)
    path = str(detector_file(tmp_path, 32, 16))
    given: dict[str, Any] = {"image_size": 70, "top_k": 9, "device": "cpu", "detector": path}
    ames, elvis = (TinyRandom(space=space, **given) for space in ("detector", "backbone"))
    a, b = ames.extract(image), elvis.extract(image)
    assert a.descriptors.shape == (9, 16) and b.descriptors.shape == (9, 32)
    assert np.array_equal(a.weight, b.weight) and np.array_equal(a.xy, b.xy)
    assert ames.provenance["detector"] == "SpatialAttention2d"
    assert len(ames.provenance["detector_weights"]) == 64
    assert ames.provenance["descriptor_space"] != elvis.provenance["descriptor_space"]
