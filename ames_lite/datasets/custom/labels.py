"""Labels that say one thing of each image: a class, a position, a frame number.

The gallery is every listed image that is not on the query side. Classes and frames may stand in the
paths: these are read as a table of all images. An image without a position is left out: two empty
cells (or nan), lat and lon of 0, and x and y of 0 where all others are far away.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ames_lite.datasets import rules
from ames_lite.datasets.custom.images import ImageFolders, find_listed, respelt
from ames_lite.datasets.ground_truth import GRADES
from ames_lite.datasets.relation import SIDES, Relation
from ames_lite.datasets.rules import ALONE, Floats, Rows
from ames_lite.datasets.tables import LIMIT, Table
from ames_lite.errors import BadInput, require
from ames_lite.io.names import check_once

EMPTY = ("", "nan", "null", "none", "na", "n/a", "-")
FAR = 1000.0  # metres: x, y of 0 are an origin where another position is nearer
NO_CLASSES = "has no class folders: nothing is right, lists can be made and not measured"
DEGREES = "degrees: lat from -90 to 90, lon from -180 to 180"
DIGITS = 4  # decimals of degrees: less says little, and metres have fewer
Lists = Mapping[str, list[str] | None]  # by side: names from the root, or None where not given
Ids = npt.NDArray[np.int64]


class Values(NamedTuple):
    """What a table says of its rows (those that say it): values [n, …], which of them are near."""

    table: Table
    values: npt.NDArray[Any]
    rule: Callable[[Any, Any], Rows]  # values of queries, of gallery images
    notes: tuple[str, ...] = ()


def relate_labels(
    kind: str, said: Table | None, images: ImageFolders, lists: Lists, radius: float, tolerance: int
) -> Relation:
    """Relate images by what labels say of each; said: None, where paths say it. BadInput."""
    source = _of_paths(kind, images) if said is None else said
    table, values, rule, notes = _read_values(kind, source, radius, tolerance)
    split = table.choices("split", SIDES) if "split" in table.columns else [None] * len(table)
    names = list(images.names) if said is None else _find(table, split, images)
    if kind == "frames":
        _check_complete(table.path, names, images, lists)
    sides = [side or images.side_of(name) for name, side in zip(names, split, strict=True)]
    flat = images.flat if kind == "folders" else ()
    notes += tuple(f"{images.folder(side)} {NO_CLASSES}" for side in flat)
    queries, gallery = (_chosen(side, names, sides, lists[side], table.path) for side in SIDES)
    rows = {"easy": rule(values[queries], values[gallery])}
    if "grade" in table.columns:
        rows = _by_grade(table, gallery, rows["easy"])
    unlisted = len({*images.names} - {*names}) - (len(source) - len(table))
    notes += (f"{unlisted} images are not in {table.path}: left out",) * bool(unlisted)
    labels, scenes = (table.columns.get(column) for column in ("label", "scene"))
    numbers = {label: code for code, label in enumerate(sorted({*(labels or ())}))}
    return Relation(
        [names[row] for row in queries],
        [names[row] for row in gallery],
        rows,
        notes=respelt(dict(zip(table.columns["file"], names, strict=True)), images) + notes,
        queries_are_named=lists["query"] is not None or "query" in sides,
        labelled=not flat,
        codes={n: numbers[of] for n, of in zip(names, labels, strict=True)} if labels else None,
        alone=numbers.get(ALONE),
        classes=tuple(numbers),
        scenes=dict(zip(names, scenes, strict=True)) if scenes else None,
    )


def _read_values(kind: str, table: Table, radius: float, tolerance: int) -> Values:
    if kind == "coordinates":
        return read_positions(table, radius)
    if kind == "frames":
        near = partial(rules.near_frames, tolerance=tolerance)
        return Values(table, table.integers("frame"), near)
    labels = table.filled("label", f"a label; {ALONE} for an image without a partner")
    return Values(table, np.array(labels, object), rules.same_label, _notes_on(labels))


def _of_paths(kind: str, images: ImageFolders) -> Table:
    """Class folders or frame numbers as a table of all images."""
    names, column = [*images.names], "label" if kind == "folders" else "frame"
    read = first_folder if kind == "folders" else _frame_of
    columns = {"file": names, column: [read(name, images) for name in names]}
    return Table(Path("the paths"), kind, columns, list(range(len(names))))


def first_folder(name: str, images: ImageFolders) -> str:
    """The class folder of an image, none on a flat side. Raises BadInput where it is in none."""
    if images.side_of(name) in images.flat:
        return ALONE
    name = images.within_side(name)
    expected = f"<class>/{name}; images without a class in {ALONE}/"
    what = f"'{name}' is in no class folder"
    require("/" in name, what, where=images.folder(None), expected=expected)
    return name.split("/", 1)[0]


def _frame_of(name: str, images: ImageFolders) -> str:
    """The last number in a file's name, extension left out."""
    found = re.findall(r"[0-9]+", PurePosixPath(name).stem)
    expected = "names such as 000123.jpg, or file,frame"
    what = "the name of an image has no frame number"
    require(found and int(found[-1]) < LIMIT, what, where=images.root / name, expected=expected)
    return str(found[-1])


