"""The training loop of the detector: tokens in, a detector, its log and its states out.

Out, in `output_dir`: `detector.pt` (the best by mAP) with `meta.json`, `last.pt` (the newest, and
all that a run needs to go on), `log.jsonl` (one line a step, one an epoch). Every file appears
whole. A run that was cut off anywhere goes on from `last.pt` and, on a CPU, ends with the same
weights as an unbroken one.

The convention to know: nothing is drawn as the loop goes along. What is random depends on the seed,
the epoch and the step alone, so `last.pt` needs no state of a generator.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from ames_lite.errors import BadInput
from ames_lite.extraction.backbones.detector import save_detector
from ames_lite.extraction.detector_training.data import (
    LabelledImages,
    Rows,
    epoch_batches,
    num_batches,
)
from ames_lite.extraction.detector_training.evaluation import baseline_maps, detector_maps
from ames_lite.extraction.detector_training.features import FrozenFeatures
from ames_lite.extraction.detector_training.model import (
    LOSSES,
    build_criterion,
    describe_tokens,
    new_detector,
    pool,
)
from ames_lite.extraction.detector_training.state import interruptible, read_last, write_last
from ames_lite.io.provenance import check_provenance
from ames_lite.training.trainer import Recipe, learning_rate

logger = logging.getLogger(__name__)
EVALUATION_BATCH = 16  # images, for the sake of memory


@dataclass(frozen=True)
class DetectorRecipe:
    """How a detector is trained."""

    epochs: int = 20
    batch_size: int = 64  # images, in groups of one label
    images_per_label: int = 4  # of a group
    loss: str = "classification"  # cosine softmax over all labels; or triplet, hardest in batch
    margin: float = 0.1  # of either loss, in cosines
    scale: float = 20.0  # of the cosine softmax
    learn_scale: bool = False  # scale is where it starts
    dim: int = 0  # width of the descriptors; 0: that of the features
    lr: float = 1e-3
    weight_decay: float = 1e-4
    warmup: float = 0.05  # share of all steps with a rising learning rate
    clip_norm: float = 0.0  # largest gradient norm; 0: no clipping
    seed: int = 0

    def __post_init__(self) -> None:
        fits = {
            "epochs": self.epochs >= 1,
            "images_per_label": self.images_per_label >= (2 if self.loss == "triplet" else 1),
            "batch_size": self.batch_size >= 2 * self.images_per_label,
            "loss": self.loss in LOSSES,
            "margin": 0 <= self.margin < 2,
            "scale": self.scale > 0,
            "dim": self.dim >= 0,
            "lr": self.lr > 0,
            "weight_decay": self.weight_decay >= 0,
            "warmup": 0 <= self.warmup < 1,
            "clip_norm": self.clip_norm >= 0,
            "seed": self.seed >= 0,
        }
        for name, fit in fits.items():
            if not fit:
                raise BadInput(
                    f"{name} is {getattr(self, name)!r}",
                    expected="batch_size for two labels or more (2 · images_per_label), triplets "
                    f"of at least 2 images_per_label, loss {' or '.join(LOSSES)}; {self!r}",
                )


class DetectorTrainer:
    """Trains a detector by a recipe on tokens; `fit` does all of it.

    features: rows 0 .. len(train) - 1 are those to train on, the rest those to evaluate by. made:
    provenance of the backbone; data: what the images are; both flat, for meta.json. save_every:
    steps between states; an epoch's end and an interruption (SIGINT) are states too.
    """

    def __init__(
        self,
        features: FrozenFeatures,
        train: LabelledImages,
        val: LabelledImages,
        recipe: DetectorRecipe,
        output_dir: str | Path,
        *,
        made: Mapping[str, Any],
        data: Mapping[str, Any],
        device: torch.device | str = "cpu",
        save_every: int = 200,
    ) -> None:
        if save_every < 1:
            raise BadInput(f"save_every is {save_every}", expected="at least 1 step")
        self.features, self.train, self.val, self.recipe = features, train, val, recipe
        self.folder, self.device, self.save_every = (
            Path(output_dir),
            torch.device(device),
            save_every,
        )
        self.made = check_provenance(made)
        self.data = {**data, "train_digest": train.digest, "val_digest": val.digest}
        self.labels = np.unique(train.labels, return_inverse=True)[1].astype(np.int64)
        self.per_epoch = num_batches(self.labels, recipe.batch_size, recipe.images_per_label)
        self.epoch, self.step = 0, 0  # finished ones
        self.curve: list[dict[str, float]] = []
        self.baselines: dict[str, float] = {}
        self.seen: list[list[float]] = []  # loss and accuracy of this epoch's steps

    def fit(self) -> Path:
        """Train, or go on training; returns the path of the best detector."""
        self.folder.mkdir(parents=True, exist_ok=True)
        last = self.folder / "last.pt"
        state = read_last(last, self._identity()) if last.is_file() else None
        if state is not None and state["epoch"] == self.recipe.epochs:
            logger.info("all %d epochs are done: %s", self.recipe.epochs, last)
            return self.folder / "detector.pt"
        kept = self.features.fill()
        logger.info(
            "%d of %d images have their features in memory", kept, len(self.train) + len(self.val)
        )
        self._build()
        if state is None:
            self._begin()
        else:
            self._continue(state)
        while self.epoch < self.recipe.epochs:
            self._train_epoch()
            self._save()
            self._evaluate()
            self._save()
        return self.folder / "detector.pt"

    def _build(self) -> None:
        recipe, generator = self.recipe, torch.Generator().manual_seed(self.recipe.seed)
        dim_in = self.features.backbone.dim
        self.detector = new_detector(dim_in, recipe.dim or dim_in, generator).to(self.device)
        self.criterion = build_criterion(
            recipe.loss,
            int(self.labels.max()) + 1,
            recipe.dim or dim_in,
            generator,
            scale=recipe.scale,
            margin=recipe.margin,
            learn_scale=recipe.learn_scale,
        ).to(self.device)
        learned = [*self.detector.parameters(), *self.criterion.parameters()]
        self.parameters = [p for p in learned if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=recipe.lr, weight_decay=recipe.weight_decay
        )

    def _begin(self) -> None:
        self.baselines = baseline_maps(self._tokens_to_evaluate(), self.val.labels)
        (self.folder / "log.jsonl").write_text(json.dumps({"epoch": 0, **self.baselines}) + "\n")
        said = ", ".join(f"{name} {value:.4f}" for name, value in self.baselines.items())
        logger.info("before training: %s", said)
        self._save()

    def _continue(self, state: Mapping[str, Any]) -> None:
        self.detector.load_state_dict(state["state"])
        self.criterion.load_state_dict(state["criterion"])
        self.optimizer.load_state_dict(state["optim"])
        self.epoch, self.step = state["epoch"], state["step"]
        self.curve, self.baselines = state["curve"], state["baselines"]
        self.seen = state["seen"]
        with (self.folder / "log.jsonl").open("r+b") as log:
            log.truncate(state["log_bytes"])  # steps after the state are done again
        logger.info("continuing after step %d of %d", self.step, self._steps)

    @property
    def _steps(self) -> int:
        return self.recipe.epochs * self.per_epoch

    def _identity(self) -> dict[str, Any]:
        """What a state must have been trained by and on to be gone on from."""
        return {**asdict(self.recipe), **self.data, **{f"of {k}": v for k, v in self.made.items()}}

    def _train_epoch(self) -> None:
        recipe, done = self.recipe, self.step - self.epoch * self.per_epoch
        batches = epoch_batches(
            self.labels, recipe.batch_size, recipe.images_per_label, recipe.seed, self.epoch
        )[done:]
        name = f"epoch {self.epoch + 1}/{recipe.epochs}"
        self.detector.train()
        with (
            (self.folder / "log.jsonl").open("a", encoding="utf-8") as log,
            interruptible() as interrupted,
            closing(self.features.batches(batches)) as found,
            tqdm(total=self.per_epoch, initial=done, desc=name, unit="batch") as bar,
        ):
            try:
                for rows, tokens in zip(batches, found, strict=True):
                    entry = self._step(rows, tokens)
                    log.write(json.dumps(entry) + "\n")
                    self.seen.append([entry["loss"], entry["accuracy"], float(len(rows))])
                    self.step += 1
                    bar.update()
                    bar.set_postfix(loss=f"{entry['loss']:.3f}", refresh=False)
                    if interrupted():
                        break
                    if self.step % self.save_every == 0:
                        log.flush()
                        self._save()
            except BadInput:  # an interruption ends worker processes too: no fault of the images
                if not interrupted():
                    raise
            if interrupted():
                log.flush()
                self._save()
                raise KeyboardInterrupt

    def _step(self, rows: Rows, tokens: Sequence[torch.Tensor]) -> dict[str, Any]:
        given = self.recipe
        schedule = Recipe(lr=given.lr, warmup=given.warmup, warmup_form="from_zero")
        rate = learning_rate(self.step, self._steps, schedule)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        joined = torch.cat(list(tokens)).to(self.device)
        descriptors, weights = describe_tokens(self.detector, joined)
        vectors = pool(descriptors, weights, [len(t) for t in tokens])
        labels = torch.from_numpy(self.labels[rows]).to(self.device)
        loss, accuracy = self.criterion(vectors, labels)
        if not bool(loss.isfinite()):
            self._refuse_loss(rows)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        limit = self.recipe.clip_norm or math.inf
        norm = nn.utils.clip_grad_norm_(self.parameters, limit)
        self.optimizer.step()
        figures = {"loss": loss.item(), "accuracy": accuracy.item(), "lr": rate}
        return {"epoch": self.epoch + 1, "step": self.step, **figures, "gradient_norm": norm.item()}

    def _refuse_loss(self, rows: Rows) -> None:
        raise BadInput(
            f"the loss is not finite at step {self.step}",
            where=", ".join(self.train.names[row] for row in rows[:3]) + " and the batch's others",
            expected="a finite loss",
            remedy="lower lr=, or set clip_norm=1; the run goes on from its last state",
        )

    def _tokens_to_evaluate(self) -> Any:
        rows = np.arange(len(self.train), len(self.train) + len(self.val))
        cuts = range(EVALUATION_BATCH, len(rows), EVALUATION_BATCH)
        return self.features.batches(np.split(rows, list(cuts)))

    def _evaluate(self) -> None:
        """The epoch's line in log and curve; the detector and meta.json, where it is the best."""
        maps = detector_maps(
            self.detector, self._tokens_to_evaluate(), self.val.labels, self.device
        )
        seen = np.array(self.seen)
        loss, accuracy = (np.average(seen[:, column], weights=seen[:, 2]) for column in (0, 1))
        self.epoch, self.seen = self.epoch + 1, []
        line = {"epoch": self.epoch, "loss": float(loss), "accuracy": float(accuracy), **maps}
        self.curve.append(line)
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps({**line, **self.baselines}) + "\n")
        norm = self.baselines["map_feature_norm"]
        logger.info(
            "epoch %d: loss %.4f, mAP %.4f (its weights on the backbone's descriptors %.4f), which "
            "%s the feature norm's %.4f",
            *(self.epoch, loss, maps["map"], maps["map_on_backbone"]),
            *("beats" if maps["map"] > norm else "does not beat", norm),
        )
        save_detector(
            self.folder / "detector.pt",
            self.detector if self._best()["epoch"] == self.epoch else None,
            self._meta(),
        )

    def _best(self) -> dict[str, float]:
        return max(self.curve, key=lambda line: line["map"])  # the first of equals

    def _meta(self) -> dict[str, Any]:
        best = self._best()
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

    def _save(self) -> None:
        log = self.folder / "log.jsonl"
        write_last(
            self.folder / "last.pt",
            self._identity(),
            {
                "state": self.detector.state_dict(),
                "criterion": self.criterion.state_dict(),
                "optim": self.optimizer.state_dict(),
                "epoch": self.epoch,
                "step": self.step,
                "seen": self.seen,
                "curve": self.curve,
                "baselines": self.baselines,
                "log_bytes": log.stat().st_size,
            },
        )
