"""The commands of extraction: configuration in, a call of the stage, the path of the result out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ames_lite.cli.compose import Config
from ames_lite.cli.shell import command, data_root, dataset_files
from ames_lite.errors import BadInput, ConfigError, MissingFile
from ames_lite.io.ground_truth import read_ground_truth
from ames_lite.io.image_lists import read_image_list
from ames_lite.io.images import Box
from ames_lite.io.layout import SPLITS, DatasetFiles
from extract.backbones import build_backbone
from extract.build_vocabulary import build_vocabulary
from extract.extract_descriptors import extract_local
from extract.extract_globals import extract_vlad
from extract.prepare_topk_global import prepare_topk


def extract_main(overrides: Sequence[str] | None = None) -> int:
    """`python extract/extract_descriptors.py`."""
    return command("extract", run_extract, overrides)


def vocabulary_main(overrides: Sequence[str] | None = None) -> int:
    """`python extract/build_vocabulary.py`."""
    return command("vocabulary", run_vocabulary, overrides)


def globals_main(overrides: Sequence[str] | None = None) -> int:
    """`python extract/extract_globals.py`."""
    return command("globals", run_globals, overrides)


def topk_main(overrides: Sequence[str] | None = None) -> int:
    """`python extract/prepare_topk_global.py`."""
    return command("topk", run_topk, overrides)


def run_extract(config: Config) -> None:
    """Extract every split of a data set."""
    files, splits = dataset_files(config), _splits(config)
    lists = {split: read_image_list(files.image_list(split)).names for split in splits}
    backbone = build_backbone(config["backbone"]["name"], **config["backbone"]["arguments"])
    for split in splits:
        boxes = query_boxes(files, lists[split]) if split == "query" else None
        path = extract_local(
            backbone,
            config["images"] or files.root,
            lists[split],
            files.local_path(split),
            boxes=boxes,
            workers=config["workers"],
            on_bad_image=config["on_bad_image"],
            overwrite=config["overwrite"],
        )
        print(f"{split}: {path}")


def query_boxes(files: DatasetFiles, names: Sequence[str]) -> list[Box | None]:
    """The crop box of every query, from the ground truth."""
    gallery = read_image_list(files.image_list("gallery")).names
    return list(read_ground_truth(files.ground_truth(), names, gallery).bbox)


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
    for split in _splits(config):
        path = extract_vlad(
            files.local(split),
            vocabulary,
            files.global_path(split, "vlad"),
            overwrite=config["overwrite"],
        )
        print(f"{split}: {path}")


def run_topk(config: Config) -> None:
    """Search the gallery for every query, or the training set for every image of it."""
    files, kind = dataset_files(config), config["global"]
    sides = ("train", "train") if config["self_search"] else ("query", "gallery")
    path = prepare_topk(
        files.global_descriptors(sides[0], kind),
        files.global_descriptors(sides[1], kind),
        files.neighbors_path(kind),
        num_neighbors=config["num_neighbors"],
        overwrite=config["overwrite"],
    )
    print(f"neighbours: {path}")


def _splits(config: Config) -> list[str]:
    unknown = [split for split in config["splits"] if split not in SPLITS]
    if unknown or not config["splits"]:
        raise ConfigError(f"splits={config['splits']}", expected=f"some of {', '.join(SPLITS)}")
    return list(config["splits"])


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
