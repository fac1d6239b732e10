"""The training loop: triplets in, a trained head and its checkpoints out.

In: a head, a training store, its labels and neighbour lists. Out: in `output_dir`, `log.jsonl` (one
line a step: loss, accuracy, learning rate, gradient norm) and a checkpoint per epoch, the last of
them also as `weights.safetensors` + `meta.json` of the folder itself. The head is trained in place.
A loss that is not finite stops the run with the batch's rows saved.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from tqdm import tqdm

from ames_lite.errors import BadInput
from ames_lite.io.checkpoint import HeadMeta, save_head
from ames_lite.io.descriptor_store import DescriptorStore
from ames_lite.models import SimilarityHead
from ames_lite.runtime import autocast
from ames_lite.training.augmentation import rotate
from ames_lite.training.dataset import TripletBatch, load_batch, sample_descriptors
from ames_lite.training.losses import pair_accuracy, pair_loss
from ames_lite.training.sampler import Triplets, TripletSampler


@dataclass(frozen=True)
class Recipe:
    """How a head is trained; the defaults are the published recipe (AMES on GLDv2)."""

    epochs: int = 10
    batch_size: int = 200  # triplets
    lr: float = 5e-4
    weight_decay: float = 5e-4
    warmup: float = 0.0  # share of all steps with a rising learning rate (ELViS: 0.1)
    max_count: int = 400  # descriptors a side, at most
    min_count: int = 10  # counts are drawn per batch from [min_count, max_count]; 0: always max
    clip_norm: float = 0.0  # largest gradient norm; 0: no clipping
    rotate: float = 0.0  # share of the batches that are rotated in descriptor space
    depth: int = 300  # neighbours that triplets are drawn from
    min_each: int = 5  # an anchor has so many of its own and of other labels among them
    precision: str = "fp32"
    seed: int = 0

    def __post_init__(self) -> None:
        fits = {
            "epochs": self.epochs >= 1,
            "lr": self.lr > 0,
            "weight_decay": self.weight_decay >= 0,
            "warmup": 0 <= self.warmup < 1,
            "max_count": self.max_count >= 1,
            "min_count": 0 <= self.min_count <= self.max_count,
            "clip_norm": self.clip_norm >= 0,
            "rotate": 0 <= self.rotate <= 1,
            "depth": self.depth >= 2,
            "min_each": self.min_each >= 1,
            "seed": self.seed >= 0,
        }
        for name, fit in fits.items():
            if not fit:
                raise BadInput(f"{name} is {getattr(self, name)}", expected=str(Recipe()))


def learning_rate(step: int, steps: int, recipe: Recipe) -> float:
    """The rate of step 0..steps-1: linear warm-up, then a cosine that reaches 0 after the last.

    >>> [round(learning_rate(s, 4, Recipe(lr=1.0)), 3) for s in range(5)]
    [1.0, 0.854, 0.5, 0.146, 0.0]
    """
    rising = round(recipe.warmup * steps)
    if step < rising:
        return recipe.lr * (step + 1) / rising
    return recipe.lr * 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))


def triplet_logits(
    head: SimilarityHead, batch: TripletBatch, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Logits [B] of the positive and [B] of the negative pairs; the query is encoded once."""
    query = head.encode(*batch.query.to(device))
    sides = (batch.positive, batch.negative)
    positive, negative = (
        head.score(query, head.encode(*side.to(device), gallery=True)) for side in sides
    )
    assert isinstance(positive, Tensor) and isinstance(negative, Tensor)
    return positive.float(), negative.float()


