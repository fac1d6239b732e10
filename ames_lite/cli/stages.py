"""The commands of extraction: configuration in, a call of the stage, the path of the result out."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from ames_lite.cli.compose import Config
from ames_lite.cli.shell import chosen_splits, command, data_root, dataset_files
from ames_lite.errors import BadInput, ConfigError, MissingFile
from ames_lite.io.ground_truth import read_ground_truth
from ames_lite.io.image_lists import read_image_list
from ames_lite.io.images import Box
from ames_lite.io.layout import DatasetFiles, find_all
from ames_lite.io.shards import parse_shard
from extract.backbones import build_backbone
from extract.build_vocabulary import build_vocabulary
from extract.extract_descriptors import extract_descriptors
from extract.extract_globals import extract_vlad
from extract.fit_binarization import BinaryCode
from extract.interface import Backbone

OUTPUTS = ("local", "global")


def extract_main(overrides: Sequence[str] | None = None) -> int:
    """`python extract/extract_descriptors.py`."""
    return command("extract", run_extract, overrides)


def vocabulary_main(overrides: Sequence[str] | None = None) -> int:
    """`python extract/build_vocabulary.py`."""
    return command("vocabulary", run_vocabulary, overrides)


def globals_main(overrides: Sequence[str] | None = None) -> int:
    """`python extract/extract_globals.py`."""
    return command("globals", run_globals, overrides)


def run_extract(config: Config) -> None:
    """Extract every split of a data set."""
    files, splits = dataset_files(config), chosen_splits(config)
    shard = parse_shard(_text(config["shard"]), os.environ)
    needed: dict[str, Callable[[], Path]] = {
        split: partial(files.image_list, split) for split in splits
    }
    if "query" in splits:
        needed |= {"gallery": partial(files.image_list, "gallery"), "gnd": files.ground_truth}
    find_all(needed)  # one message for all that is missing
    lists = {split: read_image_list(files.image_list(split)).names for split in splits}
    backbone = build_backbone(
        config["backbone"]["name"],
        device=config["device"],
        precision=config["precision"],
        batch_pixels=config["batch_pixels"],
        **config["backbone"]["arguments"],
    )
    code = _text(config["binarization"])
    binarization = None if code is None else BinaryCode.load(code)
    outputs = _outputs(config, backbone)
    for split in splits:
        boxes = query_boxes(files, lists[split]) if split == "query" else None
        vectors = None
        if "global" in outputs:
            vectors = files.global_path(split, backbone.global_kind or "cls")
        written = extract_descriptors(
            backbone,
            config["images"] or files.image_root,
            lists[split],
            local=files.local_path(split) if "local" in outputs else None,
            vectors=vectors,
            boxes=boxes,
            binarization=binarization,
            shard=shard,
            workers=config["workers"],
            on_bad_image=config["on_bad_image"],
            overwrite=config["overwrite"],
        )
        for path in written:
            print(f"{split}: {path}")


def _outputs(config: Config, backbone: Backbone) -> list[str]:
    """`outputs=`; null: local descriptors, and the global one of a backbone that has one."""
    if config["outputs"] is None:
        return ["local"] if backbone.global_kind is None else list(OUTPUTS)
    unknown = [output for output in config["outputs"] if output not in OUTPUTS]
    if unknown or not config["outputs"]:
        raise ConfigError(f"outputs={config['outputs']}", expected=f"some of {', '.join(OUTPUTS)}")
    return list(config["outputs"])


def query_boxes(files: DatasetFiles, names: Sequence[str]) -> list[Box | None]:
    """The crop box of every query, from the ground truth."""
    gallery = read_image_list(files.image_list("gallery")).names
    path = files.ground_truth()
    truth = read_ground_truth(path, names, gallery, skip_last=files.skipped(path))
    return list(truth.bbox)


def run_vocabulary(config: Config) -> None:
    """Build a vocabulary, named after the data set's folder."""
    files = dataset_files(config)
    path = build_vocabulary(
        files.local(config["split"]),
        files.vocabulary_path(files.folder),
        num_clusters=config["num_clusters"],
        seed=config["seed"],
        iterations=config["iterations"],
        max_images=config["max_images"],
        overwrite=config["overwrite"],
    )
    print(f"vocabulary: {path}")


def run_globals(config: Config) -> None:
    """Make the global descriptors of every split."""
    files = dataset_files(config)
    _only_vlad(config)
    vocabulary = _vocabulary(config)
    for split in chosen_splits(config):
        path = extract_vlad(
            files.local(split),
            vocabulary,
            files.global_path(split, "vlad"),
            overwrite=config["overwrite"],
        )
        print(f"{split}: {path}")


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _only_vlad(config: Config) -> None:
    if config["global"] != "vlad":
        raise ConfigError(f"there is no global descriptor '{config['global']}'", expected="vlad")


def _vocabulary(config: Config) -> Path:
    if config["vocabulary"] is not None:
        return Path(config["vocabulary"])
    root, name = data_root(config), config["desc_name"]
    found = sorted(root.glob(f"vlad_{name}_*.npz"))
    remedy = f"python extract/build_vocabulary.py dataset=<training set> desc_name={name}"
    if not found:
        where = root / f"vlad_{name}_<domain>.npz"
        raise MissingFile("there is no vocabulary", where=where, remedy=remedy)
    if len(found) > 1:
        listed = ", ".join(path.name for path in found)
        raise BadInput(f"there are several vocabularies: {listed}", remedy="choose by vocabulary=")
    return found[0]
