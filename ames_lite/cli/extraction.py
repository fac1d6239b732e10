"""What the commands of extraction share: the backbone, image lists, crop boxes, the shard."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from ames_lite.cli.schema.keys import Describing, Named
from ames_lite.datasets.image_lists import read_image_list
from ames_lite.datasets.layout import DatasetFiles, find_all
from ames_lite.errors import ConfigError
from ames_lite.extraction.backbones import BACKBONES, build_backbone
from ames_lite.extraction.backbones.interface import Backbone
from ames_lite.io.images import Box
from ames_lite.stores.published.store import is_published


def configured_backbone(
    backbone: Named | None, how: Describing, precision: str | None = None
) -> Backbone:
    """The backbone of `backbone=`, on `device=`. Raises ConfigError where none is named."""
    if backbone is None:
        named = getattr(how, "desc_name", "")
        what = f"desc_name={named} is no backbone, and backbone= is not given"
        raise ConfigError(what, expected=f"backbone= one of {', '.join(sorted(BACKBONES))}")
    return build_backbone(
        backbone.name,
        device=how.device,
        precision=precision or how.precision,
        batch_pixels=how.batch_pixels,
        **backbone.arguments,
    )


def query_boxes(files: DatasetFiles, names: Sequence[str]) -> list[Box | None]:
    gallery = read_image_list(files.image_list("gallery")).names
    return list(files.read_truth(names, gallery).bbox)


def find_lists(files: DatasetFiles, splits: Sequence[str]) -> None:
    """Raises one MissingFile for all image lists, and ground truth for boxes, that are missing."""
    needed: dict[str, Callable[[], Path]] = {s: partial(files.image_list, s) for s in splits}
    if "query" in splits:
        needed |= {"gallery": partial(files.image_list, "gallery"), "gnd": files.ground_truth}
    find_all(needed)


def names_of_published(files: DatasetFiles, split: str, path: Path) -> Sequence[str] | None:
    """The image list of a split, where its file is of the published form, which has no names."""
    return read_image_list(files.image_list(split)).names if is_published(path) else None
