"""Sets by their published lists and ground truth, which stay as they are.

labelled, official: category sets, `test_query.txt` and `test_gallery.txt`; revisitop: ROxford and
RParis, all images in `jpg/`, named by `gnd_*.pkl`; distractors: revisitop1m.
"""

from pathlib import Path

import numpy as np

from ames_lite.datasets.ground_truth import official_names, read_ground_truth
from ames_lite.datasets.image_lists import ImageList, read_image_list
from ames_lite.datasets.layout import PUBLISHED_LISTS
from ames_lite.datasets.names import check_present, line_of
from ames_lite.datasets.relation import SIDES, Relation
from ames_lite.datasets.rules import same_label
from ames_lite.datasets.vpr.folders import read_names
from ames_lite.errors import require
from ames_lite.records import GroundTruth


def read_labelled(root: Path, *, queries_in_gallery: bool) -> Relation:
    """queries_in_gallery: whether the queries are gallery images too, each no answer to itself."""
    lists = [_read_list(root, side) for side in SIDES]
    labels: list[list[int]] = []
    for side, images in zip(SIDES, lists, strict=True):
        where = line_of(_list_path(root, side))(0)
        expected = "path,label[,width,height]"
        require(images.labels is not None, "a list without labels", where=where, expected=expected)
        labels.append([] if images.labels is None else images.labels.tolist())
    query, gallery = (images.names for images in lists)
    inside, where_of = set(gallery), line_of(_list_path(root, "query"))
    for row, name in enumerate(query):
        what = f"'{name}' is {'' if name in inside else 'not '}in the gallery list"
        expected = f"{'all' if queries_in_gallery else 'no'} queries among the gallery"
        fine = (name in inside) == queries_in_gallery
        require(fine, what, where=where_of(row), expected=expected)
    made = Relation(query, gallery, {"easy": same_label(*labels)}, has_lists=True)
    return made.without_own_image()


def read_official(root: Path, *, ground_truth: str) -> Relation:
    """The published ground truth as it is: nothing is left to write."""
    query, gallery = (_read_list(root, side).names for side in SIDES)
    return _as_published(read_ground_truth(root / ground_truth, query, gallery), has_lists=True)


def read_revisitop(
    root: Path, *, ground_truth: str, images: str = "jpg", suffix: str = ".jpg"
) -> Relation:
    """The lists of a ground truth that names all images (`qimlist`, `imlist`), without extension.

    Gallery row n is row n of `imlist`, as in published descriptors and neighbour lists. Published
    lists that are there already are kept.
    """
    path = root / ground_truth
    brought = dict(zip(SIDES, official_names(path), strict=True))
    has_lists = all(_list_path(root, side).is_file() for side in SIDES)
    if has_lists:
        names = {side: list(read_image_list(_list_path(root, side)).names) for side in SIDES}
        where = {side: line_of(_list_path(root, side)) for side in SIDES}
    else:
        names = {s: [f"{images}/{name}{suffix}" for name in found] for s, found in brought.items()}
        keys = {"query": "qimlist", "gallery": "imlist"}
        where = {side: line_of(path, f"{keys[side]}, name") for side in SIDES}
    truth = read_ground_truth(path, names["query"], names["gallery"])
    for side in SIDES:
        check_present(root, names[side], where[side])
    return _as_published(truth, has_lists)


def read_distractors(root: Path, *, names: str, images: str = "jpg") -> Relation:
    listed = [f"{images}/{name}" for name in read_names(root / names, "one image a line")]
    check_present(root, listed, line_of(root / names))
    return Relation([], listed, {"easy": []}, has_truth=True)


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


def _read_list(root: Path, side: str) -> ImageList:
    path = _list_path(root, side)
    images = read_image_list(path)
    check_present(root, images.names, line_of(path))
    return images
