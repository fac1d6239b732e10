"""The learning rate and the counts of descriptors are those of the published code."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ames_lite.training.loader import BatchLoader
from ames_lite.training.recipe import Recipe, learning_rate


def rates_of_torch(steps: int, recipe: Recipe) -> list[float]:
    """What torch's own schedulers give, step after step."""
    optimizer = torch.optim.AdamW([torch.zeros(1, requires_grad=True)], lr=recipe.lr)
    rising = int(recipe.warmup * steps)
    scheduler: Any = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps - rising)
    if rising:
        linear = torch.optim.lr_scheduler.LinearLR(optimizer, 1 / 3, total_iters=rising)
        scheduler = torch.optim.lr_scheduler.SequentialLR(optimizer, [linear, scheduler], [rising])
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.37])
@pytest.mark.parametrize("steps", [7, 100, 1234])
@pytest.mark.filterwarnings("ignore:The epoch parameter in `scheduler.step")
def test_the_schedule_is_that_of_torch_step_by_step(warmup: float, steps: int) -> None:
    recipe = Recipe(warmup=warmup)
    rates = [learning_rate(step, steps, recipe) for step in range(steps)]
    assert rates == pytest.approx(rates_of_torch(steps, recipe), rel=1e-9, abs=1e-15)


def test_a_warm_up_by_equal_steps_reaches_the_rate_at_its_last() -> None:
    recipe = Recipe(lr=1.0, warmup=0.1, warmup_divisor=0.0)
    rates = [learning_rate(step, 100, recipe) for step in range(101)]
    assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert all(a >= b for a, b in zip(rates[10:], rates[11:], strict=False))
    assert rates[100] == pytest.approx(0.0)


def counts(recipe: Recipe, stored: int, steps: int = 5000) -> list[tuple[int, int]]:
    loader = BatchLoader(SimpleNamespace(max_count=stored), None, recipe)  # type: ignore[arg-type]
    return [loader.counts(step) for step in range(steps)]


def test_counts_are_drawn_from_10_to_399_for_either_side_alone() -> None:
    drawn = counts(Recipe(), 700)
    for side in zip(*drawn, strict=True):
        assert (min(side), max(side)) == (10, 399)
    assert len({a == b for a, b in drawn}) == 2


def test_counts_are_at_most_what_the_store_has() -> None:
    drawn = counts(Recipe(), 50, 200)
    assert max(max(pair) for pair in drawn) == 50
    assert counts(Recipe(min_count=0), 50, 3) == [(50, 50)] * 3
    assert counts(Recipe(min_count=400), 700, 3) == [(400, 400)] * 3
