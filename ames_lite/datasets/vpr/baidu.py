"""Baidu Mall: undistorted images, and a `.camera` file of the same name for each.

A camera file's lines 5 to 7 are the rows of a 3 x 3 rotation, its last line but one is `x y z` in
metres. Positives are gallery images within a radius in space; where max_angle is given, also turned
by no more than that (degrees of the rotation between the two cameras).
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from ames_lite.datasets.vpr.dataset import PlaceSet, make_place_set
from ames_lite.datasets.vpr.folders import natural_names, read_lines
from ames_lite.datasets.vpr.positives import by_position
from ames_lite.errors import BadInput, ConfigError

FORM = "a camera: lines 5 to 7 the rows of a rotation, the last but one x y z in metres"
LINES = 9  # at least: rotation in 5 to 7, position before the last
TOLERANCE = 1e-2  # of a rotation's rows being orthonormal, as text has few digits

Floats = npt.NDArray[np.float64]


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
) -> PlaceSet:
    """Positives by distance, and by angle where max_angle is given.

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
    return make_place_set(asked, names, found)


def read_camera(path: Path) -> tuple[Floats, Floats]:
    """Rotation [3, 3] and position [3]. Raises MissingFile; BadInput with the line."""
    lines = read_lines(path, FORM)
    if len(lines) < LINES:
        what = f"a camera of {len(lines)} lines"
        raise BadInput(what, where=path, expected=f"{LINES} or more: {FORM}")
    rotation = np.array([_three(lines, row, path) for row in (4, 5, 6)])
    return rotation, np.array(_three(lines, len(lines) - 2, path))


def _check_rotations(rotations: Floats, paths: list[Path]) -> None:
    for rotation, path in zip(rotations, paths, strict=True):
        if np.abs(rotation @ rotation.T - np.eye(3)).max() > TOLERANCE:
            where = f"{path}, lines 5 to 7"
            raise BadInput("the rows are not those of a rotation", where=where, expected=FORM)


def _three(lines: list[str], row: int, path: Path) -> list[float]:
    try:
        values = [float(word) for word in lines[row].split()]
    except ValueError:
        values = []
    if len(values) != 3 or not np.isfinite(values).all():
        where = f"{path}, line {row + 1}"
        raise BadInput(f"'{lines[row][:60]}'", where=where, expected=f"three numbers; {FORM}")
    return values


def angles(turns: Floats, turn: Floats) -> Floats:
    """Degrees by which cameras [N, 3, 3] are turned against one [3, 3]."""
    traces = np.einsum("nij,ij->n", turns, turn)
    degrees: Floats = np.degrees(np.arccos(np.clip((traces - 1) / 2, -1, 1)))
    return degrees
