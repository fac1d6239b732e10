"""Training on a labelled folder of one's own: what is missing is made, step by step.

    python scripts/train.py experiment=own name=mine images=<class folders> labels=folders

lists → local descriptors → vocabulary → global descriptors → neighbour lists, each by the command
that a user would give, printed as such. The convention to know: only what is not there is made, and
only where images= is given; labels that changed since are an error, as everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ames_lite.cli import (
    build_vocabulary,
    extract_descriptors,
    extract_globals,
    prepare_topk_global,
)
from ames_lite.cli.compose import Config, compose
from ames_lite.cli.own_folder import OPTION
from ames_lite.cli.shell import data_root, dataset_files, find_vocabulary
from ames_lite.datasets.custom.files import prepare_command, read_description
from ames_lite.datasets.custom.truth import CustomDataset, make_custom
from ames_lite.datasets.image_lists import ImageList, write_image_list
from ames_lite.datasets.layout import DatasetFiles
from ames_lite.errors import BadInput, ConfigError, MissingFile
from ames_lite.io.overrides import paste, word

FROM_LOCAL = ("vlad", "gem", "mean")  # what global descriptors are made of


def prepare_training_folder(config: Config) -> None:
    """Make what a training on dataset=folder lacks. Raises as the commands do."""
    if config["dataset"]["option"] != OPTION:
        for key in ("images", "labels"):
            if config[key] is not None:
                what = f"{key}= is given and dataset={config['dataset']['option']} brings its own"
                raise ConfigError(what, expected=f"dataset={OPTION}, or no {key}=")
        return
    if config["images"] is None:
        return
    files = dataset_files(config)  # prepares lists of queries and gallery, or checks them
    path = files.root / "train.txt"
    if not path.exists():
        images = _training_list(files)
        write_image_list(path, images)
        print(f"{len(images)} images to train on: {path}")
    step = _Steps(config)
    if not files.local_path("train").exists():
        given = {"images": config["images"], "on_bad_image": "skip"}  # training leaves them out
        step("extract_descriptors", extract_descriptors.run, **given)
    kind = config["neighbors"]
    if kind not in (*FROM_LOCAL, "cls") or _there(lambda: files.neighbors(kind)):
        return
    if not files.global_path("train", kind).exists() and kind in FROM_LOCAL:
        if kind == "vlad" and not _there(lambda: find_vocabulary({**config, "vocabulary": None})):
            step("build_vocabulary", build_vocabulary.run)
        step("extract_globals", extract_globals.run, **{"global": kind})
    depth = {"self_search": True, "num_neighbors": config["depth"]}
    step("prepare_topk_global", prepare_topk_global.run, **{"global": kind}, **depth)


def _there(find: Callable[[], Path]) -> bool:
    try:
        find()
    except MissingFile:
        return False
    return True


def _training_list(files: DatasetFiles) -> ImageList:
    """All labelled images of a set of one's own. Raises BadInput where its kind has no labels."""
    description = read_description(files.root)
    if description is None:
        raise MissingFile(
            "missing: the training list",
            where=files.root / "train.txt",
            expected="labels=folders, labels=<a CSV file,label>, or a train.txt of one's own",
        )
    if description.options.val_share is not None:
        raise BadInput(
            f"a {description.role} set of images that were split has no training list",
            where=files.root / "train.txt",
            expected="the training set of the split",
            remedy=prepare_command(description.options, files.root),
        )
    made = make_custom(description.options)
    if made.relation.codes is None:
        raise BadInput(
            f"the labels are {made.kind}: they do not say which images show the same",
            where=description.options.labels,
            expected="class folders (labels=folders) or a CSV file,label",
        )
    return ImageList(tuple(made.relation.codes), _labels(made))


def _labels(made: CustomDataset) -> Any:
    """A number for each image; those of the label `distractor` have one each."""
    assert made.relation.codes is not None
    codes = np.array(list(made.relation.codes.values()), np.int64)
    alone = codes == made.relation.alone
    codes[alone] = codes.max() + 1 + np.arange(int(alone.sum()))
    return codes


class _Steps:
    """Runs commands on the folder and prints them."""

    def __init__(self, config: Config) -> None:
        self.root = data_root(config)
        self.name, self.desc_name = config["dataset"]["folder"], config["desc_name"]
        self.device = config["device"]

    def __call__(self, name: str, work: Callable[[Config], Any], **given: object) -> None:
        base: dict[str, object] = {"desc_name": self.desc_name}
        words = [f"{key}={value}" for key, value in base.items()]
        config = compose(name, ["dataset=folder", *words])
        given |= {"name": self.name, "data_root": str(self.root)}
        if "splits" in config:
            given["splits"] = ["train"]
        if "device" in config:
            given["device"] = self.device
        config |= given
        config["dataset"]["folder"] = self.name
        said = [word(key, value) for key, value in (base | given).items()]
        print(f"\n{paste(f'extract/{name}.py', ['dataset=folder', *said])}")
        work(config)
