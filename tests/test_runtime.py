"""`precision=auto`: what it is on which device, and that the choice is said and recorded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from ames_lite import runtime
from ames_lite.cli import evaluate, tune
from ames_lite.cli.compose import compose
from ames_lite.errors import BadInput
from ames_lite.models import AMES
from ames_lite.reranking import Reranker
from ames_lite.runtime import (
    Draw,
    autocast,
    cpu_is_fast_in_bf16,
    fast_precision,
    settle_precision,
    stream,
)
from tests.conftest import TinyWorld

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(params=[True, False], ids=["with bf16", "without"])
def native(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[bool]:
    """A CPU and a GPU with or without bf16 instructions."""
    monkeypatch.setattr(runtime, "cpu_is_fast_in_bf16", lambda: request.param)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: request.param)
    runtime._warn_of_slow_bf16.cache_clear()
    yield request.param
    runtime._warn_of_slow_bf16.cache_clear()


def test_auto_is_bf16_where_there_are_instructions(
    native: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    chosen = "bf16" if native else "fp32"
    instructions = "bf16 instructions" if native else "no bf16 instructions"
    assert fast_precision(CUDA) == (chosen, f"this GPU has {instructions}")
    assert settle_precision("auto", CPU) == chosen
    assert caplog.messages == [f"precision: {chosen} (this CPU has {instructions})"]


def test_bf16_is_warned_of_once_where_it_is_slow(
    native: bool, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        assert settle_precision("bf16", CPU) == "bf16"
        autocast("bf16", CPU)
    warned = [text for text in caplog.messages if "precision=fp32 is faster" in text]
    assert len(warned) == (0 if native else 1)


def test_what_a_device_does_not_have_is_refused_before_any_work() -> None:
    for precision, message in (("fp16", "on a CPU"), ("half", "one of auto, fp32, bf16, fp16")):
        with pytest.raises(BadInput, match=message):
            settle_precision(precision, CPU)


def test_the_cpu_is_measured_alike_inside_autocast_and_gradients_stay() -> None:
    cpu_is_fast_in_bf16.cache_clear()
    outside = cpu_is_fast_in_bf16()
    cpu_is_fast_in_bf16.cache_clear()
    with torch.autocast("cpu", torch.bfloat16):
        assert cpu_is_fast_in_bf16() == outside
    assert torch.is_grad_enabled()


def test_what_auto_became_is_recorded_and_gives_its_very_scores(
    native: bool, tiny_world: TinyWorld, tmp_path: Path
) -> None:
    given = ["desc_name=sift", f"data_root={tiny_world.root}", "model=chamfer", "num_rerank=5"]
    cell = [*given, "dataset=synthetic", "lamb=0.5", "temp=1.0", "report_queries=0"]
    logits, chosen = {}, "bf16" if native else "fp32"
    for precision in ("auto", chosen):
        folder = tmp_path / precision
        asked = [*cell, f"precision={precision}", f"output_dir={folder}"]
        results = evaluate.run(compose("evaluate", asked))
        config = yaml.safe_load((folder / "config.yaml").read_text())
        assert results["config"]["precision"] == config["precision"] == chosen
        assert chosen in results["digests"]["settings"]
        logits[precision] = results["rows"], results["digests"]
    assert logits["auto"] == logits[chosen]
    folder = tmp_path / "tune"
    asked = [*given, "dataset=synthetic-val", "precision=auto", f"output_dir={folder}"]
    tune.run(compose("tune", [*asked, "lamb=[0.5]", "temp=[1.0]"]))
    assert yaml.safe_load((folder / "config.yaml").read_text())["precision"] == chosen


def test_the_reranker_takes_auto(native: bool) -> None:
    torch.manual_seed(0)
    head = AMES(dim_in=16, dim=32, num_layers=1, dim_feedforward=32)
    images = np.random.default_rng(0).normal(size=(4, 5, 16)).astype(np.float32)
    logits = [
        Reranker(head, precision=name).logits(images[0], images)
        for name in ("auto", "bf16" if native else "fp32")
    ]
    assert np.array_equal(*logits)


def test_no_two_streams_of_a_seed_coincide() -> None:
    keys = [(draw, *rest) for draw in Draw for rest in ((), (0,), (0, 0), (0, 1), (1,), (1, 0))]
    pairs = [(seed, key) for seed in (0, 1) for key in keys]
    drawn = {tuple(stream(seed, *key).integers(2**63, size=3)) for seed, key in pairs}
    assert len(drawn) == len(pairs)
    again = stream(1, Draw.COUNTS, 5).integers(2**63)
    assert again == stream(1, Draw.COUNTS, 5).integers(2**63)
