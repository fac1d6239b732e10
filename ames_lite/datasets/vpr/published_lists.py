"""Category sets by their published lists: `test_query.txt`, `test_gallery.txt`, and what is right.

Either by label (the second field of a line): all images of the query's label but itself; or from
the published `gnd_*.pkl` (`ok` and perhaps `junk`). The lists stay as they are.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from ames_lite.datasets.ground_truth import read_ground_truth
from ames_lite.datasets.image_lists import ImageList, read_image_list
from ames_lite.datasets.layout import PUBLISHED_LISTS
from ames_lite.datasets.vpr.dataset import SIDES, PlaceSet, make_place_set
from ames_lite.datasets.vpr.folders import check_present, line_of
from ames_lite.errors import BadInput


def read_labelled(root: Path, *, queries_in_gallery: bool) -> PlaceSet:
    """queries_in_gallery: whether the queries are gallery images too, each no answer to itself.

    Raises BadInput where that is not so, a list has no labels, or a listed image is absent.
    """
    query, gallery = _lists(root)
    paths = {side: _list_path(root, side) for side in SIDES}
    for side, images in zip(SIDES, (query, gallery), strict=True):
        if images.labels is None:
            expected = "path,label[,width,height]"
            raise BadInput(
                "a list without labels", where=f"{paths[side]}, line 1", expected=expected
            )
    row_of = {name: row for row, name in enumerate(gallery.names)}
    own = [row_of.get(name, -1) for name in query.names]
    for row, place in enumerate(own):
        if (place >= 0) != queries_in_gallery:
            what = f"'{query.names[row]}' is {'' if place >= 0 else 'not '}in the gallery list"
            expected = f"{'all' if queries_in_gallery else 'no'} queries among the gallery"
            raise BadInput(what, where=f"{paths['query']}, line {row + 1}", expected=expected)
    assert query.labels is not None and gallery.labels is not None
    rows_of = {
        label: np.flatnonzero(gallery.labels == label) for label in set(query.labels.tolist())
    }
    found = [
        np.setdiff1d(rows_of[label], [place])
        for label, place in zip(query.labels.tolist(), own, strict=True)
    ]
    made = make_place_set(query.names, gallery.names, found)
    return replace(made, has_lists=True)


def read_official(root: Path, *, ground_truth: str) -> PlaceSet:
    """The published ground truth as it is: nothing is left to write.

    Raises MissingFile, BadInput where file and lists are of different releases.
    """
    query, gallery = _lists(root)
    truth = read_ground_truth(root / ground_truth, query.names, gallery.names)
    return PlaceSet(
        truth.query_names,
        truth.gallery_names,
        truth.easy,
        bbox=truth.bbox,
        junk=truth.junk,
        has_lists=True,
        has_truth=True,
    )


def _list_path(root: Path, side: str) -> Path:
    return root / PUBLISHED_LISTS[side][0]


def _lists(root: Path) -> tuple[ImageList, ImageList]:
    query, gallery = (read_image_list(_list_path(root, side)) for side in SIDES)
    for side, images in zip(SIDES, (query, gallery), strict=True):
        check_present(root, images.names, line_of(_list_path(root, side)))
    return query, gallery
