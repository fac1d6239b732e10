"""`python extract/extract_globals.py`: global descriptors from a store or images; whitening."""

import os
from collections.abc import Sequence
from functools import partial
from typing import Any

from ames_lite.cli.extraction import (
    configured_backbone,
    find_lists,
    names_of_published,
    query_boxes,
)
from ames_lite.cli.schema.extraction import ExtractGlobals
from ames_lite.cli.shell import chosen_splits, dataset_files, find_vocabulary
from ames_lite.datasets.image_lists import read_image_list
from ames_lite.datasets.layout import NETWORK_OF, DatasetFiles, find_all, network_of
from ames_lite.errors import ConfigError, check_config
from ames_lite.extraction.aggregators import (
    Aggregator,
    FittedWhitening,
    build_aggregator,
    whitened_kind,
)
from ames_lite.extraction.backbones.cvnet import SuperGlobal
from ames_lite.extraction.backbones.interface import Backbone
from ames_lite.extraction.globals import (
    Source,
    extract_globals,
    from_globals,
    from_images,
    from_store,
)
from ames_lite.stores.global_store import GlobalStore
from ames_lite.stores.merging import Shard, parse_shard, shard_path
from ames_lite.stores.published.store import open_store

OF_IMAGES = ("images", "network")  # sources that read images


def run(config: ExtractGlobals) -> None:
    kind_of_source = source_of(config)
    files, splits = dataset_files(config), chosen_splits(config)
    shard, given = parse_shard(config.shard, os.environ), config.whitening
    whitening = None if given is None else FittedWhitening(given)
    open_sources = {"store": _of_store, "images": _of_images, "network": _of_images}
    open_sources["globals"] = _of_globals
    sources = open_sources[kind_of_source](config, files, splits, shard)
    kind = config.global_ if whitening is None else whitened_kind(config.global_)
    for split, source in sources.items():
        path = extract_globals(
            source,
            shard_path(files.global_path(split, kind), shard),
            whitening=whitening,
            dtype=config.dtype,
            on_bad_image=config.on_bad_image if kind_of_source in OF_IMAGES else "skip",
            overwrite=config.overwrite,
        )
        print(f"{split}: {path}")


def source_of(config: ExtractGlobals) -> str:
    """`source=`; null: images for descriptors of one network, else the store."""
    given, network = config.source, network_of(config.global_)
    what = f"global={config.global_} does not come from local descriptors"
    expected = f"source=images backbone={network}, or source=globals"
    check_config(network is None or given != "store", what, expected)
    usual = "images" if network else "network" if config.global_ == "cls" else "store"
    found = str(given or usual)
    fits = found in OF_IMAGES or not config.flip
    check_config(fits, f"flip=true source={found}: no image is read", "source=images or network")
    return found


def _of_store(
    config: ExtractGlobals, files: DatasetFiles, splits: Sequence[str], shard: Shard | None
) -> dict[str, Source]:
    aggregator = _aggregator(config)
    found = find_all({split: partial(files.local, split) for split in splits})
    names = {split: names_of_published(files, split, found[split]) or () for split in splits}
    stores = {split: open_store(found[split], names[split]) for split in splits}
    return {split: from_store(store, aggregator, shard) for split, store in stores.items()}


def _of_images(
    config: ExtractGlobals, files: DatasetFiles, splits: Sequence[str], shard: Shard | None
) -> dict[str, Source]:
    named = config.global_ in NETWORK_OF  # the network makes the vector
    backbone = _superglobal(config) if named else configured_backbone(config.backbone, config)
    whole = named or source_of(config) == "network"
    aggregator = None if whole else _aggregator(config)
    kind, what = backbone.global_kind, f"global={config.global_} source=network"
    fits = named or not whole or kind == config.global_
    expected = f"global={kind}: the backbone's own" if kind else "a backbone with a vector"
    check_config(fits, what, expected)
    find_lists(files, splits)
    names = {split: read_image_list(files.image_list(split)).names for split in splits}
    return {
        split: from_images(
            backbone,
            config.images or files.image_root,
            names[split],
            aggregator,
            boxes=query_boxes(files, names[split]) if split == "query" else None,
            shard=shard,
            workers=config.workers,
            flip=config.flip,
        )
        for split in splits
    }


def _of_globals(
    config: ExtractGlobals, files: DatasetFiles, splits: Sequence[str], shard: Shard | None
) -> dict[str, Source]:
    what = "source=globals without whitening=: there is nothing to do"
    expected = "whitening=<a pca_*.npz>, or source=store or images"
    check_config(config.whitening is not None, what, expected)
    found = {split: files.global_descriptors(split, config.global_) for split in splits}
    names = {split: names_of_published(files, split, path) for split, path in found.items()}
    stores = {split: GlobalStore(path, names=names[split]) for split, path in found.items()}
    return {split: from_globals(store, shard) for split, store in stores.items()}


def _superglobal(config: ExtractGlobals) -> Backbone:
    """SuperGlobal's network. Raises ConfigError for another backbone than CVNet's."""
    name = config.backbone and config.backbone.name
    if config.backbone is None or name != NETWORK_OF["superglobal"]:
        what = f"global=superglobal with backbone={name}: it is made by CVNet's network"
        raise ConfigError(what, expected=f"backbone={NETWORK_OF['superglobal']}")
    return SuperGlobal(
        config.superglobal,
        **config.backbone.arguments,
        device=config.device,
        precision=config.precision,
        batch_pixels=config.batch_pixels,
    )


def _aggregator(config: ExtractGlobals) -> Aggregator:
    kind = config.global_
    arguments: dict[str, dict[str, Any]] = {"gem": {"power": config.power}}
    if kind == "vlad":
        arguments["vlad"] = {
            "vocabulary": find_vocabulary(config, config.vocabulary),
            "soft": config.soft,
            "temperature": config.temperature,
        }
    return build_aggregator(kind, **arguments.get(kind, {}))
