"""Triplets a second of the project's training step, against the dense one in the same run.

Input: `StepSpeed`. Output: JSON-able cells, one for a recipe at a precision on a device. What is
timed is `Stepper.step`: loss, gradient, its norm, AdamW, everything but reading; its batches are
noise in memory, without padding, float16 as they come from a store. referee.py has the other side,
in float32. First of all the losses and gradients of both are compared; only then is anything timed.

A cell: work ("step"), device, recipe, precision, triplets, descriptors, dim_in; `difference` (of
losses; of gradients, its length / the referee's), its tolerance; `seconds` of every round,
triplets_per_second, `ratio` (seconds of the referee / of the project: higher is better), repeats;
`peak_memory_mib` of either, each in a process of its own. Of a binary head the gradient of the
projection is not compared, where rounding is divided by σ = 1e-6.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ames_lite.models import AMES
from ames_lite.processes import ALONE
from ames_lite.runtime import autocast
from ames_lite.training.dataset import BatchLoader, Part, Side, TripletBatch
from ames_lite.training.recipe import Recipe
from ames_lite.training.stepping import Stepper
from benchmarks.own_process import peak_of
from benchmarks.referees.step import DenseStep
from benchmarks.subjects import DENSE, build_variant
from benchmarks.timing import interleaved, middle

PROJECT = "project"
TOLERANCE = {"fp32": (1e-4, 1e-3), "bf16": (2e-2, 0.1), "fp16": (2e-2, 0.1)}  # loss, gradient
STEPS = 1_000_000  # of the run that the steps are the first of
log = logging.getLogger(__name__)


class Kind(NamedTuple):
    """What a recipe trains: a head of `variants()`, with or without an fp teacher."""

    head: str
    taught: bool


RECIPES = {
    "ames_fp": Kind("ames", False),
    "ames_binary": Kind("ames_binary", False),
    "ames_binary_distilled": Kind("ames_binary", True),
}


@dataclass(frozen=True)
class StepSpeed:
    """What to measure."""

    recipes: Sequence[str]  # of RECIPES
    precisions: Sequence[str]
    triplets: int = 10  # of a step
    descriptors: int = 400  # a side
    dim_in: int = 768
    repeats: int = 5
    seed: int = 0
    budget: float = 240.0  # seconds, without the memory figures; three rounds are run anyway


class Work:
    """One recipe at one precision, ready to step."""

    def __init__(self, options: StepSpeed, recipe: str, precision: str, device: str) -> None:
        kind, num = RECIPES[recipe], options.descriptors
        self.device = torch.device(device)
        self.head, self.teacher = _heads(options, kind, self.device)
        self.batch, self.counts = _noise(options, self.device), (num, num)
        self.recipe = Recipe(
            batch_size=options.triplets, max_count=num, min_count=0, precision=precision
        )

    def project(self) -> Callable[[], object]:
        """A step of the project."""
        store, triplets = SimpleNamespace(packed=False), len(self.batch.query.descriptors)
        loader = SimpleNamespace(
            store=store,
            recipe=self.recipe,
            processes=ALONE,
            num_triplets=lambda step: triplets,
        )
        folder = Path(tempfile.gettempdir())
        given = cast(BatchLoader, loader)
        self.stepper = Stepper(self.head, self.teacher, given, self.device, folder)
        part = Part(0, self.batch, self.counts, 1.0, True)
        return lambda: self.stepper.step(0, STEPS, iter([part]))

    def dense(self) -> Callable[[], object]:
        """A step of the referee, of the same weights."""
        recipe = self.recipe
        self.referee = DenseStep(
            self.head, self.teacher, recipe.beta, recipe.lr, recipe.weight_decay
        )
        return lambda: self.referee(self.batch, self.counts)


def _heads(options: StepSpeed, kind: Kind, device: torch.device) -> tuple[AMES, AMES | None]:
    """Weights of a seed: the head in training, its teacher in eval."""
    head = build_variant(kind.head, options.dim_in, options.seed, device)
    teacher = None
    if kind.taught:
        teacher = cast(AMES, build_variant("ames", options.dim_in, options.seed + 1, device))
    return cast(AMES, head.train().requires_grad_(True)), teacher


def _noise(options: StepSpeed, device: torch.device) -> TripletBatch:
    shape = (options.triplets, options.descriptors, options.dim_in)
    generator = torch.Generator().manual_seed(options.seed)
    sides = (torch.randn(shape, generator=generator) for _ in range(3))
    return TripletBatch(*(Side(F.normalize(x, dim=-1).half().to(device), None) for x in sides))


def measure_steps(options: StepSpeed, device: torch.device) -> list[dict[str, Any]]:
    """The cells of a device. Raises RuntimeError where loss or gradient is not the referee's."""
    began, cells = time.perf_counter(), []
    for number, recipe in enumerate(options.recipes, start=1):
        until = began + options.budget * number / len(options.recipes)
        cells += _measure(options, recipe, device, until)
    for cell in cells:
        cell["peak_memory_mib"] = {
            what: peak_of(
                f"{__name__}:ready",
                **{key: cell[key] for key in ("recipe", "precision", "device")},
                what=what,
                options=asdict(options),
            )
            for what in (PROJECT, DENSE)
        }
    return cells


