"""The examples of docs/library.md run as they stand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ames_lite.io.descriptor_store import DescriptorStore
from ames_lite.models import AMES
from ames_lite.records import LocalDescriptors
from tests.interop.pictures import a_task, picture

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "library.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.*?)\n.*?```python\n(.*?)```", PAGE, re.M | re.S))


def run(section: str, **given: Any) -> dict[str, Any]:
    code = SECTIONS[section]
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    exec(compile(code, "library.md", "exec"), given)
    return given


def test_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(picture(1)).save(tmp_path / "a.png")
    run("Images", query=picture(1), candidates=[picture(2) / 255, tmp_path / "a.png"])
    *ranked, last = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in ranked] == ["1", "0"]
    assert 0 <= float(last.split()[1]) <= 1


def test_arrays_and_stores(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = AMES(dim_in=16, dim=16, num_layers=1, dim_feedforward=16)
    rng, path = np.random.default_rng(0), tmp_path / "s.hdf5"
    names = [f"{row}.jpg" for row in range(8)]
    with DescriptorStore.create(path, names, 5, 16, "float16", {"backbone": "x"}) as store:
        for name in names:
            xy, scale, weight = np.zeros((5, 2), "f4"), np.zeros(5, np.uint8), np.ones(5, "f4")
            image = rng.standard_normal((5, 16)).astype("f2")
            store.append(name, LocalDescriptors(image, xy, scale, weight, (30, 40)))
    candidates = [rng.standard_normal((n, 16)) for n in (3, 9, 1)]
    given = {"model": model, "path": path, "query": rng.standard_normal((4, 16))}
    found = run("Arrays and stores", **given, candidates=candidates, sims=[0.9, 0.1, 0.4])
    assert found["ranking"].ids.shape == (1, 3)


def test_multi_vector_encoders() -> None:
    found = run("Multi-vector encoders", query=picture(0), candidates=[picture(1), picture(0)])
    assert found["scores"].argmax().item() == 1


def test_mteb(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("mteb")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    run("mteb", task=a_task())
    assert "'ndcg_at_10': 1.0" in capsys.readouterr().out


def test_hugging_face_datasets(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    images = [Image.fromarray(picture(seed)) for seed in range(2)]
    made = datasets.Dataset.from_dict({"image": images, "label": ["x", "x"]})
    dataset = made.cast_column("image", datasets.Image())
    found = run("Hugging Face datasets", dataset=dataset, folder=tmp_path)
    assert found["labels"].is_file()
