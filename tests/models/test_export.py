"""Exported heads give the head's logits, for other numbers of pairs and descriptors too."""

from pathlib import Path

import pytest
import torch

from ames_lite.errors import ConfigError
from ames_lite.models import build_head
from ames_lite.models.export import INPUTS, export

HEADS = {
    "ames": {"dim_in": 32, "dim": 16, "num_layers": 2, "dim_feedforward": 32},
    "ames binary": {"dim_in": 32, "dim": 16, "num_layers": 2, "binary": True},
    "elvis": {"dim_in": 32, "dim": 16},
    "chamfer": {},
}


SLOW = {("ames", "torch"), ("ames binary", "torch"), ("elvis", "torch"), ("ames binary", "onnx")}
SLOW |= {("elvis", "onnx"), ("ames", "onnx"), ("chamfer", "torch")}
CASES = [
    pytest.param(name, form, marks=[pytest.mark.slow] if (name, form) in SLOW else [])
    for name in HEADS
    for form in ("torch", "onnx")
]


@pytest.mark.parametrize("name, form", CASES)
def test_an_exported_head_gives_the_heads_logits(name: str, form: str, tmp_path: Path) -> None:
    if form == "onnx":
        pytest.importorskip("onnxscript")
        onnxruntime = pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    head = build_head(name.split()[0], **HEADS[name]).eval()
    suffix = {"torch": ".pt2", "onnx": ".onnx"}[form]
    path = export(head, form, tmp_path / f"head{suffix}", width=32)
    valid = torch.ones(5, 9, dtype=torch.bool), torch.rand(5, 14) > 0.3
    inputs = (torch.randn(5, 9, 32), torch.randn(5, 14, 32), *valid)
    query, gallery, *_ = inputs
    expected = head(query, ~valid[0], gallery, ~valid[1]).detach()
    if form == "torch":
        found = torch.export.load(path).module()(*inputs)
    else:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        feeds = {key: value.numpy() for key, value in zip(INPUTS, inputs, strict=True)}
        found = torch.from_numpy(session.run(["logit"], feeds)[0])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=2e-6)


def test_what_cannot_be_exported_is_refused(tmp_path: Path) -> None:
    head = build_head("chamfer")
    with pytest.raises(ConfigError, match="form=jit"):
        export(head, "jit", tmp_path / "head.pt2")
    with pytest.raises(ConfigError, match="head.pt as onnx"):
        export(head, "onnx", tmp_path / "head.pt")
    with pytest.raises(ConfigError, match="any width"):
        export(head, "torch", tmp_path / "head.pt2")
