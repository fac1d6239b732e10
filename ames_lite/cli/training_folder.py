"""Training on a labelled folder: where images= is given, missing files are made by their commands.

python scripts/train.py experiment=own name=mine images=<class folders> labels=folders
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ames_lite.cli.own_folder import OPTION, prepare_command
from ames_lite.cli.schema.evaluation import Train
from ames_lite.cli.shell import data_root, dataset_files, find_vocabulary
from ames_lite.cli.steps import Steps
from ames_lite.datasets.custom.files import read_description
from ames_lite.datasets.custom.truth import make_custom
from ames_lite.datasets.image_lists import ImageList, write_image_list
from ames_lite.errors import BadInput, ConfigError, MissingFile, require
from ames_lite.io.overrides import word

FROM_LOCAL = ("vlad", "gem", "mean")  # what global descriptors are made of


def prepare_training_folder(config: Train) -> None:
    """Make the missing files of a training on dataset=folder. Raises as the commands do."""
    if config.images is None:
        return
    if config.dataset.option != OPTION:
        what = f"images= is given and dataset={config.dataset.option} brings its own"
        raise ConfigError(what, expected=f"dataset={OPTION}, or no images=")
    files = dataset_files(config)  # prepares lists of queries and gallery, or checks them
    path = files.root / "train.txt"
    if not path.exists():
        images = _training_list(files.root, path)
        write_image_list(path, images)
        print(f"{len(images)} images to train on: {path}")
    step, named = Steps(data_root(config)), ["dataset=folder", word("name", files.folder)]
    named.append(word("desc_name", config.desc_name))
    split, device = "splits=[train]", word("device", config.device)
    if not files.local_path("train").exists():  # training leaves bad images out
        given = [word("images", config.images), "on_bad_image=skip", split, device]
        step("extract_descriptors", *named, *given)
    kind = config.neighbors
    if kind not in (*FROM_LOCAL, "cls") or _there(lambda: files.neighbors(kind)):
        return
    named.append(word("global", kind))
    if not files.global_path("train", kind).exists() and kind in FROM_LOCAL:
        if kind == "vlad" and not _there(lambda: find_vocabulary(config, None)):
            step("build_vocabulary", *named[:-1])
        step("extract_globals", *named, split, device)
    depth = ["self_search=true", word("num_neighbors", config.depth)]
    step("prepare_topk_global", *named, *depth, device)


def _there(find: Callable[[], Path]) -> bool:
    try:
        find()
    except MissingFile:
        return False
    return True


def _training_list(root: Path, path: Path) -> ImageList:
    """All labelled images of a custom dataset; those of the label `distractor` have a number each.

    Raises BadInput where its kind has no labels.
    """
    description = read_description(root)
    if description is None:
        expected = "labels=folders, labels=<a CSV file,label>, or a train.txt"
        raise MissingFile("missing: the training list", where=path, expected=expected)
    require(
        description.options.val_share is None,
        f"a {description.role} set of images that were split has no training list",
        where=path,
        expected="the training set of the split",
        remedy=prepare_command(description.options, root),
    )
    made = make_custom(description.options)
    if made.codes is None:
        raise BadInput(
            f"the labels are {made.kind}: they do not say which images show the same",
            where=description.options.labels,
            expected="class folders (labels=folders) or a CSV file,label",
        )
    codes = np.array(list(made.codes.values()), np.int64)
    alone = codes == made.alone
    codes[alone] = codes.max() + 1 + np.arange(int(alone.sum()))
    return ImageList(tuple(made.codes), codes)
