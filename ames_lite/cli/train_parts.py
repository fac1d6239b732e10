"""What a training is put together from: initialization, teacher, validation set."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple

import torch

from ames_lite.cli.compose import Config, compose
from ames_lite.cli.own_folder import OPTION
from ames_lite.cli.shell import dataset_files, protocol_of
from ames_lite.datasets.layout import DatasetFiles
from ames_lite.errors import ConfigError, MissingFile
from ames_lite.evaluation.data import find_files, load_data
from ames_lite.io.checkpoint import load_head
from ames_lite.io.provenance import check_trained_on
from ames_lite.models import AMES, SimilarityHead
from ames_lite.models.binarization import Binarization, fit_itq
from ames_lite.reranking.scorer import ScoringOptions
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.fitted import read_binarization
from ames_lite.training.dataset import sample_descriptors
from ames_lite.training.initialization import INITIALIZATIONS
from ames_lite.training.validation import Validation

logger = logging.getLogger(__name__)

ITQ_SAMPLE = 100_000  # descriptors at most


def check_start(config: Config) -> None:
    """Raises ConfigError where a head has no such initialization, before any file is opened."""
    name, start = config["model"]["name"], config["start"]
    if name not in INITIALIZATIONS:
        what = f"model={name} has no parameters to train"
        raise ConfigError(what, expected=f"model= one of {', '.join(INITIALIZATIONS)}")
    if start not in INITIALIZATIONS[name]:
        what = f"start={start} is no initialization of the head '{name}'"
        raise ConfigError(what, expected=f"start= one of {', '.join(INITIALIZATIONS[name])}")
    if config["distil"] and config["teacher"] is None:
        what = "this experiment learns from a teacher, and teacher= is not given"
        raise ConfigError(what, expected="teacher=<the run of an fp head, or its .pt>")
    if config["binarization"] is not None and not _takes_projection(config):
        binary = "model=ames model.arguments.binary=true start=published"
        raise ConfigError(f"binarization= is given with start={start}", expected=binary)


def _takes_projection(config: Config) -> bool:
    """Whether the head's projection to bits is set: that of a binary head as published."""
    binary = config["model"]["arguments"].get("binary", False)
    return binary and config["start"] == "published"


def start_head(
    config: Config, head: SimilarityHead, store: DescriptorStore, generator: torch.Generator
) -> None:
    """The head as start= says, before training. Raises BadInput, ConfigError."""
    initialize = INITIALIZATIONS[config["model"]["name"]][config["start"]]
    initialize(head, lambda: sample_descriptors(store, config["seed"]), generator)
    if _takes_projection(config):
        _set_projection(config, head, store, generator)


def _set_projection(
    config: Config, head: SimilarityHead, store: DescriptorStore, generator: torch.Generator
) -> None:
    """The projection of a file, or by ITQ of a sample of the training descriptors.

    Left as it is where the store holds bits and no file is given.
    """
    assert isinstance(head, AMES)
    layer = head.remap_local[0]
    assert isinstance(layer, Binarization)
    given = config["binarization"]
    if given is not None:
        projection = torch.from_numpy(read_binarization(given)[0])
    elif store.packed:
        text = "%s: packed bits skip the projection to bits; it stays random, for float descriptors"
        logger.warning(text, store.path)
        return
    else:
        sample = sample_descriptors(store, config["seed"])
        projection = fit_itq(sample[:: -(-len(sample) // ITQ_SAMPLE)], head.dim, generator)
    if projection.shape != layer.W.shape:
        raise ConfigError(
            f"the projection is {list(projection.shape)}, the head's {list(layer.W.shape)}",
            where=given,
            expected="one that was fitted on such descriptors, with bits= the head's dim",
        )
    with torch.no_grad():
        layer.W.copy_(projection)


def open_teacher(config: Config, store: DescriptorStore) -> SimilarityHead | None:
    """The head at teacher=, if one is given. Raises BadInput where it is for other descriptors."""
    if config["teacher"] is None:
        return None
    path = Path(config["teacher"]).expanduser()
    head, meta = load_head(path)
    meta.check_descriptors(path, store.provenance, store.path)
    return head.requires_grad_(False)


class ValidationSet(NamedTuple):
    """A data set to validate on: its configuration, its files, its kind of neighbours."""

    config: Config
    files: DatasetFiles
    neighbors: str

    def find(self) -> Path:
        """Its folder, once all files are there. Raises MissingFile that names the others."""
        try:
            find_files(self.files, self.neighbors)
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
    config: Config, found: ValidationSet | None, device: torch.device, store: DescriptorStore
) -> Validation | None:
    """The validation set, opened and checked; its descriptors must be made as those of store."""
    if found is None:
        return None
    num, count = config["val_num_rerank"], config["max_count"]
    data = load_data(found.files, protocol_of(found.config), found.neighbors, num)
    other = data.stores[1]
    check_trained_on(store.provenance, other.provenance, files=(store.path, other.path))
    options = ScoringOptions(
        query_count=count, gallery_count=count, precision=config["precision"], device=str(device)
    )
    return Validation(data, found.config["dataset"]["option"], num, options)
