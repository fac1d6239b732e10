"""AmsterTime: two folders whose images of one number show one place, `old/12.jpg`, `new/12.png`.

The convention to know: numbers need not be contiguous, but must be the same on both sides; only an
image's own partner is right.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import numpy as np

from ames_lite.datasets.vpr.dataset import PlaceSet, make_place_set
from ames_lite.datasets.vpr.folders import natural_names
from ames_lite.errors import BadInput


def read_pairs_by_id(root: Path, *, database: str, queries: str) -> PlaceSet:
    """Raises BadInput for a name without a number, a number twice, and an image without partner."""
    asked, gallery = _by_number(root, queries), _by_number(root, database)
    for one, other, folder in ((asked, gallery, database), (gallery, asked, queries)):
        alone = sorted(set(one) - set(other))
        if alone:
            what = f"{len(alone)} images have no partner, first '{one[alone[0]]}'"
            expected = f"an image of number {alone[0]} in {folder}"
            raise BadInput(what, where=root / one[alone[0]], expected=expected)
    row_of = {number: row for row, number in enumerate(gallery)}
    positives = [np.array([row_of[number]], np.int64) for number in asked]
    return make_place_set(list(asked.values()), list(gallery.values()), positives)


def _by_number(root: Path, folder: str) -> dict[int, str]:
    """Names by number, in natural order."""
    found: dict[int, str] = {}
    for name in natural_names(root, folder):
        stem = PurePosixPath(name).stem
        if not (stem.isascii() and stem.isdigit()):
            what = f"'{name}' has no number for a name"
            raise BadInput(what, where=root / name, expected="names such as 12.jpg")
        if int(stem) in found:
            what = f"'{found[int(stem)]}' and '{name}' have one number"
            raise BadInput(what, where=root / name, expected="every number once")
        found[int(stem)] = name
    return found
