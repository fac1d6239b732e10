"""`python scripts/import_features.py`: native stores from features that other tools saved."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from ames_lite.cli.schema.jobs import ImportFeatures
from ames_lite.cli.schema.keys import some_of
from ames_lite.cli.shell import dataset_files
from ames_lite.datasets.image_lists import read_image_list
from ames_lite.datasets.layout import DatasetFiles
from ames_lite.errors import MissingFile, check_config
from ames_lite.extraction.importing import Options, import_features
from ames_lite.stores.published.features.forms import open_features

OPTIONS = ("top_k", "packed", "pixels", "dtype", "on_bad_image", "overwrite")


def run(config: ImportFeatures) -> Path:
    """Write or continue the store of a split; returns its path."""
    check_config(config.features, "features= is not given", "features=<file or folder>")
    assert config.features is not None
    two = len(config.resized) == 2 and min(config.resized) > 0
    check_config(two, f"resized={config.resized}", "resized=[height,width]")
    files, split, kind = dataset_files(config), config.split, config.global_
    vectors, resized = kind is not None, (config.resized[0], config.resized[1])
    options = Options(**some_of(config, OPTIONS))
    found = open_features(config.features, form=config.form, vectors=vectors, resized=resized)
    with closing(found) as source:
        made = {"backbone": f"{config.desc_name} of {source.form}", "source": config.features.name}
        if kind is not None:
            made |= {"global": kind, "normalisation": "as given"}
        output = files.local_path(split) if kind is None else files.global_path(split, kind)
        more: Any = {"vectors": vectors, "image_root": config.images or files.image_root}
        names = _names(config, files)
        path = import_features(source, output, names, made, options=options, **more)
    print(f"{split}: {path}")
    return path


def _names(config: ImportFeatures, files: DatasetFiles) -> Sequence[str] | None:
    """The image list; None, and that is said, where neither names= nor the data set has one."""
    if config.names is not None:
        return read_image_list(config.names).names
    try:
        return files.names(config.split)
    except MissingFile:
        print(f"no {config.split} list in {files.root}: all images that have features, sorted")
        return None
