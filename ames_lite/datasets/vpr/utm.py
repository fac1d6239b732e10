"""The common folder format of place recognition: positions stand in the names of the images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ames_lite.datasets.relation import Relation
from ames_lite.datasets.rules import Floats
from ames_lite.datasets.vpr.by_position import Side, relate
from ames_lite.datasets.vpr.folders import check_present, line_of, read_names, sorted_names
from ames_lite.errors import BadInput

FORM = "@UTM_east@UTM_north@zone@letter@…@.jpg, metres, such as @0499638.99@6958015.36@56@J@…@.jpg"
EAST, NORTH = (100_000.0, 1_000_000.0), (0.0, 10_000_000.0)  # what UTM gives anywhere on earth


def read_utm(
    root: Path,
    *,
    database: str,
    queries: str,
    radius: float | None = 25.0,
    nearest: int | None = None,
    mock: bool = False,
) -> Relation:
    """The common folder format: `@UTM_east@UTM_north@zone@letter@lat@lon@…@.jpg`, metres.

    A folder of gallery images and one of queries, searched to any depth and sorted by path, or
    listed in `<folder>_images_paths.txt` beside it. Zones are not compared, as in the published
    evaluations. mock: the numbers are no UTM coordinates (frame numbers in disguise) and have no
    limits. Positives: within `radius` metres, the `nearest` so many, or both. Raises BadInput,
    naming the image (and the line of a list), for absent images and for names with missing or
    swapped fields.
    """
    query, gallery = (_utm_side(root, folder, mock) for folder in (queries, database))
    return relate(query, gallery, radius, nearest)


def _utm_side(root: Path, folder: str, mock: bool) -> Side:
    listed = root / f"{folder}_images_paths.txt"
    if listed.is_file():
        names = [f"{folder}/{name}" for name in read_names(listed, "one path a line")]
        check_present(root, names, line_of(listed))
        return names, parse_positions(names, line_of(listed), mock=mock)
    names = sorted_names(root, folder)
    return names, parse_positions(names, lambda row: str(root / names[row]), mock=mock)


def parse_positions(names: list[str], where: Callable[[int], str], *, mock: bool = False) -> Floats:
    """East and north [N, 2] from names. Raises BadInput with where(row) of the first bad one."""
    found = np.zeros((len(names), 2))
    for row, name in enumerate(names):
        parts = name.rsplit("/", 1)[-1].split("@")
        if len(parts) < 4:
            what = f"'{name}' has {len(parts) - 1} of the fields that begin with @"
            raise BadInput(what, where=where(row), expected=FORM)
        for column, field in enumerate(("UTM_east", "UTM_north")):
            found[row, column] = _number(parts[column + 1], field, where(row))
        if not mock:
            _check_range(found[row, 0], found[row, 1], where(row))
    return found


def _number(text: str, field: str, where: str) -> float:
    try:
        value = np.nan if "_" in text else float(text)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        what = f"{field} is missing" if not text.strip() else f"{field} is '{text}'"
        raise BadInput(what, where=where, expected=FORM)
    return value


def _check_range(east: float, north: float, where: str) -> None:
    def fits(x: float, y: float) -> bool:
        return EAST[0] <= x < EAST[1] and NORTH[0] <= y <= NORTH[1]

    if not fits(east, north):
        swapped = ", as if they were swapped" if fits(north, east) else ""
        raise BadInput(
            f"UTM_east is {east:.2f} and UTM_north {north:.2f}{swapped}",
            where=where,
            expected=f"{FORM}; east from {EAST[0]:.0f} to {EAST[1]:.0f}, north from 0 to "
            f"{NORTH[1]:.0f}",
        )
