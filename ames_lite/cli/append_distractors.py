"""`python extract/append_distractors.py`: distractors appended to a gallery."""

from dataclasses import replace
from pathlib import Path

from ames_lite.cli.schema.extraction import AppendDistractors
from ames_lite.cli.shell import dataset_files, dataset_named
from ames_lite.errors import ConfigError
from ames_lite.extraction.merging import append_distractors


def run(config: AppendDistractors) -> list[Path]:
    dataset = config.dataset
    if dataset.base is None or dataset.distractors is None:
        what = f"dataset={dataset.option} has no distractors"
        raise ConfigError(what, expected="roxford+1m or rparis+1m")
    base, distractors = (
        dataset_files(replace(config, dataset=dataset_named(name)))
        for name in (dataset.base, dataset.distractors)
    )
    files, kinds, overwrite = dataset_files(config), config.globals, config.overwrite
    paths = append_distractors(base, distractors, files, kinds=kinds, overwrite=overwrite)
    for path in paths:
        print(path)
    return paths
