"""`python extract/extract_globals.py`: global descriptors from a store or images; whitening."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ames_lite.cli.compose import Config
from ames_lite.cli.extraction import configured_backbone, optional_text, query_boxes
from ames_lite.cli.shell import chosen_splits, command, dataset_files, find_vocabulary
from ames_lite.datasets.image_lists import read_image_list
from ames_lite.datasets.layout import NETWORK_OF, DatasetFiles, find_all, network_of
from ames_lite.errors import ConfigError
from ames_lite.extraction.aggregators import Aggregator, build_aggregator
from ames_lite.extraction.backbones.interface import Backbone
from ames_lite.extraction.fitted_whitening import FittedWhitening, whitened_kind
from ames_lite.extraction.global_sources import GlobalSource, ImageSource, Source, StoreSource
from ames_lite.extraction.globals import extract_globals
from ames_lite.extraction.superglobal import SuperGlobal, SuperGlobalPooling
from ames_lite.stores.global_store import GlobalStore
from ames_lite.stores.published.store import is_published, open_store
from ames_lite.stores.shards import Shard, parse_shard, shard_path

SOURCES = ("store", "images", "globals")


def main(overrides: Sequence[str] | None = None) -> int:
    """The command."""
    return command("extract_globals", run, overrides)


def run(config: Config) -> None:
    """Make the global descriptors of every split."""
    config = {**config, "source": _source(config)}
    files, splits = dataset_files(config), chosen_splits(config)
    shard = parse_shard(optional_text(config["shard"]), os.environ)
    given = config["whitening"]
    whitening = None if given is None else FittedWhitening.load(Path(given).expanduser())
    make = _maker(config, files, splits, shard)
    kind = config["global"] if whitening is None else whitened_kind(config["global"])
    for split in splits:
        path = extract_globals(
            make(split),
            shard_path(files.global_path(split, kind), shard),
            whitening=whitening,
            dtype=config["dtype"],
            on_bad_image=config["on_bad_image"] if config["source"] == "images" else "skip",
            overwrite=config["overwrite"],
        )
        print(f"{split}: {path}")


def _source(config: Config) -> str:
    """`source=`; null: images for descriptors of one network, else the store."""
    given, network = config["source"], network_of(config["global"])
    if given not in (None, *SOURCES):
        raise ConfigError(f"source={given}", expected=f"one of {', '.join(SOURCES)}")
    if network is not None and given == "store":
        raise ConfigError(
            f"global={config['global']} does not come from local descriptors",
            expected=f"source=images backbone={network}, or source=globals",
        )
    return str(given or ("store" if network is None else "images"))


def _maker(
    config: Config, files: DatasetFiles, splits: Sequence[str], shard: Shard | None
) -> Callable[[str], Source]:
    """What makes the source of a split, once it is known that all files are there."""
    if config["source"] == "globals":
        return partial(_of_globals, config, files, shard)
    if config["global"] in NETWORK_OF:
        return _image_maker(config, files, splits, _superglobal(config), None, shard)
    aggregator = _aggregator(config)
    if config["source"] == "store":
        find_all({split: partial(files.local, split) for split in splits})
        return partial(_of_store, files, aggregator, shard)
    return _image_maker(config, files, splits, configured_backbone(config), aggregator, shard)


def _image_maker(
    config: Config,
    files: DatasetFiles,
    splits: Sequence[str],
    backbone: Backbone,
    aggregator: Aggregator | None,
    shard: Shard | None,
) -> Callable[[str], Source]:
    needed: dict[str, Callable[[], Path]] = {
        split: partial(files.image_list, split) for split in splits
    }
    if "query" in splits:
        needed |= {"gallery": partial(files.image_list, "gallery"), "gnd": files.ground_truth}
    find_all(needed)  # one message for all that is missing
    return partial(_of_images, config, files, backbone, aggregator, shard)


def _of_store(
    files: DatasetFiles, aggregator: Aggregator, shard: Shard | None, split: str
) -> StoreSource:
    path = files.local(split)
    return StoreSource(
        open_store(path, names_of_published(files, split, path) or ()), aggregator, shard
    )


def _of_images(
    config: Config,
    files: DatasetFiles,
    backbone: Backbone,
    aggregator: Aggregator | None,
    shard: Shard | None,
    split: str,
) -> ImageSource:
    names = read_image_list(files.image_list(split)).names
    return ImageSource(
        backbone,
        config["images"] or files.image_root,
        names,
        aggregator,
        boxes=query_boxes(files, names) if split == "query" else None,
        shard=shard,
        workers=config["workers"],
    )


def _of_globals(
    config: Config, files: DatasetFiles, shard: Shard | None, split: str
) -> GlobalSource:
    if config["whitening"] is None:
        raise ConfigError(
            "source=globals without whitening=: there is nothing to do",
            expected="whitening=<a pca_*.npz>, or source=store or images",
        )
    path = files.global_descriptors(split, config["global"])
    return GlobalSource(GlobalStore(path, names=names_of_published(files, split, path)), shard)


def names_of_published(files: DatasetFiles, split: str, path: Path) -> Sequence[str] | None:
    """The image list of a split, where its file is of the published form, without names."""
    return read_image_list(files.image_list(split)).names if is_published(path) else None


def _superglobal(config: Config) -> SuperGlobal:
    """SuperGlobal's network. Raises ConfigError for another backbone than CVNet's."""
    if config["backbone"] is None or config["backbone"]["name"] != NETWORK_OF["superglobal"]:
        name = config["backbone"] and config["backbone"]["name"]
        raise ConfigError(
            f"global=superglobal with backbone={name}: it is made by CVNet's network",
            expected=f"backbone={NETWORK_OF['superglobal']}",
        )
    placed = {key: config[key] for key in ("device", "precision", "batch_pixels")}
    pooling = SuperGlobalPooling(**config["superglobal"])
    return SuperGlobal(pooling, **config["backbone"]["arguments"], **placed)


def _aggregator(config: Config) -> Aggregator:
    kind = config["global"]
    arguments: dict[str, dict[str, Any]] = {"gem": {"power": config["power"]}}
    if kind == "vlad":
        arguments["vlad"] = {
            "vocabulary": find_vocabulary(config),
            "soft": config["soft"],
            "temperature": config["temperature"],
        }
    return build_aggregator(kind, **arguments.get(kind, {}))
