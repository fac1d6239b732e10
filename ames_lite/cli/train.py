"""`python scripts/train.py`: train a head on the triplets of a training set. On several devices or
machines: `torchrun --nproc-per-node=<devices> scripts/train.py …`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from ames_lite.cli.compose import as_dict
from ames_lite.cli.own_folder import OPTION
from ames_lite.cli.schema.evaluation import Train
from ames_lite.cli.schema.keys import some_of
from ames_lite.cli.scoring_run import check_validation_set, settled
from ames_lite.cli.shell import dataset_files, dataset_named, protocol_of
from ames_lite.cli.training import prepare_training_folder, training_dir
from ames_lite.datasets.image_lists import read_families, read_image_list
from ames_lite.datasets.layout import DatasetFiles, find_all
from ames_lite.errors import BadInput, MissingFile, check_config, require
from ames_lite.evaluation.data import SIDES, find_files, load_data
from ames_lite.io.checkpoint import HeadMeta, load_head
from ames_lite.io.digest import file_digest, file_identity, names_digest
from ames_lite.io.provenance import check_trained_on
from ames_lite.models import AMES, SimilarityHead, build_head
from ames_lite.models.binarization import Binarization, fit_itq
from ames_lite.processes import Processes, process_group
from ames_lite.reranking.scorer import ScoringOptions
from ames_lite.runtime import seed_everything
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.fitted import read_binarization
from ames_lite.stores.neighbor_lists import open_neighbor_rows
from ames_lite.stores.published.store import open_store
from ames_lite.stores.row_layout import FAILED
from ames_lite.training.dataset import sample_descriptors
from ames_lite.training.initialization import INITIALIZATIONS
from ames_lite.training.recipe import Recipe
from ames_lite.training.sampler import TripletSampler
from ames_lite.training.state import OF_FILE
from ames_lite.training.trainer import Trainer, Validation

logger = logging.getLogger(__name__)

IDENTITY = ("desc_name", "start", "binarization", "val_dataset")  # beside recipe, head and data
ITQ_SAMPLE = 100_000  # descriptors at most


def run(config: Train) -> Path:
    """Train as configured, or resume; returns the run directory."""
    recipe = recipe_of(config)
    _check_start(config)
    with process_group(config.device) as (processes, device):
        config = settled(config, device, processes)
        recipe = replace(recipe, precision=config.precision)
        if not processes.first:
            logging.getLogger("ames_lite").setLevel(logging.WARNING)
        return _run(config, recipe, device, processes)


def _run(config: Train, recipe: Recipe, device: torch.device, processes: Processes) -> Path:
    if processes.size == 1:  # else extraction would make a shard in each of them
        prepare_training_folder(config)
    files, val = dataset_files(config), _validation_set(config)
    found = find_training(files, config.neighbors, val)
    store, sampler = open_training_set(found, recipe)
    teacher = None
    if config.teacher is not None:
        teacher, taught = load_head(config.teacher)
        taught.check_descriptors(config.teacher, store.provenance, store.path)
        teacher.requires_grad_(False)
    validation = None
    if val is not None and processes.first:
        validation = _open_validation(config, val, device, store)
    generator = seed_everything(recipe.seed)
    head = build_head(config.model.name, **config.model.arguments, dim_in=store.dim)
    initialize = INITIALIZATIONS[config.model.name][config.start]
    initialize(head, partial(sample_descriptors, store, config.seed), generator)
    if _takes_projection(config):
        _set_projection(config, head, store, generator)
    folder = processes.from_first(training_dir(config) if processes.first else None)
    meta = HeadMeta(desc_name=config.desc_name, provenance=_provenance(config, store, found))
    plain, how = as_dict(config), some_of(config, ("save_every", "prefetch", "tensorboard"))
    how["identity"] = {**{key: plain[key] for key in IDENTITY}, **_files(found, validation)}
    how |= {"teacher": teacher, "validation": validation, "processes": processes}
    trainer = Trainer(head, store, sampler, recipe, folder, meta, device, **how)
    if processes.first:
        print(
            f"{len(sampler.anchors)} of {len(store)} images are anchors ({sampler.excluded}); "
            f"{len(sampler)} steps of {recipe.batch_size} triplets "
            f"({3 * recipe.batch_size} images) an epoch, {recipe.epochs} epochs → {folder}"
        )
    return trainer.fit()


def _files(found: Mapping[str, Path], validation: Validation | None) -> dict[str, str]:
    """What tells the neighbour lists, and all that is validated on, from others."""
    read = {"neighbors": file_identity(found["neighbors"])}
    if validation is not None:
        data = validation.data
        stores = zip(SIDES, data.stores, strict=True)
        of_val = {**data.read, **{f"{side}_store": one.fingerprint() for side, one in stores}}
        read |= {f"{key} of validation": value for key, value in of_val.items()}
    return {f"{OF_FILE}{key}": value for key, value in read.items()}


def recipe_of(config: Train) -> Recipe:
    """The recipe of a configuration; batch_size in triplets. Raises BadInput, ConfigError."""
    size, unit = config.batch_size, config.batch_unit
    what = f"batch_size={size} batch_unit=images: triplets of three images do not fill it"
    expected = "a multiple of 3, such as 600 (200 triplets)"
    remedy = f"batch_size={max(1, size // 3) * 3} batch_unit=images, or batch_unit=triplets"
    fine = unit != "images" or (size >= 3 and size % 3 == 0)
    check_config(fine, what, expected, remedy=remedy)
    given = some_of(config, Recipe.__dataclass_fields__)
    return Recipe(**{**given, "batch_size": size // 3 if unit == "images" else size})


def _check_start(config: Train) -> None:
    """Refuses, before any file is opened, a start= that the head does not have."""
    name, start = config.model.name, config.start
    what, known = f"model={name} has no parameters to train", INITIALIZATIONS.get(name, {})
    check_config(known, what, f"model= one of {', '.join(INITIALIZATIONS)}")
    what = f"start={start} is no initialization of the head '{name}'"
    check_config(start in known, what, f"start= one of {', '.join(known)}")
    what = "this experiment learns from a teacher, and teacher= is not given"
    fine = config.teacher is not None or not config.distil
    check_config(fine, what, "teacher=<the run of an fp head, or its .pt>")
    fine = config.binarization is None or _takes_projection(config)
    binary = "model=ames model.arguments.binary=true start=published"
    check_config(fine, f"binarization= is given with start={start}", binary)


def _takes_projection(config: Train) -> bool:
    """Whether the projection to bits is set: that of a binary head, initialized as published."""
    binary = config.model.arguments.get("binary", False)
    return binary and config.start == "published"


def find_training(
    files: DatasetFiles, neighbors: str, val: ValidationSet | None
) -> dict[str, Path]:
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
    """The store and the sampler of a training set. found: its files. Raises BadInput."""
    images = read_image_list(found["list"])
    store, labels = open_store(found["store"], images.names, images.sizes), images.labels
    if labels is None:
        what = "the training list has no labels"
        raise BadInput(what, where=found["list"], expected="path,label lines")
    counts = f"{len(images.names)} names and the store {len(store)}"
    what = f"the image list has {counts}, or in another order"
    same = tuple(store.names) == tuple(images.names)
    require(same, what, where=store.path, expected="a store extracted from this very list")
    rows, usable = open_neighbor_rows(found["neighbors"], images.names), _usable_images(store)
    families = read_families(found["families"], labels) if "families" in found else None
    how = some_of(recipe, ("batch_size", "depth", "min_each", "seed"))
    return store, TripletSampler(rows, labels, usable=usable, families=families, **how)


def _usable_images(store: DescriptorStore) -> npt.NDArray[np.bool_]:
    """[N], True for images with descriptors; logs the others."""
    usable = store.has_descriptors
    left_out = np.flatnonzero(~usable)
    if len(left_out):
        failed = int((store.status == FAILED).sum())
        first = ", ".join(store.names[row] for row in left_out[:3])
        more = ", …" if len(left_out) > 3 else ""
        why = f"{failed} failed in extraction, nothing was found in {len(left_out) - failed}"
        said = f"{len(left_out)} of {len(store)} images are left out of training: {why}"
        logger.warning("%s: %s (%s%s)", store.path, said, first, more)
    return usable


class ValidationSet(NamedTuple):
    """The data set of val_dataset=: its configuration, its files, its kind of neighbours."""

    config: Train
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


def _validation_set(config: Train) -> ValidationSet | None:
    """None without val_dataset=. Raises ConfigError for a set that is reported on."""
    name = config.val_dataset
    if name is None:
        return None
    named = name != OPTION or config.val_name is not None
    check_config(named, "val_dataset=folder", "val_name=<the folder's name>")
    chosen = dataset_named(name, config.val_name or OPTION)
    given = replace(config, dataset=chosen, labels=None, images=None)
    files = dataset_files(given)
    check_validation_set("val_dataset", chosen)
    return ValidationSet(given, files, config.val_neighbors or chosen.neighbors)


def _open_validation(
    config: Train, val: ValidationSet, device: torch.device, store: DescriptorStore
) -> Validation:
    """Raises BadInput where its descriptors are made otherwise than those of the training set."""
    num, count = config.val_num_rerank, config.max_count
    data = load_data(val.files, protocol_of(val.config), val.neighbors, num)
    other = data.stores[1]
    check_trained_on(store.provenance, other.provenance, files=(store.path, other.path))
    options = ScoringOptions(
        query_count=count, gallery_count=count, precision=config.precision, device=str(device)
    )
    return Validation(data, val.files.option, num, options)


def _set_projection(
    config: Train, head: SimilarityHead, store: DescriptorStore, generator: torch.Generator
) -> None:
    """The projection of a file, or by ITQ of a sample; packed bits have no need of one."""
    assert isinstance(head, AMES)
    layer = head.remap_local[0]
    assert isinstance(layer, Binarization)
    given = config.binarization
    if given is not None:
        projection = torch.from_numpy(read_binarization(given)[0])
    elif store.packed:
        text = "%s: packed bits skip the projection to bits; it stays random, for float descriptors"
        logger.warning(text, store.path)
        return
    else:
        sample = sample_descriptors(store, config.seed)
        projection = fit_itq(sample[:: -(-len(sample) // ITQ_SAMPLE)], head.dim, generator)
    what = f"the projection is {list(projection.shape)}, the head's {list(layer.W.shape)}"
    expected = "one that was fitted on such descriptors, with bits= the head's dim"
    check_config(projection.shape == layer.W.shape, what, expected, where=given)
    with torch.no_grad():
        layer.W.copy_(projection)


def _provenance(config: Train, store: DescriptorStore, found: Mapping[str, Path]) -> dict[str, Any]:
    made = {
        "dataset": config.dataset.option,
        "images": len(store),
        "names": names_digest(store.names),
        "start": config.start,
        "binarization": config.binarization and str(config.binarization),
        "descriptors": store.provenance,
    }
    made |= {"families": file_digest(found["families"])} if "families" in found else {}
    return made | ({} if config.teacher is None else {"teacher": str(config.teacher)})
