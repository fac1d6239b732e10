"""Sets by their published lists and ground truth, which stay as they are.

labelled, official: category sets, `test_query.txt` and `test_gallery.txt`; revisitop: ROxford and
RParis, all images in `jpg/`, named by `gnd_*.pkl`; distractors: revisitop1m.
"""

from pathlib import Path

import numpy as np

from ames_lite.datasets.ground_truth import official_names, read_ground_truth
from ames_lite.datasets.image_lists import ImageList, read_image_list
from ames_lite.datasets.layout import PUBLISHED_LISTS
from ames_lite.datasets.relation import SIDES, Relation
from ames_lite.datasets.rules import same_label
from ames_lite.datasets.vpr.folders import listed_images
from ames_lite.errors import require
from ames_lite.io.names import check_present, line_of
from ames_lite.records import GroundTruth

IMAGES = "jpg"  # the folder of all images of ROxford, RParis and the distractors


def read_labelled(root: Path, *, queries_in_gallery: bool) -> Relation:
    """queries_in_gallery: whether the queries are gallery images too, each no answer to itself."""
    lists = [_read_list(root, side) for side in SIDES]
    for side, images in zip(SIDES, lists, strict=True):
        where, expected = line_of(_list_path(root, side))(0), "path,label[,width,height]"
        fine = images.labels is not None
        require(fine, "a list without labels", where=where, expected=expected)
    labels = [np.asarray(images.labels).tolist() for images in lists]
    query, gallery = (images.names for images in lists)
    inside, where_of = set(gallery), line_of(_list_path(root, "query"))
    expected = f"{'all' if queries_in_gallery else 'no'} queries among the gallery"
    for row, name in enumerate(query):
        what = f"'{name}' is {'' if name in inside else 'not '}in the gallery list"
        fine = (name in inside) == queries_in_gallery
        require(fine, what, where=where_of(row), expected=expected)
    made = Relation(query, gallery, {"easy": same_label(*labels)}, has_lists=True)
    return made.without_own_image()


def read_official(root: Path, *, ground_truth: str) -> Relation:
    """The published ground truth as it is: nothing is left to write."""
    query, gallery = (_read_list(root, side).names for side in SIDES)
    return _as_published(read_ground_truth(root / ground_truth, query, gallery), has_lists=True)


def read_revisitop(root: Path, *, ground_truth: str) -> Relation:
    """The lists of a ground truth that names all images (`qimlist`, `imlist`), without extension.
    Gallery row n is row n of `imlist`. Published lists that are there already are kept.
    """
    path = root / ground_truth
    brought = official_names(path)
    paths = [_list_path(root, side) for side in SIDES]
    has_lists = all(map(Path.is_file, paths))
    if has_lists:
        names = [read_image_list(listed).names for listed in paths]
        where = [*map(line_of, paths)]
    else:
        names = [tuple(f"{IMAGES}/{name}.jpg" for name in side) for side in brought]
        where = [line_of(path, f"{key}, name") for key in ("qimlist", "imlist")]
    truth = read_ground_truth(path, *names)
    for listed, line in zip(names, where, strict=True):
        check_present(root, listed, line)
    return _as_published(truth, has_lists)


def read_distractors(root: Path, *, names: str) -> Relation:
    return Relation([], listed_images(root, names, IMAGES), {"easy": []}, has_truth=True)


def _as_published(truth: GroundTruth, has_lists: bool) -> Relation:
    """Easy and hard answers count alike."""
    right = [np.sort(np.concatenate(rows)) for rows in zip(truth.easy, truth.hard, strict=True)]
    names, rows = (truth.query_names, truth.gallery_names), {"easy": right, "junk": [*truth.junk]}
    return Relation(*names, rows, bbox=truth.bbox, has_lists=has_lists, has_truth=True)


def _list_path(root: Path, side: str) -> Path:
    return root / PUBLISHED_LISTS[side]


def _read_list(root: Path, side: str) -> ImageList:
    path = _list_path(root, side)
    images = read_image_list(path)
    check_present(root, images.names, line_of(path))
    return images
