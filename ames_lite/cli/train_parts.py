"""What a training is put together from: how a head starts, its teacher, its validation set."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch

from ames_lite.cli.compose import Config, compose
from ames_lite.cli.own_folder import OPTION
from ames_lite.cli.shell import dataset_files, protocol_of
from ames_lite.errors import ConfigError, MissingFile
from ames_lite.evaluation import evaluator
from ames_lite.io.checkpoint import load_head
from ames_lite.io.layout import DatasetFiles
from ames_lite.models import HEADS, SimilarityHead
from ames_lite.reranking.scorer import ScoringOptions
from ames_lite.training.initialization import INITIALIZATIONS
from ames_lite.training.validation import Validation


def check_start(config: Config) -> None:
    """Raises ConfigError where a head has no such initialization, before any file is opened."""
    name, start = config["model"]["name"], config["start"]
    if name not in INITIALIZATIONS:
        known = ", ".join(INITIALIZATIONS)
        untrained = f"model={name} has no parameters to train"
        what = untrained if name in HEADS else f"there is no head '{name}'"
        raise ConfigError(what, expected=f"model= one of {known}")
    if start not in INITIALIZATIONS[name]:
        known = ", ".join(INITIALIZATIONS[name])
        what = f"start={start} is no initialization of model={name}"
        raise ConfigError(what, expected=f"start= one of {known}")
    if config["distil"] and config["teacher"] is None:
        what = "this experiment learns from a teacher, and teacher= is not given"
        raise ConfigError(what, expected="teacher=<the run of an fp head, or its .pt>")
    binary = config["model"]["arguments"].get("binary", False)
    if config["binarization"] is not None and not (binary and start == "published"):
        raise ConfigError(
            "binarization= is given, and the head is not initialized with a projection",
            expected="model.arguments.binary=true start=published, or no binarization=",
        )


def open_teacher(config: Config) -> SimilarityHead | None:
    """The head at teacher=, if one is given."""
    if config["teacher"] is None:
        return None
    return load_head(Path(config["teacher"]).expanduser())[0].requires_grad_(False)


class ValidationSet(NamedTuple):
    """A data set to validate on: its configuration, its files, its kind of neighbours."""

    config: Config
    files: DatasetFiles
    neighbors: str

    def find(self) -> Path:
        """Its folder, once all files are there. Raises MissingFile that names the others."""
        try:
            evaluator.find_files(self.files, self.neighbors)
        except MissingFile as error:
            what = f"{error}\n(these are of val_dataset={self.files.option}; "
            raise MissingFile(f"{what}val_dataset=null trains without validation)") from error
        return self.files.root


def validation_set(config: Config) -> ValidationSet | None:
    """The set val_dataset=, if one is given. Raises ConfigError for one that is reported on."""
    name = config["val_dataset"]
    if name is None:
        return None
    chosen = compose("train", [f"dataset={name}"])["dataset"]
    given = {**config, "dataset": chosen, "labels": None, "images": None}
    if chosen["option"] == OPTION:
        if config["val_name"] is None:
            raise ConfigError("val_dataset=folder", expected="val_name=<the folder's name>")
        chosen["folder"] = config["val_name"]
    files = dataset_files(given)
    if chosen["role"] != "val":
        raise ConfigError(
            f"val_dataset={name} has the role '{chosen['role']}'",
            expected="a validation set (role: val): nothing is chosen on what is reported",
        )
    return ValidationSet(given, files, config["val_neighbors"] or chosen["neighbors"])


def open_validation(
    config: Config, found: ValidationSet | None, device: torch.device
) -> Validation | None:
    """The validation set, opened and checked."""
    if found is None:
        return None
    num, count = config["val_num_rerank"], config["max_count"]
    data = evaluator.load(found.files, protocol_of(found.config), found.neighbors, num)
    options = ScoringOptions(
        query_count=count, gallery_count=count, precision=config["precision"], device=str(device)
    )
    return Validation(data, found.config["dataset"]["option"], num, options)
