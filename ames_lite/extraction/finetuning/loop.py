"""Fine-tuning of a backbone by a recipe. `output_dir` gets, beside the files of every run
(`training/run.py`), `epochs.jsonl` and `best/`: the backbone of the best mAP@10 on the held-out
images, as weights= takes it, with `meta.json`.
"""

import logging
import os
import shutil
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ames_lite.errors import require
from ames_lite.evaluation.metrics import average_precision_at
from ames_lite.extraction.backbones.map_backbone import MapBackbone
from ames_lite.extraction.detector_training.data import FrozenFeatures, LabelledImages, Rows
from ames_lite.extraction.detector_training.model import leave_one_out_map
from ames_lite.extraction.finetuning.data import RandomView, class_batches, num_class_batches
from ames_lite.extraction.finetuning.model import Loss, Trained, Weights, merged
from ames_lite.io.json_file import write_json_file
from ames_lite.io.provenance import check_provenance
from ames_lite.io.resizing import Prepared
from ames_lite.io.writing import explain_write_errors
from ames_lite.processes import ALONE, Processes
from ames_lite.runtime import autocast
from ames_lite.training.recipe import FinetuneRecipe, Recipe, learning_rate
from ames_lite.training.run import Entry, TrainingRun
from ames_lite.training.state import Watch, memory, write_curve
from ames_lite.training.stepping import update_weights

logger = logging.getLogger(__name__)
METRIC = "map@10"  # of every held-out image among the others
EVALUATION_BATCH = 32  # images
BEST, META = "best", "meta.json"


