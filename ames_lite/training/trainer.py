"""The training loop: triplets in, a trained head and its checkpoints out.

In: a head, a training store, its labels and neighbour lists; a teacher and a validation set where
there are any. Out: in `output_dir`, `log.jsonl` (one line a step), `epochs.jsonl`, a checkpoint per
epoch, the last of them also as `weights.safetensors` + `meta.json` of the folder itself, the best
by validation in `best/`, and `last.pt`, all that a run needs to go on. The head is trained in
place. A run that was cut off anywhere goes on from `last.pt` and, in float32 on a CPU, ends with
the weights of an unbroken one to the bit.

The convention to know: nothing is drawn as the loop goes along. What is random depends on the seed,
the epoch and the step alone, so `last.pt` needs no state of a generator.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ames_lite.errors import BadInput
from ames_lite.io.checkpoint import HeadMeta, save_head
from ames_lite.io.digest import array_digest, names_digest
from ames_lite.models import HEADS, SimilarityHead
from ames_lite.processes import ALONE, Processes
from ames_lite.runtime import autocast
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.training.interruption import Stopped, interruptible
from ames_lite.training.loader import BatchLoader
from ames_lite.training.model import check_teacher
from ames_lite.training.model import triplet_logits as triplet_logits  # its users' door
from ames_lite.training.recipe import Recipe as Recipe  # its users' door
from ames_lite.training.recipe import learning_rate as learning_rate
from ames_lite.training.sampler import TripletSampler
from ames_lite.training.state import NAME, held, read_state, write_curve, write_state
from ames_lite.training.stepping import Stepper
from ames_lite.training.validation import Validation, best_epoch
from ames_lite.training.watch import Bar, Watch

logger = logging.getLogger(__name__)


class Trainer:
    """Trains a head by a recipe; `fit` does all of it.

    meta: what the head is used with. identity: flat, what the run was made by beyond recipe, head
    and data. save_every: steps between states; an epoch's end and a signal (SIGINT, SIGTERM) are
    states too. prefetch: parts of batches that are read ahead.
    """

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
        if save_every < 1 or prefetch < 0:
            what = f"save_every is {save_every} and prefetch {prefetch}"
            raise BadInput(what, expected="at least 1 step; at least 0 parts")
        self.device = torch.device(device)
        autocast(recipe.precision, self.device)  # refuses before any work
        self.head, self.store, self.sampler, self.recipe = head, store, sampler, recipe
        self.output_dir, self.meta = Path(output_dir), meta or HeadMeta()
        self.validation, self.tensorboard = validation, tensorboard
        self.processes = processes
        self.teacher = teacher
        if teacher is not None:
            check_teacher(teacher, head, recipe.beta, recipe.soft_targets)
        elif recipe.soft_targets > 0:
            what = f"soft_targets is {recipe.soft_targets}, and there is no teacher"
            raise BadInput(what, expected="a teacher, or soft_targets=0.0")
        self.identity = {**self._own_identity(), **(identity or {})}
        self.save_every, self.steps = save_every, recipe.epochs * len(sampler)
        self.step = 0  # finished ones
        self.seen: list[list[float]] = []  # loss and accuracy of this epoch's steps
        self.curve: list[dict[str, Any]] = []  # of every finished epoch
        self.loader = BatchLoader(
            *(store, sampler, recipe, self.processes),
            prefetch=prefetch,
            pin=self.device.type == "cuda",
            whole=teacher is not None,
        )
        self.stepper = Stepper(*(head, teacher, recipe, self.loader, self.device, self.output_dir))

    def fit(self) -> Path:
        """Train, or go on training; returns the folder of the final head."""
        with self._held():
            self.head.to(self.device)
            self._begin()
            self.stepper.wrap()
            self._train()
            self.head.eval()
            if self.processes.first:
                save_head(self.output_dir, self.head, self._meta(self.curve[-1]))
            self.processes.wait()  # for the first
        return self.output_dir

    def _held(self) -> AbstractContextManager[None]:
        if not self.processes.first:
            return nullcontext()
        self.output_dir.mkdir(parents=True, exist_ok=True)
        return held(self.output_dir)

    def _train(self) -> None:
        watch = Watch(
            self.output_dir, self.step, writes=self.processes.first, tensorboard=self.tensorboard
        )
        with closing(watch), interruptible() as signal:
            while len(self.curve) < self.recipe.epochs:
                self._train_epoch(watch, signal)
                self._save(watch)
                self._finish_epoch()
                self._save(watch)

    def _begin(self) -> None:
        """From the state of an earlier run where there is one, else anew."""
        last, state = self.output_dir / NAME, None
        if self.processes.first and last.is_file():
            state = read_state(last, self.identity)
        state = self.processes.from_first(state)
        if state is None:
            if self.processes.first:
                (self.output_dir / "log.jsonl").write_text("")
            return
        self.stepper.load(state)
        self.step = self.sampler.resume(state["sampler"])
        self.seen, self.curve = state["seen"], state["curve"]
        if self.processes.first:
            with (self.output_dir / "log.jsonl").open("r+b") as log:
                log.truncate(state["log_bytes"])  # steps after the state are done again
            logger.info("continuing after step %d of %d", self.step, self.steps)

    def _save(self, watch: Watch) -> None:
        """The state as it is between two steps."""
        if not self.processes.first:
            return
        state = {
            **self.stepper.state(),
            "sampler": self.sampler.state(self.step),
            "step": self.step,
            "seen": self.seen,
            "curve": self.curve,
            "log_bytes": watch.size,
        }
        write_state(self.output_dir / NAME, self.identity, state)

    def _own_identity(self) -> dict[str, Any]:
        """What a state must have been trained by and on to be gone on from."""
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

    def _train_epoch(self, watch: Watch, signal: Callable[[], int]) -> None:
        """The steps that are left of the running epoch. Raises Stopped at a signal."""
        epoch, size = len(self.curve), len(self.sampler)
        name, done = f"epoch {epoch + 1}/{self.recipe.epochs}", self.step - epoch * size
        self.head.train()
        self.stepper.start_clock()
        with (
            closing(self.loader.steps(self.step, (epoch + 1) * size)) as steps,
            watch.bar(name, size, done) as bar,
        ):
            for step, parts in steps:
                self._note(
                    watch, bar, {"epoch": epoch, **self.stepper.step(step, self.steps, parts)}
                )
                stop = self._agreed(signal())
                if stop:
                    self._save(watch)
                    raise self._stopped(stop)
                if self.step % self.save_every == 0:
                    self._save(watch)

    def _note(self, watch: Watch, bar: Bar, entry: dict[str, Any]) -> None:
        """A step is done."""
        watch.line(entry)
        self.seen.append([entry["loss"], entry["accuracy"]])
        self.step += 1
        bar.update(self.seen, entry["triplets_per_second"])

    def _agreed(self, number: int) -> int:
        """The signal that came to any of the processes; all of them stop at the same step."""
        if self.processes.size == 1:
            return number
        total, count = self.processes.total(np.array([number, number > 0])).tolist()
        return total // count if count else 0

    def _stopped(self, number: int) -> Stopped:
        where = f"{self.output_dir}, step {self.step} of {self.steps}"
        return Stopped(number, f"; the same command goes on from here: {where}")

    def _finish_epoch(self) -> None:
        """The epoch's head, its line of the curve, and the best head where it is the best."""
        loss, accuracy = (float(np.mean(column)) for column in zip(*self.seen, strict=True))
        line = {"epoch": len(self.curve) + 1, "loss": loss, "accuracy": accuracy}
        self.seen = []
        if not self.processes.first:
            self.curve.append(line)
            return
        if self.validation is not None:
            line |= self.validation(self.head)
            logger.info(
                "epoch %d: %s %.4f on %s (global %.4f)",
                *(line["epoch"], self.validation.metric, line["val"], self.validation.option),
                line["val_global"],
            )
        self.curve.append(line)
        save_head(self.output_dir / f"epoch_{len(self.curve):03d}", self.head, self._meta(line))
        if self.validation is not None and best_epoch(self.curve) is line:
            save_head(self.output_dir / "best", self.head, self._meta(line))
        write_curve(self.output_dir, self.curve)

    def _meta(self, line: Mapping[str, Any]) -> HeadMeta:
        """What the head of an epoch is used with, and how it was trained."""
        figures = {key: line[key] for key in ("loss", "accuracy")}
        provenance = {**self.meta.provenance, "recipe": asdict(self.recipe), **figures}
        if self.validation is None:
            return HeadMeta(self.meta.desc_name, self.meta.lamb, self.meta.temp, provenance)
        found = {"epoch": line["epoch"], self.validation.metric: line["val"]}
        provenance |= {"tuned_on": self.validation.option, "validation": found}
        return HeadMeta(self.meta.desc_name, line["lamb"], line["temp"], provenance)


def labels_of_store(
    store: DescriptorStore, names: tuple[str, ...], labels: npt.NDArray[np.integer]
) -> npt.NDArray[np.integer]:
    """The labels of an image list, checked to be those of a store's rows. Raises BadInput."""
    if tuple(store.names) != tuple(names):
        raise BadInput(
            f"the image list has {len(names)} names and the store {len(store)}, or in another "
            "order",
            where=store.path,
            expected="a store extracted from this very list",
        )
    return labels
