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
from ames_lite.io.binarization_file import read_binarization
from ames_lite.io.checkpoint import load_head
from ames_lite.io.descriptor_store import DescriptorStore
from ames_lite.io.layout import DatasetFiles
from ames_lite.models import AMES, HEADS, SimilarityHead
from ames_lite.models.binarization import Binarization, fit_itq
from ames_lite.models.elvis import ELViS
from ames_lite.reranking.scorer import ScoringOptions
from ames_lite.training.dataset import sample_descriptors
from ames_lite.training.initialization.elvis_matches import start_elvis_from_matches
from ames_lite.training.initialization.matches import start_from_correspondences, start_from_matches
from ames_lite.training.validation import Validation

STARTS = ("random", "correspondences", "matches", "itq")
ITQ_SAMPLE = 100_000  # descriptors at most


def check_start(config: Config) -> None:
    """Raises ConfigError where a head has no such start, before any file is opened."""
    name, start = config["model"]["name"], config["start"]
    binary = config["model"]["arguments"].get("binary", False)
    if start not in STARTS:
        raise ConfigError(f"start={start}", expected=f"one of {', '.join(STARTS)}")
    if name not in HEADS:
        raise ConfigError(f"there is no head '{name}'", expected=f"one of {', '.join(HEADS)}")
    if HEADS[name].marker is None:
        trained = [other for other in HEADS if HEADS[other].marker is not None]
        what = f"model={name} has no parameters to train"
        raise ConfigError(what, expected=f"model= one of {', '.join(trained)}")
    if start != "random" and name != "ames" and (start, name) != ("matches", "elvis"):
        what = f"start={start} is a start of the head 'ames', model is '{name}'"
        others = "random or matches" if name == "elvis" else "random"
        raise ConfigError(what, expected=f"start={others}, or model=ames")
    if start == "itq" and not binary:
        what = "start=itq is a start of binary heads"
        raise ConfigError(what, expected="model.arguments.binary=true, or another start=")
    if config["distil"] and config["teacher"] is None:
        what = "this experiment learns from a teacher, and teacher= is not given"
        raise ConfigError(what, expected="teacher=<the run of an fp head, or its .pt>")
    if config["binarization"] is not None and start != "itq":
        raise ConfigError(f"binarization= is given with start={start}", expected="start=itq")


def start_head(
    config: Config, head: SimilarityHead, store: DescriptorStore, generator: torch.Generator
) -> None:
    """The head as start= says, before training."""
    start = config["start"]
    if isinstance(head, ELViS) and start == "matches":
        start_elvis_from_matches(head, sample_descriptors(store, config["seed"]), generator)
    if start == "random" or not isinstance(head, AMES):
        return
    if start == "itq":
        _start_from_itq(config, head, store, generator)
        return
    sample = sample_descriptors(store, config["seed"])
    known = {"correspondences": start_from_correspondences, "matches": start_from_matches}
    known[start](head, sample, generator)


def _start_from_itq(
    config: Config, head: AMES, store: DescriptorStore, generator: torch.Generator
) -> None:
    """The projection of a file, or one that is fitted on a sample of the training descriptors."""
    layer = head.remap_local[0]
    assert isinstance(layer, Binarization)
    given = config["binarization"]
    if given is None:
        sample = sample_descriptors(store, config["seed"])
        projection = fit_itq(sample[:: -(-len(sample) // ITQ_SAMPLE)], head.dim, generator)
    else:
        projection = torch.from_numpy(read_binarization(given)[0])
    if projection.shape != layer.W.shape:
        raise ConfigError(
            f"the projection is {list(projection.shape)}, the head's {list(layer.W.shape)}",
            where=given,
            expected="one that was fitted on such descriptors, with bits= the head's dim",
        )
    with torch.no_grad():
        layer.W.copy_(projection)


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
