"""`python extract/append_distractors.py`: distractors appended to a gallery."""

from dataclasses import replace
from pathlib import Path

from ames_lite.cli.compose import compose
from ames_lite.cli.schema.extraction import AppendDistractors
from ames_lite.cli.shell import dataset_files
from ames_lite.datasets.layout import DatasetFiles
from ames_lite.errors import ConfigError
from ames_lite.extraction.merging import append_distractors


def run(config: AppendDistractors) -> list[Path]:
    """Join the two sets that the data set names."""
    dataset = config.dataset
    if dataset.base is None or dataset.distractors is None:
        raise ConfigError(
            f"dataset={dataset.option} has no distractors", expected="roxford+1m or rparis+1m"
        )
    paths = append_distractors(
        _files(config, dataset.base),
        _files(config, dataset.distractors),
        dataset_files(config),
        kinds=config.globals,
        overwrite=config.overwrite,
    )
    for path in paths:
        print(path)
    return paths


def _files(config: AppendDistractors, name: str) -> DatasetFiles:
    dataset = compose("append_distractors", [f"dataset={name}"]).dataset
    return dataset_files(replace(config, dataset=dataset))
