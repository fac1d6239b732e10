"""Official layouts of place recognition and category sets, read to names and positives.

READERS: by the name that a dataset's YAML gives.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ames_lite.datasets.relation import Relation
from ames_lite.datasets.vpr import by_list, by_position, db_struct, published
from ames_lite.errors import MissingFile, chosen, require

READERS: Mapping[str, Callable[..., Relation]] = {
    "utm": by_position.read_utm,
    "traverses": by_list.read_traverses,
    "pose_rows": by_position.read_pose_rows,
    "msls": by_position.read_msls,
    "db_struct": db_struct.read_db_struct,
    "baidu": by_position.read_baidu,
    "matches_csv": by_list.read_matches,
    "pairs_by_id": by_list.read_pairs_by_id,
    "index_arrays": by_list.read_index_arrays,
    "labelled": published.read_labelled,
    "official": published.read_official,
    "revisitop": published.read_revisitop,
    "distractors": published.read_distractors,
    "ilias": by_list.read_ilias,
}


def read_layout(reader: str, root: Path, options: Mapping[str, Any], page: str) -> Relation:
    """Read the set at `root`. page: where it comes from, for messages when a part is not there."""
    read = chosen(reader, READERS, "reader")
    require(root.is_dir(), "the set is not there", where=root, remedy=page, kind=MissingFile)
    try:
        return read(root, **options)
    except MissingFile as error:
        raise MissingFile(str(error), remedy=page) from error
