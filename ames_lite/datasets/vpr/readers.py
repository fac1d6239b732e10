"""The readers of official layouts by the name that a dataset's YAML gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ames_lite.datasets.relation import Relation
from ames_lite.datasets.vpr.by_list import (
    read_ilias,
    read_index_arrays,
    read_matches,
    read_pairs_by_id,
    read_traverses,
)
from ames_lite.datasets.vpr.by_position import read_baidu, read_pose_rows, read_robotcar
from ames_lite.datasets.vpr.published import (
    read_distractors,
    read_labelled,
    read_official,
    read_revisitop,
)
from ames_lite.datasets.vpr.utm import read_utm
from ames_lite.errors import ConfigError, MissingFile

READERS: Mapping[str, Callable[..., Relation]] = MappingProxyType(
    {
        "utm": read_utm,
        "traverses": read_traverses,
        "pose_rows": read_pose_rows,
        "robotcar": read_robotcar,
        "baidu": read_baidu,
        "matches_csv": read_matches,
        "pairs_by_id": read_pairs_by_id,
        "index_arrays": read_index_arrays,
        "labelled": read_labelled,
        "official": read_official,
        "revisitop": read_revisitop,
        "distractors": read_distractors,
        "ilias": read_ilias,
    }
)


def read_layout(reader: str, root: Path, options: Mapping[str, Any], page: str) -> Relation:
    """Read the set at `root`. page: where it comes from, for messages when a part is not there."""
    if reader not in READERS:
        raise ConfigError(f"there is no reader '{reader}'", expected=f"one of {', '.join(READERS)}")
    if not root.is_dir():
        raise MissingFile("the set is not there", where=root, remedy=page)
    try:
        return READERS[reader](root, **options)
    except MissingFile as error:
        raise MissingFile(str(error), remedy=page) from error
