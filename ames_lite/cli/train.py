"""`python scripts/train.py`: a training set's files in, a trained head out.

On several devices or machines: `torchrun --nproc-per-node=<devices> scripts/train.py …`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ames_lite.cli.compose import Config
from ames_lite.cli.continuing import check_resume, training_dir
from ames_lite.cli.scoring_run import settled
from ames_lite.cli.shell import command, dataset_files
from ames_lite.cli.train_parts import (
    ValidationSet,
    check_start,
    open_teacher,
    open_validation,
    start_head,
    validation_set,
)
from ames_lite.cli.training_folder import prepare_training_folder
from ames_lite.datasets.image_lists import read_families, read_image_list
from ames_lite.datasets.layout import DatasetFiles, find_all
from ames_lite.errors import BadInput, ConfigError
from ames_lite.io.checkpoint import HeadMeta
from ames_lite.io.digest import file_digest, names_digest
from ames_lite.models import build_head
from ames_lite.processes import Processes, process_group
from ames_lite.runtime import seed_everything
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.neighbor_lists import open_neighbor_rows
from ames_lite.stores.published.store import open_store
from ames_lite.stores.row_layout import FAILED
from ames_lite.training.recipe import Recipe
from ames_lite.training.sampler import TripletSampler
from ames_lite.training.trainer import Trainer

logger = logging.getLogger(__name__)

IDENTITY = ("desc_name", "start", "binarization", "val_dataset")  # beside recipe, head and data
BATCH_UNITS = ("triplets", "images")


def main(overrides: Sequence[str] | None = None) -> int:
    """The command."""
    return command("train", run, overrides)


def run(config: Config) -> Path:
    """Train as configured, or go on training; returns the run directory."""
    recipe = recipe_of(config)
    check_resume(config)
    check_start(config)
    with process_group(config["device"]) as (processes, device):
        config = settled(config, device, processes)
        recipe = replace(recipe, precision=config["precision"])
        if not processes.first:
            logging.getLogger("ames_lite").setLevel(logging.WARNING)
        return _run(config, recipe, device, processes)


def _run(config: Config, recipe: Recipe, device: torch.device, processes: Processes) -> Path:
    if processes.size == 1:  # else extraction would make a shard in each of them
        prepare_training_folder(config)
    files, val = dataset_files(config), validation_set(config)
    found = _find(files, config["neighbors"], val)
    store, sampler = open_training_set(found, recipe)
    teacher = open_teacher(config, store)
    validation = open_validation(config, val, device, store) if processes.first else None
    generator = seed_everything(recipe.seed)
    head = build_head(config["model"]["name"], **config["model"]["arguments"], dim_in=store.dim)
    start_head(config, head, store, generator)
    folder = processes.from_first(training_dir(config) if processes.first else None)
    trainer = Trainer(
        head,
        store,
        sampler,
        recipe,
        folder,
        HeadMeta(desc_name=config["desc_name"], provenance=_provenance(config, store, found)),
        device,
        teacher=teacher,
        validation=validation,
        processes=processes,
        identity={key: config[key] for key in IDENTITY},
        save_every=config["save_every"],
        prefetch=config["prefetch"],
        tensorboard=config["tensorboard"],
    )
    if processes.first:
        print(
            f"{len(sampler.anchors)} of {len(store)} images are anchors ({sampler.excluded}); "
            f"{len(sampler)} steps of {recipe.batch_size} triplets "
            f"({3 * recipe.batch_size} images) an epoch, {recipe.epochs} epochs → {folder}"
        )
    return trainer.fit()


def recipe_of(config: Config) -> Recipe:
    """The recipe of a configuration; batch_size in triplets. Raises BadInput, ConfigError."""
    given = {key: config[key] for key in Recipe.__dataclass_fields__}
    return Recipe(**{**given, "batch_size": _triplets(config["batch_size"], config["batch_unit"])})


def _triplets(size: int, unit: str) -> int:
    """The triplets of a batch size in triplets or in images. Raises ConfigError."""
    if unit not in BATCH_UNITS:
        raise ConfigError(f"batch_unit={unit}", expected=" or ".join(BATCH_UNITS))
    if unit == "triplets":
        return size
    if size < 3 or size % 3:
        raise ConfigError(
            f"batch_size={size} batch_unit=images: triplets of three images do not fill it",
            expected="a multiple of 3, such as 600 (200 triplets)",
            remedy=f"batch_size={max(1, size // 3) * 3} batch_unit=images, or batch_unit=triplets",
        )
    return size // 3


def _find(files: DatasetFiles, neighbors: str, val: ValidationSet | None) -> dict[str, Path]:
    """All files by name; one message names all that is missing."""
    finders = {
        "list": lambda: files.image_list("train"),
        "store": lambda: files.local("train"),
        "neighbors": lambda: files.neighbors(neighbors, of_train=True),
    }
    families = files.families()
    if families is not None:
        finders["families"] = lambda: families
    if val is not None:
        finders["validation"] = val.find
    return find_all(finders)


def open_training_set(
    found: Mapping[str, Path], recipe: Recipe
) -> tuple[DescriptorStore, TripletSampler]:
    """The store and the sampler of a training set, from its list, store and neighbors.

    With families, where it has them.
    """
    images = read_image_list(found["list"])
    store = open_store(found["store"], images.names, images.sizes)
    if images.labels is None:
        raise BadInput(
            "the training list has no labels", where=found["list"], expected="path,label lines"
        )
    if tuple(store.names) != tuple(images.names):
        counts = f"{len(images.names)} names and the store {len(store)}"
        what = f"the image list has {counts}, or in another order"
        raise BadInput(what, where=store.path, expected="a store extracted from this very list")
    labels = images.labels
    families = read_families(found["families"], labels) if "families" in found else None
    lists = open_neighbor_rows(found["neighbors"], images.names)
    sampler = TripletSampler(
        lists,
        labels,
        batch_size=recipe.batch_size,
        depth=recipe.depth,
        min_each=recipe.min_each,
        seed=recipe.seed,
        usable=usable_images(store),
        families=families,
    )
    return store, sampler


def usable_images(store: DescriptorStore) -> npt.NDArray[np.bool_]:
    """[N], True for images with descriptors; the others are said."""
    usable = store.has_descriptors
    left_out = np.flatnonzero(~usable)
    if len(left_out):
        failed = int((store.status == FAILED).sum())
        first = ", ".join(store.names[row] for row in left_out[:3])
        more = ", …" if len(left_out) > 3 else ""
        text = (
            "%s: %d of %d images are left out of training: %d failed in extraction, "
            "nothing was found in %d (%s%s)"
        )
        counts = (len(left_out), len(store), failed, len(left_out) - failed)
        logger.warning(text, store.path, *counts, first, more)
    return usable


def _provenance(
    config: Config, store: DescriptorStore, found: Mapping[str, Path]
) -> dict[str, Any]:
    made = {
        "dataset": config["dataset"]["option"],
        "images": len(store),
        "names": names_digest(store.names),
        "start": config["start"],
        "binarization": config["binarization"],
        "descriptors": store.provenance,
    }
    if "families" in found:
        made["families"] = file_digest(found["families"])
    if config["teacher"] is not None:
        made["teacher"] = str(config["teacher"])
    return made
