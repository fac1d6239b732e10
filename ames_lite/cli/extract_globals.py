"""`python extract/extract_globals.py`: global descriptors from a store or images; whitening."""

import os
from collections.abc import Sequence
from functools import partial

from ames_lite.cli import extraction
from ames_lite.cli.extraction import configured_backbone, names_of_published, query_boxes
from ames_lite.cli.schema.extraction import ExtractGlobals
from ames_lite.cli.schema.keys import some_of
from ames_lite.cli.shell import chosen_splits, dataset_files, find_vocabulary
from ames_lite.datasets.layout import NETWORK_OF, DatasetFiles, find_all, network_of
from ames_lite.errors import ConfigError, check_config
from ames_lite.extraction import aggregators
from ames_lite.extraction import globals as made
from ames_lite.extraction.aggregators import Aggregator
from ames_lite.extraction.backbones.cvnet import SuperGlobal
from ames_lite.extraction.backbones.interface import Backbone
from ames_lite.extraction.globals import Source
from ames_lite.stores.global_store import GlobalStore
from ames_lite.stores.merging import Shard, parse_shard, shard_path
from ames_lite.stores.published.store import open_store

OF_IMAGES = ("images", "network")  # sources that read images


def run(config: ExtractGlobals) -> None:
    kind_of_source = source_of(config)
    files, splits = dataset_files(config), chosen_splits(config)
    shard, given = parse_shard(config.shard, os.environ), config.whitening
    whitening = None if given is None else aggregators.FittedWhitening(given)
    opens = {"store": _of_store, "globals": _of_globals}.get(kind_of_source, _of_images)
    sources = opens(config, files, splits, shard)
    kind = config.global_ if whitening is None else aggregators.whitened_kind(config.global_)
    how = some_of(config, ("dtype", "on_bad_image", "overwrite"))
    if kind_of_source not in OF_IMAGES:
        how["on_bad_image"] = "skip"
    for split, source in sources.items():
        output = shard_path(files.global_path(split, kind), shard)
        path = made.extract_globals(source, output, whitening=whitening, **how)
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
    return {split: made.from_store(store, aggregator, shard) for split, store in stores.items()}


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
    extraction.find_lists(files, splits)
    root, how, found = config.images or files.image_root, some_of(config, ("workers", "flip")), {}
    for split in splits:
        names = files.names(split)
        how["boxes"] = query_boxes(files, names) if split == "query" else None
        found[split] = made.from_images(backbone, root, names, aggregator, shard=shard, **how)
    return found


def _of_globals(
    config: ExtractGlobals, files: DatasetFiles, splits: Sequence[str], shard: Shard | None
) -> dict[str, Source]:
    what = "source=globals without whitening=: there is nothing to do"
    expected = "whitening=<a pca_*.npz>, or source=store or images"
    check_config(config.whitening is not None, what, expected)
    found = {split: files.global_descriptors(split, config.global_) for split in splits}
    names = {split: names_of_published(files, split, path) for split, path in found.items()}
    stores = {split: GlobalStore(path, names=names[split]) for split, path in found.items()}
    return {split: made.from_globals(store, shard) for split, store in stores.items()}


def _superglobal(config: ExtractGlobals) -> Backbone:
    """SuperGlobal's network. Raises ConfigError for another backbone than CVNet's."""
    name = config.backbone and config.backbone.name
    if config.backbone is None or name != NETWORK_OF["superglobal"]:
        what = f"global=superglobal with backbone={name}: it is made by CVNet's network"
        raise ConfigError(what, expected=f"backbone={NETWORK_OF['superglobal']}")
    how = config.backbone.arguments | some_of(config, ("device", "precision", "batch_pixels"))
    return SuperGlobal(config.superglobal, **how)


def _aggregator(config: ExtractGlobals) -> Aggregator:
    kind = config.global_
    how = some_of(config, {"gem": ("power",), "vlad": ("soft", "temperature")}.get(kind, ()))
    if kind == "vlad":
        how["vocabulary"] = find_vocabulary(config, config.vocabulary)
    return aggregators.build_aggregator(kind, **how)
