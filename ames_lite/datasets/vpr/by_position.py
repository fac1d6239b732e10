"""Layouts that say where each image was taken: right is what is near.

robotcar: a MATLAB file; baidu: a camera file an image; pose_rows: one list of poses for both sides;
names with coordinates are in utm.py. A radius is inclusive; what is nearest counts at any distance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.io import loadmat

from ames_lite.datasets import rules
from ames_lite.datasets.relation import Relation
from ames_lite.datasets.rules import Floats, Rows
from ames_lite.datasets.vpr.folders import (
    check_present,
    line_of,
    natural_names,
    read_lines,
)
from ames_lite.datasets.vpr.rows import check_length
from ames_lite.errors import BadInput, ConfigError, MissingFile
from ames_lite.stores.published.object_npy import read_npy

Side = tuple[list[str], Floats]  # names, and positions [N, d]


def by_position(query: Floats, gallery: Floats, radius: float | None, count: int | None) -> Rows:
    """Within a radius, the nearest so many, or where both are given those that are both.

    No slack is given to the radius: the published evaluations compare floats.
    """
    if radius is None and count is None:
        raise ConfigError("neither radius nor nearest is given", expected="one of them, or both")
    inside = None if radius is None else rules.near_on_the_plane(query, gallery, radius, slack=0)
    first = None if count is None else rules.nearest(query, gallery, count)
    if inside is None or first is None:
        return inside or first or []
    return [np.intersect1d(one, other) for one, other in zip(first, inside, strict=True)]


def relate(query: Side, gallery: Side, radius: float | None, count: int | None) -> Relation:
    """The relation of two sides by position."""
    found = by_position(query[1], gallery[1], radius, count)
    return Relation(query[0], gallery[0], {"easy": found})


# ---------------------------------------------------------------- robotcar


FIELDS = ("dbImage", "locDb", "qImage", "locQ", "numDb", "numQ", "posDistThr")
MATLAB = f"a MATLAB file with dbStruct: {', '.join(FIELDS)}"


def read_robotcar(
    root: Path,
    *,
    structure: str,
    images: str,
    radius: float | None = None,
    nearest: int | None = None,
) -> Relation:
    """Oxford RobotCar: `dbStruct` of a MATLAB file has names, positions and a threshold.

    dbImage and qImage are names in the folder `images`, locDb and locQ metres, [2, N] or [N, 2].
    Positives by distance; radius None: posDistThr of the file, unless `nearest` is given.

    Raises MissingFile; BadInput where fields are missing or contradict each other, and where
    listed images are absent.
    """
    path = root / structure
    fields = _read_structure(path)
    query_names, query = _matlab_side(fields, "q", path)
    gallery_names, gallery = _matlab_side(fields, "db", path)
    for names, field in ((query_names, "qImage"), (gallery_names, "dbImage")):
        names[:] = [f"{images}/{name}" for name in names]
        check_present(root, names, line_of(path, field))
    if radius is None and nearest is None:
        radius = _threshold(fields, path)
    made = relate((query_names, query), (gallery_names, gallery), radius, nearest)
    return replace(made, notes=(f"radius: {radius} m",))


def _read_structure(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise MissingFile("a file of the set is missing", where=path, expected=MATLAB)
    try:
        fields = loadmat(str(path), simplify_cells=True)["dbStruct"]
    except Exception as error:  # of a damaged file nearly anything is raised
        raise BadInput(f"cannot be read ({error})", where=path, expected=MATLAB) from error
    missing = [name for name in FIELDS if not isinstance(fields, dict) or name not in fields]
    if missing:
        what = f"dbStruct lacks {', '.join(missing)}"
        raise BadInput(what, where=path, expected=MATLAB)
    return dict(fields)


def _matlab_side(fields: dict[str, Any], side: str, path: Path) -> Side:
    """Names and positions [N, 2] of queries ("q") or gallery ("db")."""
    suffix = side.capitalize()
    names = [str(name).strip() for name in np.atleast_1d(fields[f"{side}Image"]).ravel().tolist()]
    count = np.asarray(fields[f"num{suffix}"])
    if count.size != 1 or int(count.ravel()[0]) != len(names):
        what = f"{side}Image has {len(names)} names and num{suffix} is {count.ravel().tolist()}"
        raise BadInput(what, where=path, expected="as many names as it says")
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        what = f"{side}Image names '{repeated}' twice"
        raise BadInput(what, where=path, expected="every image once")
    return names, _positions(fields[f"loc{suffix}"], len(names), f"loc{suffix}", path)


def _positions(values: Any, count: int, field: str, path: Path) -> Floats:
    array = np.asarray(values)
    if array.ndim == 1 and count == 1:
        array = array[:, None]
    if array.shape == (2, count):  # as MATLAB has it; with two images both would fit
        array = array.T
    fine = array.shape == (count, 2) and array.dtype.kind in "iuf"
    if not fine or not np.isfinite(array).all():
        what = f"{field} is {list(array.shape)} ({array.dtype.name})"
        raise BadInput(what, where=path, expected=f"[2, {count}] or [{count}, 2] finite metres")
    return array.astype(np.float64)


def _threshold(fields: dict[str, Any], path: Path) -> float:
    value = np.asarray(fields["posDistThr"])
    if value.size != 1 or value.dtype.kind not in "iuf" or not 0 < float(value.ravel()[0]) < np.inf:
        what = f"posDistThr is {value.ravel().tolist()}"
        raise BadInput(what, where=path, expected="one distance in metres")
    return float(value.ravel()[0])


# ---------------------------------------------------------------- baidu


CAMERA = "a camera: lines 5 to 7 the rows of a rotation, the last but one x y z in metres"
CAMERA_LINES = 9  # at least: rotation in 5 to 7, position before the last
ORTHONORMAL = 1e-2  # of a rotation's rows being orthonormal, as text has few digits


def read_baidu(
    root: Path,
    *,
    database: str,
    queries: str,
    database_poses: str,
    query_poses: str,
    radius: float | None = 10.0,
    nearest: int | None = None,
    max_angle: float | None = None,
) -> Relation:
    """Baidu Mall: for each image a `.camera` file of the same name.

    Its lines 5 to 7 are the rows of a 3 x 3 rotation, its last line but one is `x y z` in metres.
    Positives by distance; where max_angle is given, also turned by no more than so many degrees.
    Raises MissingFile for an image without a camera; BadInput with file and line.
    """
    if max_angle is not None and not 0 < max_angle <= 180:
        raise ConfigError(f"max_angle is {max_angle}", expected="degrees, above 0 and up to 180")
    sides = []
    for folder, poses in ((queries, query_poses), (database, database_poses)):
        names = natural_names(root, folder)
        stems = [PurePosixPath(name).stem for name in names]
        paths = [root / poses / f"{stem}.camera" for stem in stems]
        cameras = [read_camera(path) for path in paths]
        rotations, positions = (np.array(part) for part in zip(*cameras, strict=True))
        if max_angle is not None:
            _check_rotations(rotations, paths)
        sides.append((names, rotations, positions))
    (asked, query_turns, query), (names, turns, gallery) = sides
    found = by_position(query, gallery, radius, nearest)
    if max_angle is not None:
        found = [
            rows[angles(turns[rows], query_turns[q]) <= max_angle] for q, rows in enumerate(found)
        ]
    return Relation(asked, names, {"easy": found})


def read_camera(path: Path) -> tuple[Floats, Floats]:
    """Rotation [3, 3] and position [3]. Raises MissingFile; BadInput with the line."""
    lines = read_lines(path, CAMERA)
    if len(lines) < CAMERA_LINES:
        what = f"a camera of {len(lines)} lines"
        raise BadInput(what, where=path, expected=f"{CAMERA_LINES} or more: {CAMERA}")
    rotation = np.array([_three(lines, row, path) for row in (4, 5, 6)])
    return rotation, np.array(_three(lines, len(lines) - 2, path))


def _check_rotations(rotations: Floats, paths: list[Path]) -> None:
    for rotation, path in zip(rotations, paths, strict=True):
        if np.abs(rotation @ rotation.T - np.eye(3)).max() > ORTHONORMAL:
            where = f"{path}, lines 5 to 7"
            raise BadInput("the rows are not those of a rotation", where=where, expected=CAMERA)


def _three(lines: list[str], row: int, path: Path) -> list[float]:
    try:
        values = [float(word) for word in lines[row].split()]
    except ValueError:
        values = []
    if len(values) != 3 or not np.isfinite(values).all():
        where = f"{path}, line {row + 1}"
        raise BadInput(f"'{lines[row][:60]}'", where=where, expected=f"three numbers; {CAMERA}")
    return values


def angles(turns: Floats, turn: Floats) -> Floats:
    """Degrees by which cameras [N, 3, 3] are turned against one [3, 3]."""
    traces = np.einsum("nij,ij->n", turns, turn)
    degrees: Floats = np.degrees(np.arccos(np.clip((traces - 1) / 2, -1, 1)))
    return degrees


# ---------------------------------------------------------------- poses


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
) -> Relation:
    """Routes with one list of poses (`.npy`, a row a frame), folders in natural order.

    Positives by distance over the first columns, in metres. database_rows, query_rows: [first,
    stop].

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
    return relate(sides["query"], sides["gallery"], radius, nearest)


def _numbers(rows: npt.NDArray[np.generic], columns: int, path: Path, expected: str) -> Floats:
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
