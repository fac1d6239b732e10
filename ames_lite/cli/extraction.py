"""What the commands that look at images share: the backbone, the crop boxes of queries."""

from __future__ import annotations

from collections.abc import Sequence

from ames_lite.cli.compose import Config
from ames_lite.datasets.ground_truth import read_ground_truth
from ames_lite.datasets.image_lists import read_image_list
from ames_lite.datasets.layout import DatasetFiles
from ames_lite.errors import ConfigError
from ames_lite.extraction.backbones import BACKBONES, build_backbone
from ames_lite.extraction.backbones.interface import Backbone
from ames_lite.io.images import Box


def configured_backbone(config: Config) -> Backbone:
    """The backbone of `backbone=`, on `device=`. Raises ConfigError where none is named."""
    if config.get("backbone") is None:
        raise ConfigError(
            f"desc_name={config['desc_name']} is no backbone, and backbone= is not given",
            expected=f"backbone= one of {', '.join(sorted(BACKBONES))}",
        )
    return build_backbone(
        config["backbone"]["name"],
        device=config["device"],
        precision=config["precision"],
        batch_pixels=config["batch_pixels"],
        **config["backbone"]["arguments"],
    )


def query_boxes(files: DatasetFiles, names: Sequence[str]) -> list[Box | None]:
    """The crop box of every query, from the ground truth."""
    gallery = read_image_list(files.image_list("gallery")).names
    path = files.ground_truth()
    truth = read_ground_truth(path, names, gallery, skip_last=files.skipped(path))
    return list(truth.bbox)


def optional_text(value: object) -> str | None:
    """A value that may be absent, as text: `shard=1/8`, a path."""
    return None if value is None else str(value)
