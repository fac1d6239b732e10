"""`python extract/extract_globals.py`: global descriptors from a store or images; whitening."""

import os
from collections.abc import Callable, Sequence
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
from ames_lite.errors import ConfigError
from ames_lite.extraction.aggregators import (
    Aggregator,
    FittedWhitening,
    build_aggregator,
    whitened_kind,
)
from ames_lite.extraction.backbones.interface import Backbone
from ames_lite.extraction.globals import (
    Source,
    extract_globals,
    from_globals,
    from_images,
    from_store,
)
from ames_lite.extraction.superglobal import SuperGlobal, SuperGlobalPooling
from ames_lite.stores.global_store import GlobalStore
from ames_lite.stores.merging import Shard, parse_shard, shard_path
from ames_lite.stores.published.store import open_store

Maker = Callable[[str], Source]  # of the source of a split; all files are known to be there


def run(config: ExtractGlobals) -> None:
    """Make the global descriptors of every split."""
    source = _source(config)
    files, splits = dataset_files(config), chosen_splits(config)
    shard, given = parse_shard(config.shard, os.environ), config.whitening
    whitening = None if given is None else FittedWhitening(given)
    makers = {"store": _of_store, "images": _of_images, "globals": _of_globals}
    make = makers[source](config, files, splits, shard)
    kind = config.global_ if whitening is None else whitened_kind(config.global_)
    for split in splits:
        path = extract_globals(
            make(split),
            shard_path(files.global_path(split, kind), shard),
            whitening=whitening,
            dtype=config.dtype,
            on_bad_image=config.on_bad_image if source == "images" else "skip",
            overwrite=config.overwrite,
        )
        print(f"{split}: {path}")


def _source(config: ExtractGlobals) -> str:
    """`source=`; null: images for descriptors of one network, else the store."""
    given, network = config.source, network_of(config.global_)
    if network is not None and given == "store":
        raise ConfigError(
            f"global={config.global_} does not come from local descriptors",
            expected=f"source=images backbone={network}, or source=globals",
        )
    return str(given or ("store" if network is None else "images"))


def _of_store(
    config: ExtractGlobals, files: DatasetFiles, splits: Sequence[str], shard: Shard | None
) -> Maker:
    aggregator = _aggregator(config)
    found = find_all({split: partial(files.local, split) for split in splits})

    def make(split: str) -> Source:
        names = names_of_published(files, split, found[split]) or ()
        return from_store(open_store(found[split], names), aggregator, shard)

    return make


def _of_images(
    config: ExtractGlobals, files: DatasetFiles, splits: Sequence[str], shard: Shard | None
) -> Maker:
    whole = config.global_ in NETWORK_OF  # the network makes the vector
    aggregator = None if whole else _aggregator(config)
    backbone: Backbone = (
        _superglobal(config)
        if whole
        else configured_backbone(config.backbone, config, desc_name=config.desc_name)
    )
    find_lists(files, splits)

    def make(split: str) -> Source:
        names = read_image_list(files.image_list(split)).names
        return from_images(
            backbone,
            config.images or files.image_root,
            names,
            aggregator,
            boxes=query_boxes(files, names) if split == "query" else None,
            shard=shard,
            workers=config.workers,
        )

    return make


def _of_globals(
    config: ExtractGlobals, files: DatasetFiles, splits: Sequence[str], shard: Shard | None
) -> Maker:
    if config.whitening is None:
        raise ConfigError(
            "source=globals without whitening=: there is nothing to do",
            expected="whitening=<a pca_*.npz>, or source=store or images",
        )

    def make(split: str) -> Source:
        path = files.global_descriptors(split, config.global_)
        return from_globals(GlobalStore(path, names=names_of_published(files, split, path)), shard)

    return make


def _superglobal(config: ExtractGlobals) -> SuperGlobal:
    """SuperGlobal's network. Raises ConfigError for another backbone than CVNet's."""
    if config.backbone is None or config.backbone.name != NETWORK_OF["superglobal"]:
        name = config.backbone and config.backbone.name
        raise ConfigError(
            f"global=superglobal with backbone={name}: it is made by CVNet's network",
            expected=f"backbone={NETWORK_OF['superglobal']}",
        )
    pooling = SuperGlobalPooling(**vars(config.superglobal))
    return SuperGlobal(
        pooling,
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
