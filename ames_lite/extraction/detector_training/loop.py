"""Training of a detector on tokens of a frozen backbone. `output_dir` gets, beside the files of
every run (`training/run.py`), `detector.pt` (the best by mAP) and `meta.json`. `last.pt` is a
detector that loads.
"""

import logging
import math
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ames_lite.errors import BadInput
from ames_lite.extraction.backbones.detector import save_detector
from ames_lite.extraction.backbones.interface import Backbone
from ames_lite.extraction.detector_training import data as sets
from ames_lite.extraction.detector_training import model
from ames_lite.io.names import check_present, line_of
from ames_lite.io.provenance import check_provenance
from ames_lite.training.recipe import DetectorRecipe, Recipe, learning_rate
from ames_lite.training.run import Entry, TrainingRun
from ames_lite.training.state import Watch

logger = logging.getLogger(__name__)
EVALUATION_BATCH = 16  # images, for the sake of memory


class DetectorTrainer(TrainingRun):
    """Trains a detector; `fit` does all. features: of train, then val; data: for meta.json."""

    own = (*TrainingRun.own, "baselines")

    def __init__(
        self,
        features: sets.FrozenFeatures,
        train: sets.LabelledImages,
        val: sets.LabelledImages,
        recipe: DetectorRecipe,
        output_dir: str | Path,
        *,
        data: Mapping[str, Any],
        device: torch.device | str,
        save_every: int,
    ) -> None:
        self.labels = np.unique(train.labels, return_inverse=True)[1].astype(np.int64)
        per_epoch = sets.num_batches(self.labels, recipe.batch_size, recipe.images_per_label)
        super().__init__(output_dir, recipe.epochs, per_epoch, save_every)
        self.features, self.train_set, self.val, self.recipe = features, train, val, recipe
        self.device = torch.device(device)
        self.made = check_provenance(features.backbone.provenance)
        self.data = {**data, "train_digest": train.digest, "val_digest": val.digest}
        of_backbone = {f"of {key}": value for key, value in self.made.items()}
        self.identity = {**asdict(recipe), **self.data, **of_backbone}
        self.baselines: dict[str, float] = {}
        self._build()

    def fit(self) -> Path:
        """Train, or resume training; returns the path of the best detector."""
        with self.hold():
            resumed = self.resume()
            if self.finished:
                logger.info("all %d epochs are done: %s", self.epochs, self.output_dir)
            else:
                kept = self.features.fill()
                of = len(self.train_set) + len(self.val)
                logger.info("%d of %d images have their features in memory", kept, of)
                if not resumed:
                    self._measure_baselines()
                self.train()
        return self.output_dir / "detector.pt"

    def _build(self) -> None:
        recipe, generator = self.recipe, torch.Generator().manual_seed(self.recipe.seed)
        dim_in = self.features.backbone.dim
        dim = recipe.dim or dim_in
        self.detector = model.new_detector(dim_in, dim, generator).to(self.device)
        self.criterion: nn.Module = model.HardTriplet(recipe.margin)
        if recipe.loss == "classification":
            self.criterion = model.CosineSoftmax(int(self.labels.max()) + 1, dim, generator, recipe)
        self.criterion = self.criterion.to(self.device)
        learned = [*self.detector.parameters(), *self.criterion.parameters()]
        self.parameters = [p for p in learned if p.requires_grad]
        rate, decay = recipe.lr, recipe.weight_decay
        self.optimizer = torch.optim.AdamW(self.parameters, lr=rate, weight_decay=decay)
        self.stateful = {"state": self.detector, "criterion": self.criterion}
        self.stateful["optim"] = self.optimizer

    def _measure_baselines(self) -> None:
        ways, tokens = model.baseline_ways, self._tokens_to_evaluate()
        self.baselines = model.retrieval_maps(tokens, self.val.labels, ways)
        with closing(Watch(self.output_dir, 0)) as watch:
            watch.line({"epoch": 0, **self.baselines})
        said = ", ".join(f"{name} {value:.4f}" for name, value in self.baselines.items())
        logger.info("before training: %s", said)
        self.save()

    def run_steps(self, first: int, stop: int) -> Generator[tuple[Entry, list[float]], None, None]:
        """The steps of an epoch: their log lines; loss, accuracy and number of images."""
        given, epoch = self.recipe, len(self.curve)
        sizes, skipped = (given.batch_size, given.images_per_label), first - epoch * self.per_epoch
        batches = sets.epoch_batches(self.labels, *sizes, given.seed, epoch)[skipped:]
        self.detector.train()
        with closing(self.features.batches(batches)) as found:
            for rows, tokens in zip(batches, self.heeding(found), strict=False):
                entry = self._step(rows, tokens)
                yield entry, [entry["loss"], entry["accuracy"], float(len(rows))]

    def _step(self, rows: sets.Rows, tokens: Sequence[torch.Tensor]) -> dict[str, Any]:
        given = self.recipe
        schedule = Recipe(lr=given.lr, warmup=given.warmup, warmup_form="from_zero")
        rate = learning_rate(self.step, self.steps, schedule)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        joined = torch.cat(list(tokens)).to(self.device)
        descriptors, weights = model.describe_tokens(self.detector, joined)
        vectors = model.pool(descriptors, weights, [len(t) for t in tokens])
        labels = torch.from_numpy(self.labels[rows]).to(self.device)
        loss, accuracy = self.criterion(vectors, labels)
        if not bool(loss.isfinite()):
            first = ", ".join(self.train_set.names[row] for row in rows[:3])
            what, where = f"the loss is not finite at step {self.step}", f"the batch of {first} …"
            remedy = "lower lr=, or set clip_norm=1; the run resumes from its last checkpoint"
            raise BadInput(what, where=where, expected="a finite loss", remedy=remedy)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.parameters, given.clip_norm or math.inf)
        self.optimizer.step()
        return {
            "epoch": len(self.curve) + 1,
            "step": self.step,
            "loss": loss.item(),
            "accuracy": accuracy.item(),
            "lr": rate,
            "gradient_norm": norm.item(),
        }

    def _tokens_to_evaluate(self) -> Any:
        rows = len(self.train_set) + np.arange(len(self.val))
        cuts = range(EVALUATION_BATCH, len(rows), EVALUATION_BATCH)
        return self.features.batches(np.split(rows, list(cuts)))

    def finish_epoch(self, watch: Watch) -> None:
        """The epoch's line in log and curve, meta.json, and the detector where it is the best."""
        ways = partial(model.detector_ways, self.detector.eval(), self.device)
        maps = model.retrieval_maps(self._tokens_to_evaluate(), self.val.labels, ways)
        seen, self.seen = np.array(self.seen), []
        loss, accuracy = (np.average(seen[:, column], weights=seen[:, 2]) for column in (0, 1))
        epoch = len(self.curve) + 1
        line = {"epoch": epoch, "loss": float(loss), "accuracy": float(accuracy), **maps}
        self.curve.append(line)
        watch.line({**line, **self.baselines})
        norm = self.baselines["map_feature_norm"]
        logger.info(
            "epoch %d: loss %.4f, mAP %.4f (its weights on the backbone's descriptors %.4f), which "
            "%s the feature norm's %.4f",
            *(epoch, loss, maps["map"], maps["map_on_backbone"]),
            *("beats" if maps["map"] > norm else "does not beat", norm),
        )
        best = self.detector if self.best("map")["epoch"] == epoch else None
        save_detector(self.output_dir / "detector.pt", best, self._meta())

    def _meta(self) -> dict[str, Any]:
        best = self.best("map")
        return {
            "backbone": self.made,
            "data": self.data,
            "recipe": asdict(self.recipe),
            "best_epoch": best["epoch"],
            "map": best["map"],
            **self.baselines,
            "beats_feature_norm": best["map"] > self.baselines["map_feature_norm"],
            "curve": self.curve,
        }


