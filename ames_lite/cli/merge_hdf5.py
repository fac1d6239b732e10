"""`python extract/merge_hdf5.py`: the shards of an extraction joined to one store."""

from __future__ import annotations

from collections.abc import Sequence

from ames_lite.cli.compose import Config
from ames_lite.cli.shell import chosen_splits, command, dataset_files
from ames_lite.datasets.image_lists import read_image_list
from ames_lite.datasets.layout import DatasetFiles
from ames_lite.errors import ConfigError
from ames_lite.extraction.merging import HOW, merge_globals, merge_stores
from ames_lite.stores.shards import find_shards


def main(overrides: Sequence[str] | None = None) -> int:
    """The command."""
    return command("merge_hdf5", run, overrides)


def run(config: Config) -> None:
    """Join the shards of every split."""
    if config["how"] not in HOW:
        raise ConfigError(f"how={config['how']}", expected=" or ".join(HOW))
    files, splits = dataset_files(config), chosen_splits(config)
    if config["global"] is not None:
        _merge_globals(config, files, splits)
        return
    found = {
        split: find_shards(files.local_path(split), files.make_local(splits=[split]))
        for split in splits
    }
    for split, shards in found.items():
        path = merge_stores(
            shards,
            files.local_path(split),
            read_image_list(files.image_list(split)).names,
            how=config["how"],
            compression=config["compression"],
            overwrite=config["overwrite"],
        )
        print(f"{split}: {path} ({len(shards)} shards, {config['how']})")


def _merge_globals(config: Config, files: DatasetFiles, splits: Sequence[str]) -> None:
    kind = config["global"]
    if config["how"] != "copy" or config["compression"] is not None:
        raise ConfigError(
            f"global={kind} with how={config['how']}, compression={config['compression']}",
            expected="how=copy compression=null: global descriptors are copied as they are",
        )
    found = {
        split: find_shards(files.global_path(split, kind), files.make_globals(split, kind))
        for split in splits
    }
    for split, shards in found.items():
        names = read_image_list(files.image_list(split)).names
        output = files.global_path(split, kind)
        path = merge_globals(shards, output, names, overwrite=config["overwrite"])
        print(f"{split}: {path} ({len(shards)} shards, copy)")
