"""`python extract/merge_hdf5.py`: the shards of an extraction joined to one store."""

from pathlib import Path

from ames_lite.cli.schema.extraction import MergeHdf5
from ames_lite.cli.schema.keys import some_of
from ames_lite.cli.shell import chosen_splits, dataset_files
from ames_lite.datasets.layout import DatasetFiles
from ames_lite.errors import check_config
from ames_lite.extraction.merging import merge_stores
from ames_lite.io.writing import refuse_existing
from ames_lite.stores.merging import find_shards


def run(config: MergeHdf5) -> None:
    kind, how, compression = config.global_, config.how, config.compression
    what = f"global={kind} with how={how}, compression={compression}"
    expected = "how=copy compression=null: global descriptors are copied as they are"
    check_config(kind is None or (how == "copy" and compression is None), what, expected)
    files, splits = dataset_files(config), chosen_splits(config)
    found = {split: _find(files, split, kind) for split in splits}
    if all(output.exists() for output, _ in found.values()):
        refuse_existing(found[splits[0]][0], config.overwrite)
    given = some_of(config, ("how", "compression", "overwrite"))
    given["keep"] = True  # what an interrupted run has written
    for split, (output, shards) in found.items():
        names = files.names(split)
        merge_stores(shards, output, names, of_globals=kind is not None, **given)
        print(f"{split}: {output} ({len(shards)} shards, {how})")


def _find(files: DatasetFiles, split: str, kind: str | None) -> tuple[Path, list[Path]]:
    if kind is None:
        path, remedy = files.local_path(split), files.make_local(splits=[split])
    else:
        path, remedy = files.global_path(split, kind), files.make_globals(split, kind)
    return path, find_shards(path, remedy)
