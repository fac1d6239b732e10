"""The detector, trained on labelled images.

Input: a frozen backbone with feature maps, images with integer labels to train on and others to
evaluate by. Output: `detector.pt` (for backbone.arguments.detector=) and `meta.json`, `last.pt` and
`log.jsonl`, see `ames_lite.extraction.detector_training.loop`. A run that was cut off goes on where
it stopped.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ames_lite.extraction.backbones.interface import Backbone
from ames_lite.extraction.detector_training.data import (
    LabelledImages,
    drop_single,
    hold_out,
    refuse_missing,
    refuse_shared,
)
from ames_lite.extraction.detector_training.features import FrozenFeatures, require_maps
from ames_lite.extraction.detector_training.loop import DetectorRecipe, DetectorTrainer

logger = logging.getLogger(__name__)


def train_detector(
    backbone: Backbone,
    images: LabelledImages,
    output_dir: str | Path,
    recipe: DetectorRecipe,
    *,
    val: LabelledImages | None = None,
    val_share: float = 0.2,
    data: Mapping[str, Any] | None = None,
    device: torch.device | str = "cpu",
    cache_gib: float = 4.0,
    workers: int = 1,
    save_every: int = 200,
) -> Path:
    """Train, or go on with the run of output_dir; returns the path of `detector.pt`.

    val: images to evaluate by, None: those of val_share of the labels are held out. Images whose
    label has no other are left out of training (their number is said), and only distract in val.
    data: what meta.json says of the images, flat. workers: processes that decode (above 1 they are
    spawned: call from under a main guard). Raises BadInput and MissingFile before any work.
    """
    require_maps(backbone)
    train, single = drop_single(images)
    if single:
        logger.info("%d images have a label of their own and are left out of training", single)
    if val is None:
        train, val = hold_out(train, val_share, recipe.seed)
    else:
        drop_single(val)  # refuses what cannot be evaluated by
    refuse_shared(train, val)
    for part in (train, val):
        refuse_missing(part)
    features = FrozenFeatures(
        backbone, [*train.paths, *val.paths], cache_gib=cache_gib, workers=workers
    )
    facts = {
        **(data or {}),
        "train_images": len(train),
        "train_labels": len(set(train.labels.tolist())),
        "single_images": single,
        "val_images": len(val),
    }
    trainer = DetectorTrainer(
        features,
        train,
        val,
        recipe,
        output_dir,
        made=backbone.provenance,
        data=facts,
        device=device,
        save_every=save_every,
    )
    return trainer.fit()