def _measure(
    options: StepSpeed, recipe: str, device: torch.device, until: float
) -> list[dict[str, Any]]:
    """The cells of a recipe: its precisions take turns with the one referee."""
    works = {name: Work(options, recipe, name, str(device)) for name in options.precisions}
    exact = next(iter(works.values()))
    steps = {name: work.project() for name, work in works.items()}
    dense = exact.dense()
    cells = [_compare(options, recipe, name, works[name], exact) for name in works]
    seconds = interleaved({DENSE: dense, **steps}, options.repeats, device, until)
    for cell in cells:
        own = {PROJECT: seconds[cell["precision"]], DENSE: seconds[DENSE]}
        medians = {name: middle(values) for name, values in own.items()}
        cell |= {
            "repeats": len(own[DENSE]),
            "seconds": own,
            "triplets_per_second": {n: options.triplets / s for n, s in medians.items()},
            "ratio": medians[DENSE] / medians[PROJECT],
        }
    log.info("timed %s, %d rounds", recipe, cells[0]["repeats"])
    return cells


def _compare(
    options: StepSpeed, recipe: str, precision: str, work: Work, exact: Work
) -> dict[str, Any]:
    """The cell, with how far loss and gradient are from the referee's."""
    loss, gradient = _learned(exact.referee.model, exact.referee.loss(exact.batch, exact.counts))
    with autocast(precision, work.device):
        result = work.stepper.model(work.batch, work.counts)
    own_loss, own = _learned(work.head, result.loss)
    found = {
        "loss": abs(own_loss - loss),
        "gradient": float((own - gradient).norm() / gradient.norm()),
    }
    allowed = dict(zip(found, TOLERANCE[precision], strict=True))
    for name, far in found.items():
        if not far <= allowed[name]:
            raise RuntimeError(
                f"the {name} of {recipe} in {precision} differs from the dense referee's by "
                f"{far:.2e}; at most {allowed[name]:g} was expected: nothing was timed"
            )
    return {
        "work": "step",
        "device": str(work.device),
        "recipe": recipe,
        "precision": precision,
        "triplets": options.triplets,
        "descriptors": options.descriptors,
        "dim_in": options.dim_in,
        "difference": found,
        "tolerance": allowed,
    }


def _learned(model: nn.Module, loss: Tensor) -> tuple[float, Tensor]:
    """A loss and all of its gradient, float64, in the order of names."""
    named = {n: p for n, p in model.named_parameters() if n != "remap_local.0.W"}
    gradient = torch.autograd.grad(loss, [named[name] for name in sorted(named)])
    return float(loss.detach()), torch.cat([g.double().flatten() for g in gradient])


def ready(
    options: dict[str, Any], recipe: str, precision: str, device: str, what: str
) -> Callable[[], object]:
    """A step for `own_process`; a small one was made before."""
    given = StepSpeed(**options)
    small = {**options, "triplets": 1, "descriptors": 3}
    for sizes in (StepSpeed(**small), given):
        work = Work(sizes, recipe, precision, device)
        step = work.project() if what == PROJECT else work.dense()
        if sizes is not given:
            step()
    return step
