"""ROxford and RParis as published: the images in `jpg/`, and `gnd_*.pkl`, which names them all.

The pickle's `qimlist` and `imlist` are the lists of queries and gallery, without folder and
extension; its `bbx` are the boxes of the queries, and stay where they are. Row n of the gallery is
row n of `imlist`, as in published descriptors and neighbour lists. Also the distractors
(revisitop1m), whose list is a text file of names below `jpg/`, extension included.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ames_lite.datasets.ground_truth import official_names, read_ground_truth
from ames_lite.datasets.image_lists import read_image_list
from ames_lite.datasets.layout import PUBLISHED_LISTS
from ames_lite.datasets.vpr.dataset import SIDES, PlaceSet
from ames_lite.datasets.vpr.folders import check_present, line_of, read_names


def read_revisitop(
    root: Path, *, ground_truth: str, images: str = "jpg", suffix: str = ".jpg"
) -> PlaceSet:
    """The lists of the ground truth; published lists that are there already are kept.

    Raises MissingFile; BadInput where images are absent, and where published lists disagree with
    the ground truth.
    """
    path = root / ground_truth
    names = {
        side: [f"{images}/{name}{suffix}" for name in found]
        for side, found in zip(SIDES, official_names(path), strict=True)
    }
    published = {side: root / PUBLISHED_LISTS[side][0] for side in SIDES}
    has_lists = all(listed.is_file() for listed in published.values())
    if has_lists:
        names = {side: list(read_image_list(published[side]).names) for side in SIDES}
    truth = read_ground_truth(path, names["query"], names["gallery"])
    for side, key in zip(SIDES, ("qimlist", "imlist"), strict=True):
        where = line_of(published[side]) if has_lists else line_of(path, f"{key}, name")
        check_present(root, names[side], where)
    right = [np.sort(np.concatenate(rows)) for rows in zip(truth.easy, truth.hard, strict=True)]
    return PlaceSet(
        truth.query_names,
        truth.gallery_names,
        tuple(right),
        bbox=truth.bbox,
        junk=truth.junk,
        has_lists=has_lists,
        has_truth=True,
    )


def read_distractors(root: Path, *, names: str, images: str = "jpg") -> PlaceSet:
    """A gallery alone. Raises BadInput, with the line, where an image is absent or listed twice."""
    listed = [f"{images}/{name}" for name in read_names(root / names, "one image a line")]
    check_present(root, listed, line_of(root / names))
    return PlaceSet((), tuple(listed), (), has_truth=True)
