"""What the commands of extraction share: the backbone, image lists, crop boxes, the shard."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from ames_lite.cli.schema.keys import Describing, Named, some_of
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
    given = backbone.arguments | some_of(how, ("device", "batch_pixels"))
    return build_backbone(backbone.name, precision=precision or how.precision, **given)


def query_boxes(files: DatasetFiles, names: Sequence[str]) -> list[Box | None]:
    gallery = files.names("gallery")
    return list(files.read_truth(names, gallery).bbox)


def find_lists(files: DatasetFiles, splits: Sequence[str]) -> None:
    """Raises one MissingFile for all image lists, and ground truth for boxes, that are missing."""
    needed: dict[str, Callable[[], Path]] = {s: partial(files.image_list, s) for s in splits}
    if "query" in splits:
        needed |= {"gallery": partial(files.image_list, "gallery"), "gnd": files.ground_truth}
    find_all(needed)


def names_of_published(files: DatasetFiles, split: str, path: Path) -> Sequence[str] | None:
    """The image list of a split, where its file is of the published form, which has no names."""
    return files.names(split) if is_published(path) else None