def train_detector(
    backbone: Backbone,
    images: sets.LabelledImages,
    output_dir: str | Path,
    recipe: DetectorRecipe,
    *,
    val: sets.LabelledImages | None = None,  # None: val_share of the labels is held out
    val_share: float = 0.2,
    data: Mapping[str, Any] | None = None,  # what meta.json says of the images, flat
    device: torch.device | str = "cpu",
    cache_gib: float = 4.0,  # memory for features
    workers: int = 1,  # processes that decode; above 1, call from under a main guard
    save_every: int = 200,  # steps
) -> Path:
    """Train, or resume the run of output_dir; returns the path of `detector.pt`. BadInput,
    MissingFile before any work. Images that share their label with no other only distract in val.
    """
    sets.require_maps(backbone)
    train, single = sets.drop_single(images)
    if single:
        logger.info("%d images share their label with no other: left out of training", single)
    if val is None:
        train, val = sets.hold_out(train, val_share, recipe.seed)
    else:
        sets.drop_single(val)  # refuses what cannot be evaluated by
    sets.refuse_shared(train, val)
    for part in (train, val):
        check_present(part.root, part.names, line_of(part.source, "image"))
    paths = [*train.paths, *val.paths]
    features = sets.FrozenFeatures(backbone, paths, cache_gib=cache_gib, workers=workers)
    facts = {
        **(data or {}),
        "train_images": len(train),
        "train_labels": len(set(train.labels.tolist())),
        "single_images": single,
        "val_images": len(val),
    }
    how: dict[str, Any] = {"data": facts, "device": device, "save_every": save_every}
    return DetectorTrainer(features, train, val, recipe, output_dir, **how).fit()
