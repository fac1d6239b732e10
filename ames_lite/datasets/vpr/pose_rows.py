"""Routes with one list of poses for both sides: `pose_topic_list.npy`, a row a frame.

Layout: a folder of gallery images and one of queries, flat, in natural order; some rows of the
list are those of the gallery, others those of the queries. The first columns are metres.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ames_lite.datasets.vpr.dataset import PlaceSet, make_place_set
from ames_lite.datasets.vpr.folders import natural_names
from ames_lite.datasets.vpr.positives import by_position, check_length
from ames_lite.errors import BadInput, ConfigError
from ames_lite.stores.published.object_npy import read_npy


def read_pose_rows(
    root: Path,
    *,
    database: str,
    queries: str,
    poses: str,
    database_rows: Sequence[int],
    query_rows: Sequence[int],
    columns: int = 2,
    radius: float | None = 8.0,
    nearest: int | None = None,
) -> PlaceSet:
    """Positives by distance over the first columns. database_rows, query_rows: [first, stop].

    Raises BadInput where the list is too short, a folder has another number of images than it has
    rows, or a pose is no number.
    """
    path = root / poses
    expected = f"numbers [N, {columns} or more]: metres"
    table = _numbers(read_npy(path, expected), columns, path, expected)
    sides = {}
    for side, (folder, bounds) in {
        "query": (queries, query_rows),
        "gallery": (database, database_rows),
    }.items():
        if len(bounds) != 2 or not 0 <= bounds[0] < bounds[1]:
            raise ConfigError(f"rows of {side} are {list(bounds)}", expected="[first, stop]")
        first, stop = bounds
        if stop > len(table):
            what = f"{len(table)} poses, and the {side} side ends at row {stop}"
            raise BadInput(what, where=path, expected=f"at least {stop} rows: of another release?")
        names = natural_names(root, folder)
        where = f"{path}, rows {first} to {stop - 1}"
        check_length(stop - first, len(names), "the list of poses", where, folder)
        sides[side] = (names, table[first:stop])
    (asked, query), (names, gallery) = sides["query"], sides["gallery"]
    return make_place_set(asked, names, by_position(query, gallery, radius, nearest))


def _numbers(
    rows: npt.NDArray[np.generic], columns: int, path: Path, expected: str
) -> npt.NDArray[np.float64]:
    """Poses [N, columns]; the rows of an object array one by one, to name the one that is bad."""
    found = np.full((len(rows) if rows.ndim else 0, columns), np.nan)
    for row in range(len(found)):
        values = np.asarray(rows[row])
        if values.ndim == 1 and len(values) >= columns:
            for column, value in enumerate(values[:columns].tolist()):
                plain = isinstance(value, int | float) and not isinstance(value, bool)
                found[row, column] = value if plain else np.nan
        if not np.isfinite(found[row]).all():
            raise BadInput(f"pose {row} is not finite numbers", where=path, expected=expected)
    return found
