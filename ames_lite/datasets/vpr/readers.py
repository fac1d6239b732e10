"""The visible dict of readers: the name in a data set's YAML, and the function that reads it.

In: the folder of a set and the options of its YAML. Out: a PlaceSet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ames_lite.datasets.vpr.baidu import read_baidu
from ames_lite.datasets.vpr.dataset import PlaceSet
from ames_lite.datasets.vpr.ilias import read_ilias
from ames_lite.datasets.vpr.index_arrays import read_index_arrays
from ames_lite.datasets.vpr.matches_csv import read_matches
from ames_lite.datasets.vpr.pairs_by_id import read_pairs_by_id
from ames_lite.datasets.vpr.pose_rows import read_pose_rows
from ames_lite.datasets.vpr.published_lists import read_labelled, read_official
from ames_lite.datasets.vpr.revisitop import read_distractors, read_revisitop
from ames_lite.datasets.vpr.robotcar import read_robotcar
from ames_lite.datasets.vpr.traverses import read_traverses
from ames_lite.datasets.vpr.utm import read_utm
from ames_lite.errors import ConfigError, MissingFile

READERS: Mapping[str, Callable[..., PlaceSet]] = MappingProxyType(
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


def read_place_set(reader: str, root: Path, options: Mapping[str, Any], page: str) -> PlaceSet:
    """Read the set at `root`. page: where it comes from, for messages when a part is not there."""
    if reader not in READERS:
        raise ConfigError(f"there is no reader '{reader}'", expected=f"one of {', '.join(READERS)}")
    if not root.is_dir():
        raise MissingFile("the set is not there", where=root, remedy=page)
    try:
        return READERS[reader](root, **options)
    except MissingFile as error:
        raise MissingFile(str(error), remedy=page) from error