def _find(table: Table, split: Sequence[str | None], images: ImageFolders) -> list[str]:
    written = table.columns["file"]
    names = find_listed(images, written, split, table.where)
    others = [cells for column, cells in table.columns.items() if column != "file"]
    said = [",".join(cells) for cells in zip(*others, strict=True)]
    check_once(names, table.where, written=written, said=said)
    return names


def _chosen(
    side: str, names: list[str], sides: list[str | None], wanted: list[str] | None, source: Path
) -> Ids:
    """Rows that are queries, or the gallery: by list, by side, else all."""
    if wanted is not None:
        row_of = {name: row for row, name in enumerate(names)}
        absent = [name for name in wanted if name not in row_of]
        what = f"{len(absent)} of {len(wanted)} images of the {side} list are not among the "
        what += f"{len(row_of)} of the labels, first '{(absent or [''])[0]}'"
        where = f"{'queries' if side == 'query' else side}= against {source}"
        require(not absent, what, where=where, expected="a label for every image of the list")
        return np.array([row_of[name] for name in wanted], np.int64)
    rows = [row for row, of in enumerate(sides) if of in (side, None)]
    what, expected = f"no image is on the {side} side", "images of query and gallery"
    require(rows or not names, what, where=source, expected=expected)
    return np.array(rows, np.int64)


def _check_complete(source: Path, names: list[str], images: ImageFolders, lists: Lists) -> None:
    """A traverse with a gap in its frame list is a mistake, not a choice."""
    listed = set(names)
    first = next((name for name in images.names if name not in listed), None)
    what = f"{len(names)} images have a frame, {len(images.names)} are there: '{first}' has none"
    where = f"{source} against {images.folder(None)}"
    expected = "a frame for every image, or lists by queries= and gallery="
    require(first is None or None not in lists.values(), what, where=where, expected=expected)


def _by_grade(table: Table, gallery: Ids, found: Rows) -> dict[str, Rows]:
    """An image that answers nothing needs no grade."""
    grades = table.choices("grade", (*GRADES, ""))
    for row in gallery.tolist():
        if grades[row] == "" and table.columns["label"][row] != ALONE:
            what = f"'{table.columns['file'][row]}' has a label and no grade"
            raise BadInput(what, where=table.where(row), expected=" or ".join(GRADES))
    of_gallery = np.array([grades[row] for row in gallery])
    return {grade: [rows[of_gallery[rows] == grade] for rows in found] for grade in GRADES}


def _notes_on(labels: list[str]) -> tuple[str, ...]:
    """Where all are of one class; where two differ in capitals alone: they stay two."""
    first, pairs = dict[str, str](), list[str]()
    for label in sorted(set(labels)):
        other = first.setdefault(label.casefold(), label)
        pairs += [] if other == label else [f"'{other}' and '{label}'"]
    more = f" and {len(pairs) - 1} more" if len(pairs) > 1 else ""
    if len(set(labels)) == 1:
        return (f"all images are of one class, '{labels[0]}': each is right for every other",)
    said = "labels that differ in capitals alone are not the same"
    return tuple(f"{said}: {pair}{more}" for pair in pairs[:1])