class Trainer:
    """Trains a head by a recipe; `fit` does all of it."""

    def __init__(
        self,
        head: SimilarityHead,
        store: DescriptorStore,
        sampler: TripletSampler,
        recipe: Recipe,
        output_dir: str | Path,
        meta: HeadMeta | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.device = torch.device(device)
        autocast(recipe.precision, self.device)  # refuses before any work
        self.head, self.store, self.sampler, self.recipe = head, store, sampler, recipe
        self.output_dir, self.meta = Path(output_dir), meta or HeadMeta()
        self.steps = recipe.epochs * len(sampler)
        self.center: Tensor | None = None
        if recipe.rotate > 0:  # else nothing is read before the first step
            self.center = sample_descriptors(store, recipe.seed).mean(0)
        self.optimizer = torch.optim.AdamW(
            head.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay
        )

    def fit(self) -> Path:
        """Train; returns the folder of the final head."""
        self.head.to(self.device).train()
        self.output_dir.mkdir(parents=True, exist_ok=True)
        step = 0
        with (self.output_dir / "log.jsonl").open("w", encoding="utf-8") as log:
            for epoch in range(self.recipe.epochs):
                name = f"epoch {epoch + 1}/{self.recipe.epochs}"
                bar = tqdm(self.sampler.epoch(epoch), total=len(self.sampler), desc=name)
                seen: list[dict[str, Any]] = []
                for triplets in bar:
                    seen.append(self._step(step, triplets))
                    log.write(json.dumps({"epoch": epoch, **seen[-1]}) + "\n")
                    recent = seen[-50:]
                    bar.set_postfix(
                        loss=f"{np.mean([s['loss'] for s in recent]):.3f}",
                        accuracy=f"{np.mean([s['accuracy'] for s in recent]):.3f}",
                    )
                    step += 1
                log.flush()
                self._save(self.output_dir / f"epoch_{epoch + 1:03d}", seen)
        self.head.eval()
        save_head(self.output_dir, self.head, self.meta)
        return self.output_dir

    def _step(self, step: int, triplets: Triplets) -> dict[str, Any]:
        began = time.perf_counter()
        rate = learning_rate(step, self.steps, self.recipe)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        batch = self._batch(step, triplets)
        with autocast(self.recipe.precision, self.device):
            positive, negative = triplet_logits(self.head, batch, self.device)
        loss = pair_loss(positive, negative)
        if not bool(loss.isfinite()):
            self._refuse_loss(step, triplets)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        limit = self.recipe.clip_norm or math.inf
        norm = nn.utils.clip_grad_norm_(self.head.parameters(), limit)
        self.optimizer.step()
        return {
            "step": step,
            "loss": loss.item(),
            "accuracy": pair_accuracy(positive, negative),
            "lr": rate,
            "gradient_norm": norm.item(),
            "seconds": time.perf_counter() - began,
        }

    def _batch(self, step: int, triplets: Triplets) -> TripletBatch:
        batch = load_batch(self.store, triplets, *self._counts(step))
        generator = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + step)
        turn = float(torch.rand(1, generator=generator)) < self.recipe.rotate
        if turn and self.center is not None:
            batch = rotate(batch, self.center, generator)
        return batch

    def _counts(self, step: int) -> tuple[int, int]:
        """Descriptors a side of this step: drawn independently for query and gallery."""
        low, high = self.recipe.min_count, min(self.recipe.max_count, self.store.max_count)
        if low == 0 or low >= high:
            return high, high
        rng = np.random.default_rng((self.recipe.seed, step, 1))
        query, gallery = rng.integers(low, high + 1, 2)
        return int(query), int(gallery)

    def _refuse_loss(self, step: int, triplets: Triplets) -> None:
        path = self.output_dir / "bad_batch.json"
        rows = {name: getattr(triplets, name).tolist() for name in triplets._fields}
        path.write_text(json.dumps({"step": step, **rows}))
        raise BadInput(
            f"the loss is not finite at step {step}",
            where=path,
            expected="a finite loss; the rows of the batch are in that file",
            remedy="lower lr=, set clip_norm=1, or train with precision=fp32",
        )

    def _save(self, folder: Path, seen: list[dict[str, Any]]) -> None:
        summary = {key: float(np.mean([s[key] for s in seen])) for key in ("loss", "accuracy")}
        provenance = {**self.meta.provenance, "recipe": asdict(self.recipe), **summary}
        self.meta = HeadMeta(self.meta.desc_name, self.meta.lamb, self.meta.temp, provenance)
        save_head(folder, self.head, self.meta)


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
