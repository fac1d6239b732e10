"""Positions of a table: metres x, y on a plane, or degrees lat, lon.

An image without a position is no query and no gallery image. No position are two empty cells (or
nan), lat and lon of 0, and x and y of 0 where all others are far away.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from ames_lite.datasets.rules import Floats, Rows, near_on_the_earth, near_on_the_plane
from ames_lite.datasets.tables import Table
from ames_lite.errors import BadInput, require

EMPTY = ("", "nan", "null", "none", "na", "n/a", "-")
FAR = 1000.0  # metres: x, y of 0 are an origin where another position is nearer
DIGITS = 4  # decimals of degrees: less says little, and metres have fewer


class Placed(NamedTuple):
    """Rows of a table that have a position, positions [n, 2], the rule for them, notes."""

    table: Table
    positions: Floats
    rule: Callable[..., Rows]
    notes: tuple[str, ...]


def place(table: Table, radius: float) -> Placed:
    """The positions of a table. Raises BadInput with file and line of one that is none."""
    columns = ("x", "y") if "x" in table.columns else ("lat", "lon")
    cells = zip(*(table.columns[column] for column in columns), strict=True)
    empty = np.array([all(cell.strip().lower() in EMPTY for cell in pair) for pair in cells], bool)
    rest = table.of_rows(np.flatnonzero(~empty))
    values = np.stack([rest.numbers(column) for column in columns], axis=1)
    zero = (values == 0).all(axis=1)
    if columns == ("x", "y"):
        zero &= _is_far(values[~zero])
    what = f"no image has a position in {','.join(columns)}"
    require(not zero.all(), what, where=table.path, expected="positions of the images")
    notes = _missing(table, int(empty.sum()), int(zero.sum()), columns)
    rest, values = rest.of_rows(np.flatnonzero(~zero)), values[~zero]
    if columns == ("x", "y"):
        notes += _check_metres(rest, values, radius)
        width, height = np.ptp(values, axis=0)
        span = f"positions span {width:.0f} m × {height:.0f} m"
        return Placed(rest, values, near_on_the_plane, (*notes, span))
    _check_degrees(rest, values)
    low, high = values.min(axis=0), values.max(axis=0)
    span = f"positions span lat {low[0]:.5f} to {high[0]:.5f}, lon {low[1]:.5f} to {high[1]:.5f}"
    return Placed(rest, values, near_on_the_earth, (*notes, span))


def _is_far(others: Floats) -> bool:
    return bool(len(others)) and float(np.hypot(*others.T).min()) > FAR


def _missing(table: Table, empty: int, zero: int, columns: Sequence[str]) -> tuple[str, ...]:
    found = [f"{empty} empty"] * bool(empty) + [f"{zero} at 0,0"] * bool(zero)
    if not found:
        return ()
    many = "1 image has" if empty + zero == 1 else f"{empty + zero} images have"
    said = f"{many} no position ({', '.join(found)} in {','.join(columns)} of {table.path.name})"
    return (f"{said}: left out",)


def _check_metres(table: Table, values: Floats, radius: float) -> tuple[str, ...]:
    """Raise BadInput, or a note, where x and y look like degrees."""
    x, y = np.abs(values).max(axis=0)
    if max(x, y) > 180 or min(x, y) > 90:
        return ()
    order = "x as lon, y as lat" if y <= 90 else "x as lat, y as lon"
    if len(values) > 2 and np.hypot(*np.ptp(values, axis=0)) <= radius:
        raise BadInput(
            f"x and y look like degrees: as metres, all {len(values)} images are within "
            f"{radius:g} m of each other",
            where=table.path,
            expected="x and y in metres; degrees in columns lat and lon",
            remedy=f"name the columns lat and lon ({order}); if they are metres, a smaller radius=",
        )
    decimals = [len(text.rpartition(".")[2]) for text in table.columns["x"] if "." in text]
    if decimals and float(np.median(decimals)) >= DIGITS:
        return (f"x and y are taken as metres; degrees belong into columns lat and lon ({order})",)
    return ()


def _check_degrees(table: Table, values: Floats) -> None:
    for column, (name, limit) in enumerate((("lat", 90), ("lon", 180))):
        for row in np.flatnonzero(np.abs(values[:, column]) > limit)[:1]:
            lat, lon = np.abs(values[row])
            swapped = lat <= 180 and lon <= 90
            raise BadInput(
                f"{name} is {values[row, column]:g}"
                + (", as if lat and lon were swapped" if swapped else ""),
                where=table.where(row),
                expected="degrees: lat from -90 to 90, lon from -180 to 180",
                remedy=None if swapped else "metres belong into columns x and y",
            )
