"""A prepared set on disk: query.txt, gallery.txt and gnd_{folder}.json, the ground truth last.

A gallery alone (distractors) has no query.txt and no ground truth.

The convention to know: lists that are there and differ are not replaced unless the caller says so,
because stores that were made from them would no longer fit; published forms are never doubled.
"""

from __future__ import annotations

import filecmp
import os
import tempfile
from pathlib import Path

from ames_lite.datasets.ground_truth import write_ground_truth
from ames_lite.datasets.image_lists import ImageList, write_image_list
from ames_lite.datasets.layout import PUBLISHED_LISTS
from ames_lite.datasets.vpr.dataset import SIDES, PlaceSet
from ames_lite.errors import BadInput
from ames_lite.io.writing import explain_write_errors


def write_place_set(folder: Path, made: PlaceSet, *, overwrite: bool = False) -> list[Path]:
    """Write what is not there in a published form; returns the paths.

    Raises BadInput for a set that contradicts itself, and where other lists are there already.
    """
    truth = made.ground_truth()
    truth_name = f"gnd_{folder.name}.json"
    _refuse_published(folder, made)
    with explain_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".prepare.", dir=folder) as name:
            temporary, written = Path(name), []
            if not made.has_lists:
                for side, names in zip(SIDES, (made.query_names, made.gallery_names), strict=True):
                    if names:
                        path = temporary / f"{side}.txt"
                        written.append(write_image_list(path, ImageList(names)))
            if not made.has_truth:
                written.append(write_ground_truth(temporary / truth_name, truth))
            _check_same(written, folder, overwrite)
            for path in written:
                os.replace(path, folder / path.name)
    return [folder / path.name for path in written]


def _refuse_published(folder: Path, made: PlaceSet) -> None:
    doubled = []
    if not made.has_lists:
        doubled += [name for side in SIDES for name in PUBLISHED_LISTS[side]]
    if not made.has_truth:
        doubled.append(f"gnd_{folder.name}.pkl")
    for name in doubled:
        if (folder / name).exists():
            what = "the published form of a list or of the ground truth is there"
            raise BadInput(what, where=folder / name, expected="one form", remedy="move it away")


def _check_same(written: list[Path], folder: Path, overwrite: bool) -> None:
    differing = [
        path.name
        for path in written
        if (folder / path.name).exists()
        and not filecmp.cmp(path, folder / path.name, shallow=False)
    ]
    if differing and not overwrite:
        raise BadInput(
            f"other lists are there already: {', '.join(differing)} would change",
            where=folder,
            expected="the lists that are there, or none",
            remedy="overwrite=true replaces them; stores made from the old lists do not fit then",
        )