class Finetuning(TrainingRun):
    """Trains the network of a backbone; `fit` does all of it. data: flat, for meta.json."""

    own = (*TrainingRun.own, "before")

    def __init__(
        self,
        network: Trained,
        criterion: Loss,
        backbone: MapBackbone,
        train: LabelledImages,
        val: LabelledImages,
        recipe: FinetuneRecipe,
        output_dir: str | Path,
        *,
        data: Mapping[str, Any],
        processes: Processes = ALONE,
        cache_gib: float = 4.0,  # memory for features of frozen blocks
        workers: int = 1,  # processes that decode; above 1, call from under a main guard
        save_every: int = 200,  # steps
    ) -> None:
        self.labels = np.unique(train.labels, return_inverse=True)[1].astype(np.int64)
        per_epoch = num_class_batches(self.labels, recipe.batch_size)
        super().__init__(output_dir, recipe.epochs, per_epoch, save_every, processes)
        self.backbone, self.train_set, self.val, self.recipe = backbone, train, val, recipe
        self.device, self.workers, self.criterion = backbone.device, workers, criterion
        self.before = 0.0  # the metric without fine-tuning
        self.made = check_provenance(backbone.provenance)
        self.data = {**data, "train_digest": train.digest, "val_digest": val.digest}
        of_backbone = {f"of {key}": value for key, value in self.made.items()}
        self.identity = {**asdict(recipe), **self.data, **of_backbone}
        self.trained = network.to(self.device).eval()
        self._build()
        paths = [*([] if recipe.augment else train.paths), *val.paths]
        self.features = FrozenFeatures(
            backbone, paths, cache_gib=cache_gib, workers=workers, compute=self._frozen_each
        )

    def _build(self) -> None:
        recipe = self.recipe
        self.model: nn.Module = self.trained
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        rate, decay = recipe.lr, recipe.weight_decay
        self.optimizer = torch.optim.AdamW(self.parameters, lr=rate, weight_decay=decay)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=recipe.precision == "fp16")
        self.stateful = {"state": Weights(self.trained), "optim": self.optimizer}
        self.stateful["scaler"] = self.scaler
        if self.processes.size > 1:  # gradients are averaged
            self.model = DistributedDataParallel(self.model, broadcast_buffers=False)

    def fit(self) -> Path:
        """Train, or resume training; returns the folder of the best backbone."""
        with self.hold():
            resumed = self.resume()
            if self.finished:
                logger.info("nothing is left to train: %s", self.output_dir)
                return self.output_dir / BEST
            kept = self.features.fill()
            logger.info("features of frozen blocks of %d images are in memory", kept)
            if not resumed:
                self.before = self.processes.from_first(self._evaluate())
                logger.info("before training: %s %.4f", METRIC, self.before)
                self.save()
            self.train()
        return self.output_dir / BEST

    @property
    def finished(self) -> bool:
        since = len(self.curve) - self.best(METRIC)["epoch"] if self.curve else 0
        return super().finished or 0 < self.recipe.patience <= since

    def run_steps(self, first: int, stop: int) -> Generator[tuple[Entry, list[float]], None, None]:
        epoch, given = len(self.curve), self.recipe
        sizes, skipped = (given.batch_size, given.images_per_label), first - epoch * self.per_epoch
        batches = class_batches(self.labels, *sizes, given.seed, epoch)[skipped:]
        with closing(self._inputs(batches, first)) as found:
            for rows, hidden in zip(batches, self.heeding(found), strict=False):
                entry = self._step(rows, hidden)
                yield entry, [entry["loss"], entry["accuracy"]]

    def _inputs(self, batches: Sequence[Rows], first: int) -> Generator[Tensor, None, None]:
        """What the trained part takes, of this process' images of every batch."""
        own = [rows[self.processes.share(len(rows))] for rows in batches]
        if not self.recipe.augment:
            for found in self.features.batches(own):
                yield torch.stack(found).to(self.device)
            return
        view = RandomView(self.recipe.image_size, self.backbone.prepare.resize, self.recipe.seed)
        jobs = []
        for step, (rows, mine) in enumerate(zip(batches, own, strict=True), first):
            start = self.processes.share(len(rows)).start
            paths = [self.train_set.paths[row] for row in mine]
            jobs.append([(path, (step, at)) for at, path in enumerate(paths, start)])
        for prepared in view.batches(jobs, self.workers):
            yield self._frozen(prepared)

    def _frozen(self, batch: Sequence[Prepared]) -> Tensor:
        (pixels,) = self.backbone.normalized(batch)
        with autocast(self.recipe.precision, self.device):
            return self.trained.frozen(pixels)

    def _frozen_each(self, batch: Sequence[Prepared]) -> list[Tensor]:
        return [one.cpu().clone() for one in self._frozen(batch)]

    def _step(self, rows: Rows, hidden: Tensor) -> Entry:
        given = self.recipe
        schedule = Recipe(lr=given.lr, warmup=given.warmup, warmup_form="from_zero")
        rate = learning_rate(self.step, self.steps, schedule)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        with autocast(given.precision, self.device):
            own = self.model(hidden)
        vectors = self._of_all(own, len(rows))
        labels = torch.from_numpy(self.labels[rows]).to(self.device)
        loss = self.criterion(vectors, labels)
        self._require_finite(bool(loss.isfinite()), "loss", rows)
        # each process has the gradient of its own images, and the mean over processes is taken
        self.scaler.scale(loss * self.processes.size).backward()
        sizes = self.optimizer, self.scaler, self.parameters
        norm, fine = update_weights(*sizes, given.clip_norm)
        self._require_finite(fine, "gradient", rows)
        return {
            "epoch": len(self.curve) + 1,
            "step": self.step,
            "loss": loss.item(),
            "accuracy": _accuracy(vectors.detach(), labels),
            "lr": rate,
            "gradient_norm": norm,
            **memory(self.device),
        }

    def _of_all(self, own: Tensor, num: int) -> Tensor:
        """The vectors of all processes [num, V]; gradients pass by this process' alone."""
        if self.processes.size == 1:
            return own
        share = self.processes.share(num)
        room = np.zeros((num, own.shape[1]), np.float32)
        room[share] = own.detach().cpu().numpy()
        found = torch.from_numpy(self.processes.total(room)).to(self.device)
        return torch.cat([found[: share.start], own, found[share.stop :]])

    def _require_finite(self, fine: bool, what: str, rows: Rows) -> None:
        first = ", ".join(self.train_set.names[row] for row in rows[:3])
        said, where = f"the {what} is not finite at step {self.step}", f"the batch of {first} …"
        remedy = "lower lr=, set clip_norm=1, or train with precision=fp32"
        remedy += "; the run resumes from its last checkpoint"
        require(fine, said, "finite numbers", where=where, remedy=remedy)

    def _evaluate(self) -> float:
        """The metric on the held-out images; by the first process alone."""
        if not self.processes.first:
            return 0.0
        rows = len(self.features) - len(self.val) + np.arange(len(self.val))
        batches = np.split(rows, list(range(EVALUATION_BATCH, len(rows), EVALUATION_BATCH)))
        found = []
        with torch.no_grad(), autocast(self.recipe.precision, self.device):
            for hidden in self.features.batches(batches):
                found.append(self.trained(torch.stack(hidden).to(self.device)).cpu())
        metric = partial(average_precision_at, k=10)
        return leave_one_out_map(torch.cat(found), self.val.labels, metric)

    def finish_epoch(self, watch: Watch) -> None:
        """The epoch's line in log and curve, and the backbone where it is the best."""
        seen, self.seen = np.array(self.seen), []
        line = {"epoch": len(self.curve) + 1}
        line |= dict(zip(("loss", "accuracy"), seen.mean(axis=0).tolist(), strict=True))
        line[METRIC] = self.processes.from_first(self._evaluate())
        self.curve.append(line)
        if not self.processes.first:
            return
        watch.line(line)
        said = (line["epoch"], line["loss"], METRIC, line[METRIC], self.before)
        logger.info("epoch %d: loss %.4f, %s %.4f (before training %.4f)", *said)
        if self.best(METRIC) is line:
            self._save_best()
        write_curve(self.output_dir, self.curve)

    def _save_best(self) -> None:
        """Write the folder of the backbone, then put it in place."""
        new, folder = self.output_dir / ".best", self.output_dir / BEST
        with explain_write_errors(folder):
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir()
            self.backbone.save(merged(self.trained.network), new)
            write_json_file(new / META, self._meta(), indent=2)
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(new, folder)

    def _meta(self) -> dict[str, Any]:
        best = self.best(METRIC)
        return {
            "backbone": self.made,
            "data": self.data,
            "recipe": asdict(self.recipe),
            "best_epoch": best["epoch"],
            METRIC: best[METRIC],
            f"{METRIC} before": self.before,
            "curve": self.curve,
        }


def _accuracy(vectors: Tensor, labels: Tensor) -> float:
    """The share of images whose nearest other image of the batch has their label."""
    sims = (vectors @ vectors.T).fill_diagonal_(-2)
    return (labels[sims.argmax(1)] == labels).float().mean().item()
