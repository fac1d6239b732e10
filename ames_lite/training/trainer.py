"""Training of a head on triplets, in place. `output_dir` gets, beside the files of every run
(`run.py`), `epochs.jsonl`, a head per epoch, the last of them also as `weights.safetensors` +
`meta.json`, and the best by validation in `best/`.
"""

import logging
import math
from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ames_lite.errors import require
from ames_lite.evaluation.data import EvaluationData
from ames_lite.evaluation.passes import pairs_to_score
from ames_lite.evaluation.tuning import best, grid
from ames_lite.io.checkpoint import HeadMeta, save_head
from ames_lite.io.digest import array_digest, names_digest
from ames_lite.models import HEADS, SimilarityHead
from ames_lite.processes import ALONE, Processes
from ames_lite.reranking.scorer import PairScorer, ScoringOptions
from ames_lite.runtime import autocast
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.training.dataset import BatchLoader
from ames_lite.training.model import check_teacher
from ames_lite.training.recipe import Recipe
from ames_lite.training.run import Entry, TrainingRun
from ames_lite.training.sampler import TripletSampler
from ames_lite.training.state import Watch, write_curve
from ames_lite.training.stepping import Stepper

logger = logging.getLogger(__name__)
# of validation, between epochs: the epoch, λ and γ are chosen by it, so it is optimistic; results
# are reported on another set
LAMBS = (0.0, 0.25, 0.5, 0.75)
TEMPS = (0.02, 0.1, 0.5, 2.0)


@dataclass(frozen=True, eq=False)
class Validation:
    """The main metric of a set's protocol at the best λ and γ of a grid. option: the set's name."""

    data: EvaluationData
    option: str
    num_rerank: int
    options: ScoringOptions

    @property
    def metric(self) -> str:
        return self.data.protocol.main

    def __call__(self, head: SimilarityHead) -> dict[str, Any]:
        """The metric as `val`, its λ and γ, and that of the global ranking as `val_global`."""
        data = self.data
        num = min(self.num_rerank, data.neighbors.ids.shape[1])
        pairs = pairs_to_score(data, num)
        scores, cost = PairScorer(head).score(*data.stores, *pairs, self.options)
        row = best(grid(data, scores, num_reranks=[num], lambs=LAMBS, temps=TEMPS), self.metric)
        return {
            "val": row.metrics[self.metric],
            "val_global": data.evaluate().metrics[self.metric],
            "lamb": row.lamb,
            "temp": row.temp,
            "val_seconds": cost.seconds_scoring,
        }


def best_epoch(curve: list[dict[str, Any]]) -> dict[str, Any]:
    """The first line with the highest `val`. Raises BadInput for none."""
    counted = [line for line in curve if not math.isnan(line.get("val", math.nan))]
    require(counted, "no epoch was validated", "a curve with a figure `val`")
    return max(counted, key=lambda line: float(line["val"]))


class Trainer(TrainingRun):
    """Trains a head by a recipe; `fit` does all of it. identity: flat, what else it depends on."""

    def __init__(
        self,
        head: SimilarityHead,
        store: DescriptorStore,
        sampler: TripletSampler,
        recipe: Recipe,
        output_dir: str | Path,
        meta: HeadMeta | None = None,
        device: torch.device | str = "cpu",
        *,
        teacher: SimilarityHead | None = None,
        validation: Validation | None = None,
        processes: Processes = ALONE,
        identity: Mapping[str, Any] | None = None,
        save_every: int = 200,
        prefetch: int = 2,
        tensorboard: bool = False,
    ) -> None:
        sizes = recipe.epochs, len(sampler)
        super().__init__(output_dir, *sizes, save_every, processes, tensorboard)
        require(prefetch >= 0, f"prefetch is {prefetch}", "at least 0 parts")
        self.device = torch.device(device)
        autocast(recipe.precision, self.device)  # refuses before any work
        self.head, self.store, self.sampler, self.recipe = head, store, sampler, recipe
        self.meta, self.validation, self.teacher = meta or HeadMeta(), validation, teacher
        check_teacher(teacher, head, recipe)
        self.identity = {**self._own_identity(), **(identity or {})}
        pin, whole = self.device.type == "cuda", teacher is not None
        self.loader = BatchLoader(store, sampler, recipe, processes, prefetch, pin, whole)
        self.stepper = step = Stepper(head, teacher, self.loader, self.device, self.output_dir)
        self.stateful = {"state": head, "optim": step.optimizer, "scaler": step.scaler}
        self.stateful["sampler"] = sampler

    def fit(self) -> Path:
        """Train, or resume training; returns the folder of the final head."""
        with self.hold():
            self.resume()
            self.train()
            self.head.eval()
            if self.processes.first:
                save_head(self.output_dir, self.head, self._meta(self.curve[-1]))
            self.processes.wait()  # for the first
        return self.output_dir

    def _own_identity(self) -> dict[str, Any]:
        name = next(name for name, head in HEADS.items() if type(self.head) is head)
        taught = {} if self.teacher is None else self.teacher.state_dict()
        return {
            "model": name,
            **{f"model.{key}": value for key, value in self.head.arguments.items()},
            **asdict(self.recipe),
            "teacher": names_digest(array_digest(v.cpu().numpy()) for v in taught.values()),
            "images": names_digest(self.store.names),
            "store": self.store.fingerprint(),
            **{f"of descriptors: {key}": v for key, v in self.store.provenance.items()},
        }

    def run_steps(self, first: int, stop: int) -> Generator[tuple[Entry, list[float]], None, None]:
        self.head.train()
        self.stepper.start_clock()
        with closing(self.loader.steps(first, stop)) as steps:
            for step, parts in steps:
                entry = {"epoch": len(self.curve)} | self.stepper.step(step, self.steps, parts)
                yield entry, [entry["loss"], entry["accuracy"]]

    def finish_epoch(self, watch: Watch) -> None:
        """Write the epoch's head, also as the best where it is, and its line of the curve."""
        loss, accuracy = (float(np.mean(column)) for column in zip(*self.seen, strict=True))
        line = {"epoch": len(self.curve) + 1, "loss": loss, "accuracy": accuracy}
        self.seen = []
        if not self.processes.first:
            self.curve.append(line)
            return
        if self.validation is not None:
            line |= self.validation(self.head)
            said = f"{self.validation.metric} {line['val']:.4f} on {self.validation.option}"
            logger.info("epoch %d: %s (global %.4f)", line["epoch"], said, line["val_global"])
        self.curve.append(line)
        save_head(self.output_dir / f"epoch_{len(self.curve):03d}", self.head, self._meta(line))
        if self.validation is not None and best_epoch(self.curve) is line:
            save_head(self.output_dir / "best", self.head, self._meta(line))
        write_curve(self.output_dir, self.curve)

    def _meta(self, line: Mapping[str, Any]) -> HeadMeta:
        figures = {key: line[key] for key in ("loss", "accuracy")}
        provenance = {**self.meta.provenance, "recipe": asdict(self.recipe), **figures}
        if self.validation is None:
            return HeadMeta(self.meta.desc_name, self.meta.lamb, self.meta.temp, provenance)
        found = {"epoch": line["epoch"], self.validation.metric: line["val"]}
        provenance |= {"tuned_on": self.validation.option, "validation": found}
        return HeadMeta(self.meta.desc_name, line["lamb"], line["temp"], provenance)
