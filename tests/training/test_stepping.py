"""One step: parts add up, scaling changes nothing, what is not finite spoils nothing."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ames_lite.errors import BadInput
from ames_lite.models import AMES
from ames_lite.training import stepping
from ames_lite.training.dataset import TripletBatch, mirror
from ames_lite.training.recipe import Recipe
from ames_lite.training.stepping import Stepper
from tests.conftest import TinyWorld
from tests.training.test_trainer import trainer_of

RECIPE = Recipe(epochs=2, batch_size=12, lr=1e-3, max_count=16, min_count=8)


def stepper_of(world: TinyWorld, folder: Path, **given: Any) -> Stepper:
    stepper = trainer_of(world, folder, Recipe(**{**vars(RECIPE), **given})).stepper
    stepper.head.train()
    return stepper


def steps(stepper: Stepper, num: int = 3, steps: int = 10) -> list[dict[str, Any]]:
    with closing(stepper.loader.steps(0, num)) as found:
        return [stepper.step(step, steps, parts) for step, parts in found]


def state(stepper: Stepper) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in stepper.head.named_parameters()}


@pytest.mark.parametrize("turned", [{}, {"rotate": 1.0}, {"mirror": 1.0}])
def test_a_batch_in_parts_is_the_batch(
    turned: dict[str, float], tiny_world: TinyWorld, tmp_path: Path
) -> None:
    whole = stepper_of(tiny_world, tmp_path, **turned)
    parts = stepper_of(tiny_world, tmp_path, accumulate=5, **turned)
    for a, b in zip(steps(whole), steps(parts), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)
        assert a["accuracy"] == pytest.approx(b["accuracy"])
        assert a["gradient_norm"] == pytest.approx(b["gradient_norm"], rel=1e-3)


def test_a_share_of_the_steps_is_mirrored_and_as_many_are_rotated(
    tiny_world: TinyWorld, tmp_path: Path
) -> None:
    def turned(stepper: Stepper) -> list[TripletBatch]:
        with closing(stepper.loader.steps(0, 8)) as found:
            batch = next(next(found)[1]).batch
        return [stepper._augment(step, batch) for step in range(40)]

    plain = turned(stepper_of(tiny_world, tmp_path))
    assert all(batch is plain[0] for batch in plain)
    mirrored = turned(stepper_of(tiny_world, tmp_path, mirror=0.5))
    changed = [b for b in mirrored if not torch.equal(b.query[0], plain[0].query[0])]
    assert 10 < len(changed) < 30
    assert all(torch.equal(b.query[0], mirror(plain[0]).query[0]) for b in changed)
    rotated = turned(stepper_of(tiny_world, tmp_path, rotate=0.5))
    both = turned(stepper_of(tiny_world, tmp_path, rotate=0.5, mirror=1e-9))
    which = [
        [not torch.equal(b.query[0].float(), plain[0].query[0].float()) for b in batches]
        for batches in (rotated, both)
    ]
    assert 10 < sum(which[0]) < 30 and which[0] == which[1]


def test_only_sift_descriptors_are_mirrored(tiny_world: TinyWorld, tmp_path: Path) -> None:
    trainer = trainer_of(tiny_world, tmp_path, RECIPE)
    trainer.loader.store.provenance = {"backbone": "dinov2"}
    trainer.loader.recipe = replace(RECIPE, mirror=0.5)
    with pytest.raises(BadInput, match="(?s)of dinov2, D = 128, cannot.*mirror=0.0"):
        Stepper(trainer.head, None, trainer.loader, trainer.device, tmp_path)


def test_the_gradient_is_clipped_after_it_was_measured(
    tiny_world: TinyWorld, tmp_path: Path
) -> None:
    free = stepper_of(tiny_world, tmp_path)
    first = steps(free, 1)[0]["gradient_norm"]
    limit = first / 10
    clipped = stepper_of(tiny_world, tmp_path, clip_norm=limit)
    assert steps(clipped, 1)[0]["gradient_norm"] == pytest.approx(first)
    norms = torch.stack([p.grad.norm() for p in clipped.parameters if p.grad is not None])
    assert norms.norm().item() == pytest.approx(limit, rel=1e-3)


def scaled(stepper: Stepper, scale: float = 2.0**10) -> Stepper:
    """With the scaler of fp16, on a CPU."""
    stepper.scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=1000)
    return stepper


def test_scaling_the_loss_changes_no_step(tiny_world: TinyWorld, tmp_path: Path) -> None:
    """A power of two is exact: norm, clipping and weights are those without scaling."""
    given: dict[str, Any] = {"clip_norm": 0.05, "accumulate": 2}
    plain = stepper_of(tiny_world, tmp_path, **given)
    by_scale = scaled(stepper_of(tiny_world, tmp_path, **given))
    for a, b in zip(steps(plain), steps(by_scale), strict=True):
        assert a["loss"] == b["loss"]
        assert a["gradient_norm"] == pytest.approx(b["gradient_norm"], rel=1e-6)
        assert b["scale"] == 1024 and b["skipped"] is False
    for name, values in state(plain).items():
        assert torch.allclose(values, state(by_scale)[name], atol=1e-7), name


def overflowing(stepper: Stepper, at: int) -> Callable[[Tensor], Tensor]:
    """Makes the gradient of backward pass number `at` infinite."""
    passes: list[int] = []

    def hook(gradient: Tensor) -> Tensor:
        passes.append(1)
        return gradient * math.inf if len(passes) == at else gradient

    next(iter(stepper.parameters)).register_hook(hook)
    return hook


def test_a_gradient_that_overflows_in_fp16_leaves_its_step_out(
    tiny_world: TinyWorld, tmp_path: Path
) -> None:
    stepper = scaled(stepper_of(tiny_world, tmp_path))
    overflowing(stepper, 1)
    before = state(stepper)
    entry = steps(stepper, 1)[0]
    assert entry["skipped"] and entry["scale"] == 512
    assert all(torch.equal(v, state(stepper)[name]) for name, v in before.items())
    kept = copy.deepcopy(stepper.scaler.state_dict())
    again = scaled(stepper_of(tiny_world, tmp_path))
    again.scaler.load_state_dict(kept)
    assert again.scaler.get_scale() == 512


@pytest.mark.parametrize("scale", [None, stepping.SMALLEST_SCALE / 2])
def test_a_gradient_that_is_not_finite_spoils_no_weight(
    scale: float | None, tiny_world: TinyWorld, tmp_path: Path
) -> None:
    stepper = stepper_of(tiny_world, tmp_path)
    if scale is not None:
        scaled(stepper, scale)
    overflowing(stepper, 1)
    before = state(stepper)
    with pytest.raises(BadInput, match="gradient is not finite at step 0"):
        steps(stepper, 1)
    assert all(torch.equal(v, state(stepper)[name]) for name, v in before.items())


def test_a_batch_that_is_refused_is_saved_with_rows_and_names(
    tiny_world: TinyWorld, tmp_path: Path
) -> None:
    stepper = stepper_of(tiny_world, tmp_path)
    assert isinstance(stepper.head, AMES)
    with torch.no_grad():
        stepper.head.classifier.bias.fill_(math.nan)
    with pytest.raises(BadInput, match="not finite") as error:
        steps(stepper, 1)
    assert "bad_batch.json" in str(error.value) and "clip_norm" in str(error.value)
    saved = json.loads((tmp_path / "bad_batch.json").read_text())
    triplets = stepper.loader.triplets(0)
    for side in ("anchor", "positive", "negative"):
        assert saved[side] == getattr(triplets, side).tolist()
        names = [stepper.loader.store.names[row] for row in saved[side]]
        assert saved["names"][side] == names
    assert saved["counts"] == list(stepper.loader.counts(0))


def test_descriptors_that_are_not_finite_save_their_batch(
    tiny_world: TinyWorld, tmp_path: Path
) -> None:
    stepper = stepper_of(tiny_world, tmp_path)
    read = stepper.loader.store.read_descriptors

    def spoiled(*given: Any) -> Any:
        descriptors, valid = read(*given)
        descriptors[0, 0, 0] = math.nan
        return descriptors, valid

    stepper.loader.store.read_descriptors = spoiled  # type: ignore[method-assign]
    with pytest.raises(BadInput, match="NaN or infinity"):
        steps(stepper, 1)
    assert json.loads((tmp_path / "bad_batch.json").read_text())["step"] == 0


def test_bf16_learns_close_to_fp32(tiny_world: TinyWorld, tmp_path: Path) -> None:
    runs = [stepper_of(tiny_world, tmp_path, precision=p) for p in ("fp32", "bf16")]
    a, b = (steps(stepper)[-1] for stepper in runs)
    assert a["loss"] == pytest.approx(b["loss"], rel=0.03) and a["loss"] != b["loss"]
    assert all(p.dtype == torch.float32 for p in runs[1].parameters)


def test_every_line_says_how_fast_and_how_large(tiny_world: TinyWorld, tmp_path: Path) -> None:
    entry = steps(stepper_of(tiny_world, tmp_path), 1)[0]
    assert entry["triplets_per_second"] == pytest.approx(12 / entry["seconds"])
    assert 0 <= entry["data_wait"] <= entry["seconds"] and entry["memory_mib"] > 10
