"""The run that is prepared for a GPU, at a tiny size on the CPU."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks import gpu


@pytest.mark.slow
def test_every_part_is_written_and_the_compiled_head_agrees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "gpu.json"
    sizes = ["device=cpu", "queries=2", "num_rerank=8", "descriptors=12"]
    monkeypatch.setattr(sys, "argv", ["gpu", str(output), *sizes])
    monkeypatch.setattr(gpu, "GALLERY", 20)
    monkeypatch.setattr(gpu, "LIMIT", 1e9)
    gpu.main()
    found = json.loads(output.read_text())
    assert {cell["head"] for cell in found["heads"]} == {"ames", "elvis"}
    whole, beside_plain = found["evaluation"]
    assert whole["pairs"] > beside_plain["pairs"] and beside_plain["plain_forwards"] == 2 * 8
    assert found["compiled"]["logit_difference"] < 0.05
