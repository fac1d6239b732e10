"""Training on a labelled folder: where images= is given, missing files are made by their commands.

python scripts/train.py experiment=own name=mine images=<class folders> labels=folders
"""

from functools import partial
from pathlib import Path

import numpy as np

from ames_lite.cli.own_folder import OPTION, prepare_command
from ames_lite.cli.schema.evaluation import Train
from ames_lite.cli.schema.keys import Data
from ames_lite.cli.shell import dataset_files, with_names
from ames_lite.cli.steps import make_missing
from ames_lite.datasets.custom.files import read_description
from ames_lite.datasets.custom.truth import make_custom
from ames_lite.datasets.image_lists import ImageList, write_image_list
from ames_lite.datasets.layout import DatasetFiles, find_all
from ames_lite.errors import BadInput, MissingFile, check_config, require
from ames_lite.io.overrides import word


def prepare_training_folder(config: Train) -> None:
    """Make the missing files of a training on dataset=folder. Raises as the commands do."""
    files = make_training_list(config)
    if files is None:
        return
    device = word("device", config.device)
    more = {
        "extract_descriptors": ["on_bad_image=skip", device],  # training leaves bad images out
        "extract_globals": [device],
        "prepare_topk_global": [word("num_neighbors", config.depth), device],
    }
    needed = {
        "store": partial(files.local, "train"),
        "neighbors": partial(files.neighbors, config.neighbors, of_train=True),
    }
    make_missing(partial(find_all, needed), partial(with_names, config=config), more)


def make_training_list(config: Data) -> DatasetFiles | None:
    """Make the training list of a folder where it is missing; None where no images= are given."""
    if config.images is None:
        return None
    what = f"images= is given and dataset={config.dataset.option} brings its own"
    check_config(config.dataset.option == OPTION, what, f"dataset={OPTION}, or no images=")
    files = dataset_files(config)  # prepares lists of queries and gallery, or checks them
    path = files.root / "train.txt"
    if not path.exists():
        images = _training_list(files.root, path)
        write_image_list(path, images)
        print(f"{len(images)} images to train on: {path}")
    return files


def _training_list(root: Path, path: Path) -> ImageList:
    """All labelled images of a custom dataset; those of the label `distractor` have a number each.

    Raises BadInput where its kind has no labels.
    """
    description = read_description(root)
    if description is None:
        expected = "labels=folders, labels=<a CSV file,label>, or a train.txt"
        raise MissingFile("missing: the training list", where=path, expected=expected)
    options, expected = description.options, "the training set of the split"
    what = f"a {description.role} set of images that were split has no training list"
    remedy = prepare_command(options, root)
    require(options.val_share is None, what, where=path, expected=expected, remedy=remedy)
    made = make_custom(options)
    if made.codes is None:
        what = f"the labels are {made.kind}: they do not say which images show the same"
        expected = "class folders (labels=folders) or a CSV file,label"
        raise BadInput(what, where=options.labels, expected=expected)
    codes = np.array(list(made.codes.values()), np.int64)
    alone = codes == made.alone
    codes[alone] = codes.max() + 1 + np.arange(int(alone.sum()))
    return ImageList(tuple(made.codes), codes)
