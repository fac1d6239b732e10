"""Layouts that say where each image was taken: right is what is near.

utm: metres in the names; msls: tables of a city; baidu: a camera file an image; pose_rows: one list
of poses for both sides. A radius is inclusive; what is nearest counts at any distance.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from ames_lite.datasets import rules
from ames_lite.datasets.relation import Relation
from ames_lite.datasets.rules import Floats, Rows
from ames_lite.datasets.tables import Form, read_table
from ames_lite.datasets.vpr import folders
from ames_lite.errors import check_config, require
from ames_lite.io.names import Where, check_once, check_present, line_of
from ames_lite.stores.published.safe_pickle import read_npy

Side = tuple[list[str], Floats]  # names, and positions [N, d]
UTM = "@UTM_east@UTM_north@zone@letter@…@.jpg, metres, such as @0499638.99@6958015.36@56@J@…@.jpg"
EAST, NORTH = (100_000.0, 1_000_000.0), (0.0, 10_000_000.0)  # what UTM gives anywhere on earth
CAMERA = "a camera: lines 5 to 7 the rows of a rotation, the last but one x y z in metres"
CAMERA_LINES = 9  # at least: rotation in 5 to 7, position before the last
ORTHONORMAL = 1e-2  # of a rotation's rows being orthonormal, as text has few digits


def by_position(query: Floats, gallery: Floats, radius: float | None, count: int | None) -> Rows:
    """Within a radius and among the nearest; no slack, as published evaluations compare floats."""
    given, what = (radius, count) != (None, None), "neither radius nor nearest is given"
    check_config(given, what, "one of them, or both")
    inside = None if radius is None else rules.near_on_the_plane(query, gallery, radius, slack=0)
    first = None if count is None else rules.nearest(query, gallery, count)
    if inside is None or first is None:
        return inside or first or []
    return [np.intersect1d(one, other) for one, other in zip(first, inside, strict=True)]


def relate(query: Side, gallery: Side, radius: float | None, count: int | None) -> Relation:
    found = by_position(query[1], gallery[1], radius, count)
    return Relation(query[0], gallery[0], {"easy": found})


def read_utm(
    root: Path,
    *,
    database: str,
    queries: str,
    radius: float | None = 25.0,
    nearest: int | None = None,
    mock: bool = False,  # no UTM coordinates (frame numbers in disguise), which have no limits
) -> Relation:
    """The common folder format: `@UTM_east@UTM_north@zone@letter@lat@lon@…@.jpg`, metres.

    Folders are searched to any depth and sorted by path, or listed in `<folder>_images_paths.txt`.
    Zones are not compared, as in the published evaluations. Positives: within `radius` metres, the
    `nearest` so many, or both.
    """
    query, gallery = (_utm_side(root, folder, mock) for folder in (queries, database))
    return relate(query, gallery, radius, nearest)


def _utm_side(root: Path, folder: str, mock: bool) -> Side:
    listed = f"{folder}_images_paths.txt"
    if (root / listed).is_file():
        names = folders.listed_images(root, listed, folder)
        return names, parse_positions(names, line_of(root / listed), mock=mock)
    names = folders.sorted_names(root, folder)
    return names, parse_positions(names, lambda row: str(root / names[row]), mock=mock)


def parse_positions(names: Sequence[str], where: Where, *, mock: bool = False) -> Floats:
    """East and north [N, 2] from names. Raises BadInput with where(row) of the first bad one."""
    found = np.zeros((len(names), 2))
    for row, name in enumerate(names):
        parts = name.rsplit("/", 1)[-1].split("@")
        what = f"'{name}' has {len(parts) - 1} of the fields that begin with @"
        require(len(parts) > 3, what, where=where(row), expected=UTM)
        for column, field in enumerate(("UTM_east", "UTM_north")):
            text = parts[column + 1]
            (found[row, column],) = folders.numbers_of(text, 1)
            what = f"{field} is '{text}'" if text.strip() else f"{field} is missing"
            fine = np.isfinite(found[row, column]) and "_" not in text
            require(fine, what, where=where(row), expected=UTM)
        if not mock:
            _check_range(found[row, 0], found[row, 1], where(row))
    return found


def _check_range(east: float, north: float, where: str) -> None:
    def fits(x: float, y: float) -> bool:
        return EAST[0] <= x < EAST[1] and NORTH[0] <= y <= NORTH[1]

    swapped = ", as if they were swapped" if fits(north, east) else ""
    limits = f"east from {EAST[0]:.0f} to {EAST[1]:.0f}, north from 0 to {NORTH[1]:.0f}"
    what = f"UTM_east is {east:.2f} and UTM_north {north:.2f}{swapped}"
    require(fits(east, north), what, where=where, expected=f"{UTM}; {limits}")


def read_msls(
    root: Path,
    *,
    cities: Sequence[str],
    radius: float | None = 25.0,
    nearest: int | None = None,
    subtask: str | None = "all",  # a column of `subtask_index.csv`, as its loader picks images
    panoramas: bool = False,  # those that `raw.csv` marks are kept
) -> Relation:
    """Mapillary Street-level Sequences, `<city>/{query,database}/` with `postprocessed.csv`.
    Positives by distance within a city. Queries without positives are left out.
    """
    asked, gallery, rows = list[str](), list[str](), Rows()
    for city in cities:
        both = (f"{city}/query", f"{city}/database")
        query, database = (_msls_side(root, folder, subtask, panoramas) for folder in both)
        near = by_position(query[1], database[1], radius, nearest)
        asked += query[0]
        rows += [found + len(gallery) for found in near]
        gallery += database[0]
    made = Relation(asked, gallery, {"easy": rows})
    without = len(made.without_positives)
    kept = made.of_queries(np.flatnonzero(made.num_right()))
    return replace(kept, notes=(f"{without} queries without a positive are left out",))


def _msls_side(root: Path, folder: str, subtask: str | None, panoramas: bool) -> Side:
    table = read_table(root / folder / "postprocessed.csv", "coordinates")
    kept = {*table.columns["file"]}
    filters = (("subtask_index", subtask, "True"), ("raw", None if panoramas else "pano", "False"))
    for name, column, wanted in filters:
        if column is not None:
            form = Form(name, ("key", column), ())
            marks = read_table(root / folder / f"{name}.csv", name, (form,))
            said = zip(marks.columns["key"], marks.choices(column, ("True", "False")), strict=True)
            kept &= {key for key, cell in said if cell == wanted}
    rows = [row for row, key in enumerate(table.columns["file"]) if key in kept]
    table = table.of_rows(np.array(rows, np.int64))
    names = [f"{folder}/images/{key}.jpg" for key in table.columns["file"]]
    check_once(names, table.where)
    check_present(root, names, table.where)
    return names, np.stack([table.numbers(column) for column in ("x", "y")], axis=1)


def read_baidu(
    root: Path,
    *,
    database: str,
    queries: str,
    database_poses: str,
    query_poses: str,
    radius: float | None = 10.0,
    nearest: int | None = None,
    max_angle: float | None = None,  # positives are rotated by no more than so many degrees
) -> Relation:
    """Baidu Mall: for each image a `.camera` file of the same name. Its lines 5 to 7 are the rows
    of a 3 x 3 rotation, its last line but one is `x y z` in metres. Positives by distance.
    """
    fine, expected = max_angle is None or 0 < max_angle <= 180, "degrees, above 0 and up to 180"
    check_config(fine, f"max_angle is {max_angle}", expected)
    sides = []
    for folder, poses in ((queries, query_poses), (database, database_poses)):
        names = folders.natural_names(root, folder)
        paths = [root / poses / f"{PurePosixPath(name).stem}.camera" for name in names]
        cameras = [_read_camera(path, rotated=max_angle is not None) for path in paths]
        turns, positions = (np.array(part) for part in zip(*cameras, strict=True))
        sides.append((names, turns, positions))
    (asked, query_turns, query), (names, turns, gallery) = sides
    found = by_position(query, gallery, radius, nearest)
    if max_angle is not None:
        both = zip(found, query_turns, strict=True)
        found = [rows[angles(turns[rows], turn) <= max_angle] for rows, turn in both]
    return Relation(asked, names, {"easy": found})


def _read_camera(path: Path, rotated: bool) -> tuple[Floats, Floats]:
    """Rotation [3, 3], which is checked where `rotated`, and position [3]."""
    lines = folders.read_lines(path, CAMERA)
    expected = f"{CAMERA_LINES} or more: {CAMERA}"
    fine = len(lines) >= CAMERA_LINES
    require(fine, f"a camera of {len(lines)} lines", where=path, expected=expected)
    rows = []
    for row in (4, 5, 6, len(lines) - 2):
        rows.append(folders.numbers_of(lines[row], 3))
        fine, what = rules.are_metres(rows[-1]), f"'{lines[row][:60]}'"
        require(fine, what, where=f"{path}, line {row + 1}", expected=f"three numbers; {CAMERA}")
    rotation = np.array(rows[:3])
    fine = not rotated or bool(np.abs(rotation @ rotation.T - np.eye(3)).max() <= ORTHONORMAL)
    what, where = "the rows are not those of a rotation", f"{path}, lines 5 to 7"
    require(fine, what, where=where, expected=CAMERA)
    return rotation, rows[3]


def angles(turns: Floats, turn: Floats) -> Floats:
    """Degrees by which cameras [N, 3, 3] are rotated against one [3, 3]."""
    traces = np.einsum("nij,ij->n", turns, turn)
    degrees: Floats = np.degrees(np.arccos(np.clip((traces - 1) / 2, -1, 1)))
    return degrees


def read_pose_rows(
    root: Path,
    *,
    database: str,
    queries: str,
    poses: str,
    database_rows: Sequence[int],  # [first, stop]
    query_rows: Sequence[int],
    columns: int = 2,  # the first ones, metres
    radius: float | None = 8.0,
    nearest: int | None = None,
) -> Relation:
    """Routes with one list of poses (`.npy`, a row a frame), folders in natural order."""
    path, expected = root / poses, f"numbers [N, {columns} or more]: metres"
    table, sides = _poses(read_npy(path, expected), columns, path, expected), []
    places = (("query", queries, query_rows), ("gallery", database, database_rows))
    for side, folder, bounds in places:
        fine = len(bounds) == 2 and 0 <= bounds[0] < bounds[1]
        check_config(fine, f"rows of {side} are {list(bounds)}", "[first, stop]")
        first, stop = bounds
        what = f"{len(table)} poses, and the {side} side ends at row {stop}"
        expected = f"at least {stop} rows: of another release?"
        require(stop <= len(table), what, where=path, expected=expected)
        names, where = folders.natural_names(root, folder), f"{path}, rows {first} to {stop - 1}"
        folders.check_length(stop - first, len(names), "the list of poses", where, folder)
        sides.append((names, table[first:stop]))
    return relate(sides[0], sides[1], radius, nearest)


def _poses(rows: npt.NDArray[np.generic], columns: int, path: Path, expected: str) -> Floats:
    """Poses [N, columns]; the rows of an object array one by one, to name the one that is bad."""
    found = np.full((len(rows) if rows.ndim else 0, columns), np.nan)
    for row in range(len(found)):
        values = np.asarray(rows[row])
        given = values[:columns].tolist() if values.ndim == 1 else []
        plain = all(isinstance(v, int | float) and not isinstance(v, bool) for v in given)
        if len(given) == columns and plain:
            found[row] = given
        fine, what = rules.are_metres(found[row]), f"pose {row} is not finite metres"
        require(fine, what, where=path, expected=expected)
    return found
