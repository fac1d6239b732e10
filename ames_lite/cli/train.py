"""`python scripts/train.py`: a training set's files in, a trained head out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ames_lite.cli.compose import Config
from ames_lite.cli.shell import command, dataset_files, run_dir
from ames_lite.errors import BadInput, ConfigError
from ames_lite.io.checkpoint import HeadMeta
from ames_lite.io.descriptor_store import DescriptorStore
from ames_lite.io.digest import names_digest
from ames_lite.io.image_lists import read_image_list
from ames_lite.io.layout import DatasetFiles, find_all
from ames_lite.io.neighbor_lists import read_neighbors
from ames_lite.io.published_store import open_store
from ames_lite.models import AMES, HEADS, build_head
from ames_lite.models.initialization import start_from_correspondences, start_from_matches
from ames_lite.runtime import pick_device, seed_everything
from ames_lite.training.dataset import sample_descriptors
from ames_lite.training.sampler import TripletSampler
from ames_lite.training.trainer import Recipe, Trainer, labels_of_store

STARTS: dict[str, Callable[[AMES, Tensor, torch.Generator], None] | None] = {
    "random": None,
    "correspondences": start_from_correspondences,
    "matches": start_from_matches,
}


def main(overrides: Sequence[str] | None = None) -> int:
    """The command."""
    return command("train", run, overrides)


def run(config: Config) -> Path:
    """Train as configured; returns the run directory."""
    recipe = Recipe(**{key: config[key] for key in Recipe.__dataclass_fields__})
    device = pick_device(config["device"])
    start = _start(config)
    files = dataset_files(config)
    store, sampler = open_training_set(files, config["neighbors"], recipe)
    generator = seed_everything(recipe.seed)
    head = build_head(config["model"]["name"], **config["model"]["arguments"], dim_in=store.dim)
    if start is not None and isinstance(head, AMES):
        start(head, sample_descriptors(store, recipe.seed), generator)
    meta = HeadMeta(desc_name=config["desc_name"], provenance=_provenance(config, store))
    folder = run_dir(config, "train")
    print(
        f"{len(sampler.anchors)} of {len(store)} images are anchors; {len(sampler)} steps of "
        f"{recipe.batch_size} triplets an epoch, {recipe.epochs} epochs → {folder}"
    )
    return Trainer(head, store, sampler, recipe, folder, meta, device).fit()


def _start(config: Config) -> Callable[[AMES, Tensor, torch.Generator], None] | None:
    """How the head starts, before training. Raises ConfigError where it has no such start."""
    name, start = config["model"]["name"], config["start"]
    if start not in STARTS:
        raise ConfigError(f"start={start}", expected=f"one of {', '.join(STARTS)}")
    if name in HEADS and HEADS[name].marker is None:
        trained = [other for other in HEADS if HEADS[other].marker is not None]
        what = f"model={name} has no parameters to train"
        raise ConfigError(what, expected=f"model= one of {', '.join(trained)}")
    if STARTS[start] is not None and name != "ames":
        what = f"start={start} is a start of the head 'ames', model is '{name}'"
        raise ConfigError(what, expected="start=random, or model=ames")
    return STARTS[start]


def open_training_set(
    files: DatasetFiles, neighbors: str, recipe: Recipe
) -> tuple[DescriptorStore, TripletSampler]:
    """The store and the sampler of a training set; one message names all that is missing."""
    found = find_all(
        {
            "list": lambda: files.image_list("train"),
            "store": lambda: files.local("train"),
            "neighbors": lambda: files.neighbors(neighbors),
        }
    )
    images = read_image_list(found["list"])
    store = open_store(found["store"], images.names, images.sizes)
    if images.labels is None:
        raise BadInput(
            "the training list has no labels", where=found["list"], expected="path,label lines"
        )
    labels = labels_of_store(store, images.names, images.labels)
    lists = read_neighbors(found["neighbors"], images.names, images.names)
    return store, TripletSampler(
        lists,
        labels,
        batch_size=recipe.batch_size,
        depth=recipe.depth,
        min_each=recipe.min_each,
        seed=recipe.seed,
    )


def _provenance(config: Config, store: DescriptorStore) -> dict[str, Any]:
    return {
        "dataset": config["dataset"]["option"],
        "images": len(store),
        "names": names_digest(store.names),
        "start": config["start"],
        "descriptors": store.provenance,
    }
