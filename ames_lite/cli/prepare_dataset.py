"""`python scripts/prepare_dataset.py`: image lists and ground truth of a custom dataset.

Writes gallery.txt, query.txt, gnd_<name>.json and dataset.json, which says what they were made from
and which protocol evaluates them, to data_root/<name>. With val_share=, a training set and a
validation set (family_split).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ames_lite.cli.compose import Config
from ames_lite.cli.family_split import prepare_split
from ames_lite.cli.own_folder import folder_of, prepare
from ames_lite.cli.shell import command, data_root
from ames_lite.datasets.custom.truth import FORMS, CustomOptions
from ames_lite.errors import ConfigError

OPTIONS = (
    *("images", "labels", "kind", "query_images", "queries", "gallery", "radius", "tolerance"),
    *("families", "val_share", "distractors"),
)


def main(overrides: Sequence[str] | None = None) -> int:
    """The command."""
    return command("prepare_dataset", run, overrides)


def run(config: Config) -> Path:
    """Write the lists and the ground truth; returns their folder, of a split the first."""
    for key in ("images", "labels"):
        if config[key] is None:
            raise ConfigError(f"{key}= is not given", expected=f"images=<folder> {FORMS}")
    options = CustomOptions(**{key: config[key] for key in OPTIONS})
    if options.val_share is not None:
        drawn = {key: config[key] for key in ("seed", "queries_per_label")}
        given = data_root(config), config["name"], replace(options, **drawn), config["protocol"]
        return prepare_split(*given, config["overwrite"])
    for key in ("families", "distractors"):
        if config[key] is not None:
            expected = "val_share=<the share of the instances to validate on>"
            raise ConfigError(f"{key}= is given without val_share=", expected=expected)
    folder = folder_of(data_root(config), config["name"])
    chosen = {key: config[key] for key in ("protocol", "role", "overwrite")}
    prepare(folder, options, **chosen)
    return folder
