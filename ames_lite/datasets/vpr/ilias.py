"""ILIAS: lists of image ids, `image_ids/{image_query_ids,positive_ids}.txt`, and boxes as text.

An id is the path of an image below the set's folder; the folder that it begins with is its object
(an assumption: unverified against official files). Distractors, where a list of them is given,
follow the positives in the gallery. A box is a text file of the image's name, `x y w h` in pixels.
Text queries are no images and are left out.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import numpy as np

from ames_lite.datasets.vpr.dataset import Box, PlaceSet, Rows
from ames_lite.datasets.vpr.folders import check_present, line_of, read_lines, read_names
from ames_lite.errors import BadInput

IDS = "one image id a line: <object>/…/<image>"
BOX = "x y w h, pixels of the whole image"


def read_ilias(
    root: Path, *, images: str, queries: str, positives: str, distractors: str | None = None
) -> PlaceSet:
    """Positives: all images of positive_ids that have the query's object.

    images: the folder that ids are relative to ("" or "." : the set's). Raises BadInput with file
    and line for ids without an object, listed twice or absent, and for a bad box.
    """
    asked, right = (_ids(root, root / name, images) for name in (queries, positives))
    far = [] if distractors is None else _ids(root, root / distractors, images)
    rows_of: dict[str, list[int]] = {}
    for row, name in enumerate(right):
        rows_of.setdefault(_object(name, images, root / positives, row), []).append(row)
    found: list[Rows] = []
    for row, name in enumerate(asked):
        of = _object(name, images, root / queries, row)
        if of not in rows_of:
            what = f"the object '{of}' has no positive"
            where = f"{root / queries}, line {row + 1}"
            raise BadInput(what, where=where, expected=f"one in {root / positives}")
        found.append(np.array(rows_of[of], np.int64))
    boxes = tuple(_box(root / PurePosixPath(name).with_suffix(".txt")) for name in asked)
    return PlaceSet(tuple(asked), (*right, *far), tuple(found), bbox=boxes)


def _ids(root: Path, path: Path, images: str) -> list[str]:
    prefix = f"{images}/" if images.strip("./") else ""
    names = [prefix + name for name in read_names(path, IDS)]
    check_present(root, names, line_of(path))
    return names


def _object(name: str, images: str, path: Path, row: int) -> str:
    inner = name.removeprefix(f"{images}/") if images.strip("./") else name
    if "/" not in inner:
        what = f"'{inner}' names no object"
        raise BadInput(what, where=f"{path}, line {row + 1}", expected=IDS)
    return inner.split("/", 1)[0]


def _box(path: Path) -> Box | None:
    """(x1, y1, x2, y2); None where there is no such file."""
    if not path.is_file():
        return None
    words = " ".join(read_lines(path, BOX)).split()
    try:
        x, y, width, height = (float(word) for word in words)
    except ValueError:
        x = y = width = height = np.nan
    if not (np.isfinite([x, y]).all() and 0 < width < np.inf and 0 < height < np.inf):
        raise BadInput(f"a box '{' '.join(words)}'", where=f"{path}, line 1", expected=BOX)
    return (x, y, x + width, y + height)
