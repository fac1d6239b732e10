"""What commands that train share: run directory, files of a labelled folder, labelled images.

With resume=auto the run directory is that of the run to be resumed: the output_dir= given, or the
newest unfinished run of the same configuration below runs/. On dataset=folder, where images= is
given, missing files are made by their commands.
"""

from dataclasses import replace
from functools import partial
from glob import escape
from pathlib import Path

import numpy as np

from ames_lite.cli import shell
from ames_lite.cli.own_folder import OPTION, prepare_command
from ames_lite.cli.schema.evaluation import Train
from ames_lite.cli.schema.extraction import OnLabelled
from ames_lite.cli.schema.keys import Data
from ames_lite.cli.shell import dataset_files, with_names
from ames_lite.cli.steps import make_missing
from ames_lite.datasets.custom.files import read_description
from ames_lite.datasets.custom.truth import make_custom
from ames_lite.datasets.image_lists import ImageList, write_image_list
from ames_lite.datasets.layout import DatasetFiles, find_all
from ames_lite.errors import BadInput, MissingFile, check_config, require
from ames_lite.extraction.detector_training.data import LabelledImages, read_labelled
from ames_lite.io.overrides import word
from ames_lite.io.writing import is_locked
from ames_lite.runtime import log_to
from ames_lite.training.state import NAME

WEIGHTS = "weights.safetensors"  # what a training writes last
OF_A_RUN = {
    *("config.yaml", "overrides.yaml", "run.log", "log.jsonl", "epochs.jsonl", "bad_batch.json"),
    *(NAME, WEIGHTS, "meta.json", "best", "tensorboard", "detector.pt"),
}


def training_dir(config: Train | OnLabelled, name: str = "train", *, search: bool = True) -> Path:
    """The run directory (BadInput: in use). search: for an unfinished run, without output_dir=."""
    prefix, folder = shell.run_prefix(config, name), config.output_dir
    if folder is None and search and config.resume == "auto":
        folder = _unfinished(config, prefix)
        if folder is not None:
            return folder
    if folder is not None and config.resume == "never":
        shell.refuse_used(folder, WEIGHTS)
    if folder is None or not (folder / "config.yaml").is_file():
        return shell.run_dir(config, prefix, last=WEIGHTS)
    names = {path.name for path in folder.iterdir()} - OF_A_RUN
    foreign = sorted(name for name in names if not name.startswith(("epoch_", ".")))
    what = f"the run directory holds {', '.join(foreign[:3])}"
    expected, remedy = "a training run to resume", "give another output_dir="
    require(not foreign, what, where=folder.absolute(), expected=expected, remedy=remedy)
    if not (folder / NAME).is_file():  # nothing was done yet
        shell.write_settings(folder, config)
    if not (folder / WEIGHTS).is_file():  # else the run has ended
        log_to(folder / "run.log")
    return folder


def _unfinished(config: Train | OnLabelled, prefix: str) -> Path | None:
    found = Path("runs").glob(f"{escape(prefix)}_*/{NAME}")
    for folder in sorted((path.parent for path in found), reverse=True):
        if (folder / "config.json").is_file() and not (folder / WEIGHTS).is_file():
            print(f"not resumed: {folder}, which an older version began (config.json)")
        if shell.was_interrupted(folder, config, WEIGHTS) and not is_locked(folder):
            return folder
    return None


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
    """All labelled images, each `distractor` a class of its own. BadInput: there are no labels."""
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


def image_sets(config: OnLabelled) -> tuple[LabelledImages, LabelledImages | None]:
    """The images to train on and, where val_dataset is given, those to evaluate by."""
    files = dataset_files(config)
    images = read_labelled([files.image_list("train")], config.images or files.image_root)
    name = config.val_dataset
    if name is None:
        return images, None
    chosen = shell.dataset_named(name, config.name)
    given = replace(config, dataset=chosen, images=config.val_images, labels=None)
    other = dataset_files(given)  # fills in where the images of a set of one's own are
    splits = ["train"] if chosen.role == "train" else ["query", "gallery"]
    found = find_all({split: partial(other.image_list, split) for split in splits})
    return images, read_labelled(list(found.values()), given.images or other.image_root)
