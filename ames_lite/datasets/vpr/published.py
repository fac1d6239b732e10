"""Sets by their published lists and ground truth, which stay as they are.

labelled, official: category sets, `test_query.txt` and `test_gallery.txt`; revisitop: ROxford and
RParis, all images in `jpg/`, named by `gnd_*.pkl`; distractors: revisitop1m.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ames_lite.datasets.ground_truth import official_names, read_ground_truth
from ames_lite.datasets.image_lists import ImageList, read_image_list
from ames_lite.datasets.layout import PUBLISHED_LISTS
from ames_lite.datasets.relation import SIDES, Relation
from ames_lite.datasets.rules import same_label
from ames_lite.datasets.vpr.folders import check_present, line_of, read_names
from ames_lite.errors import BadInput
from ames_lite.records import GroundTruth


def read_labelled(root: Path, *, queries_in_gallery: bool) -> Relation:
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
    rows = {"easy": same_label(query.labels.tolist(), gallery.labels.tolist())}
    made = Relation(query.names, gallery.names, rows, has_lists=True)
    return made.without_own_image()


def read_official(root: Path, *, ground_truth: str) -> Relation:
    """The published ground truth as it is: nothing is left to write.

    Raises MissingFile, BadInput where file and lists are of different releases.
    """
    query, gallery = _lists(root)
    truth = read_ground_truth(root / ground_truth, query.names, gallery.names)
    return _as_published(truth, has_lists=True)


def _as_published(truth: GroundTruth, has_lists: bool) -> Relation:
    """Easy and hard answers count alike."""
    right = [np.sort(np.concatenate(rows)) for rows in zip(truth.easy, truth.hard, strict=True)]
    return Relation(
        truth.query_names,
        truth.gallery_names,
        {"easy": right, "junk": list(truth.junk)},
        bbox=truth.bbox,
        has_lists=has_lists,
        has_truth=True,
    )


def _list_path(root: Path, side: str) -> Path:
    return root / PUBLISHED_LISTS[side][0]


def _lists(root: Path) -> tuple[ImageList, ImageList]:
    query, gallery = (read_image_list(_list_path(root, side)) for side in SIDES)
    for side, images in zip(SIDES, (query, gallery), strict=True):
        check_present(root, images.names, line_of(_list_path(root, side)))
    return query, gallery


def read_revisitop(
    root: Path, *, ground_truth: str, images: str = "jpg", suffix: str = ".jpg"
) -> Relation:
    """The lists of a ground truth that names all images (`qimlist`, `imlist`), without extension.

    Gallery row n is row n of `imlist`, as in published descriptors and neighbour lists. Published
    lists that are there already are kept. Raises MissingFile; BadInput where images are absent, and
    where published lists disagree with the ground truth.
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
    return _as_published(truth, has_lists)


def read_distractors(root: Path, *, names: str, images: str = "jpg") -> Relation:
    """A gallery alone. Raises BadInput, with the line, where an image is absent or listed twice."""
    listed = [f"{images}/{name}" for name in read_names(root / names, "one image a line")]
    check_present(root, listed, line_of(root / names))
    return Relation([], listed, {"easy": []}, has_truth=True)