def read_positions(table: Table, radius: float) -> Values:
    """The positions of a table. Raises BadInput with file and line of one that is none."""
    metric = "x" in table.columns
    columns = ("x", "y") if metric else ("lat", "lon")
    cells = zip(*(table.columns[column] for column in columns), strict=True)
    empty = np.array([all(cell.strip().lower() in EMPTY for cell in pair) for pair in cells], bool)
    rest = table.of_rows(np.flatnonzero(~empty))
    values = np.stack([rest.numbers(column) for column in columns], axis=1)
    what, expected = "positions beyond the earth", "metres, or degrees of latitude and longitude"
    require(rules.are_metres(values), what, where=table.path, expected=expected)
    zero = (values == 0).all(axis=1)
    if metric:
        others = np.hypot(*values[~zero].T)
        zero &= bool(len(others)) and bool(others.min() > FAR)
    what = f"no image has a position in {','.join(columns)}"
    require(not zero.all(), what, where=table.path, expected="positions of the images")
    notes = _missing(table, int(empty.sum()), int(zero.sum()), columns)
    rest, values = rest.of_rows(np.flatnonzero(~zero)), values[~zero]
    if metric:
        notes += _check_metres(rest, values, radius)
        width, height = np.ptp(values, axis=0)
        span = f"positions span {width:.0f} m × {height:.0f} m"
    else:
        _check_degrees(rest, values)
        (south, west), (north, east) = values.min(axis=0), values.max(axis=0)
        span = f"positions span lat {south:.5f} to {north:.5f}, lon {west:.5f} to {east:.5f}"
    rule = rules.near_on_the_plane if metric else rules.near_on_the_earth
    return Values(rest, values, partial(rule, radius=radius), (*notes, span))


def _missing(table: Table, empty: int, zero: int, columns: Sequence[str]) -> tuple[str, ...]:
    found = [f"{empty} empty"] * bool(empty) + [f"{zero} at 0,0"] * bool(zero)
    many = "1 image has" if empty + zero == 1 else f"{empty + zero} images have"
    said = f"{many} no position ({', '.join(found)} in {','.join(columns)} of {table.path.name})"
    return (f"{said}: left out",) * bool(found)


def _check_metres(table: Table, values: Floats, radius: float) -> tuple[str, ...]:
    """Raise BadInput, or a note, where x and y look like degrees."""
    x, y = np.abs(values).max(axis=0)
    if max(x, y) > 180 or min(x, y) > 90:
        return ()
    order = "x as lon, y as lat" if y <= 90 else "x as lat, y as lon"
    if len(values) > 2 and np.hypot(*np.ptp(values, axis=0)) <= radius:
        near = f"all {len(values)} images are within {radius:g} m of each other"
        what = f"x and y look like degrees: as metres, {near}"
        expected = "x and y in metres; degrees in columns lat and lon"
        remedy = f"name the columns lat and lon ({order}); if they are metres, a smaller radius="
        raise BadInput(what, where=table.path, expected=expected, remedy=remedy)
    decimals = [len(text.rpartition(".")[2]) for text in table.columns["x"] if "." in text]
    if decimals and float(np.median(decimals)) >= DIGITS:
        return (f"x and y are taken as metres; degrees belong into columns lat and lon ({order})",)
    return ()


def _check_degrees(table: Table, values: Floats) -> None:
    for column, (name, limit) in enumerate((("lat", 90), ("lon", 180))):
        for row in np.flatnonzero(np.abs(values[:, column]) > limit)[:1]:
            lat, lon = np.abs(values[row])
            swapped = lat <= 180 and lon <= 90
            said = ", as if lat and lon were swapped" if swapped else ""
            what = f"{name} is {values[row, column]:g}{said}"
            remedy = None if swapped else "metres belong into columns x and y"
            raise BadInput(what, where=table.where(row), expected=DEGREES, remedy=remedy)
