"""The map of `scripts/view.py`: global descriptors and what is known of their labels, in.

Labels are groups of the ground truth where there is one (a query and its positives, joined where
queries share them), else those of the image lists. Of more images than `max_points`, all queries
are kept, then those with a label, then a sample; the descriptors of the others are not read.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from ames_lite.classification.scikit import pca, tsne
from ames_lite.datasets.ground_truth import read_ground_truth
from ames_lite.datasets.image_lists import ImageList, read_image_list
from ames_lite.datasets.layout import DatasetFiles
from ames_lite.errors import BadInput, MissingFile
from ames_lite.io.images import load_image, thumbnail
from ames_lite.records import GroundTruth
from ames_lite.stores.global_store import GlobalStore
from ames_lite.stores.published.store import is_published
from ames_lite.stores.row_layout import FAILED
from tools.schema import View
from tools.view.scatter import (
    THUMBNAIL_PIXELS,
    UNKNOWN,
    draw_globals,
    thumbnail_rows,
)

logger = logging.getLogger(__name__)

Ids = npt.NDArray[np.int64]
Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class GlobalMap:
    """N images: descriptors [N, D], names, labels [N] (-1 unknown), is_query [N].

    label_names by label; total: images that there are; root: the folder of the images.
    """

    descriptors: Floats
    names: tuple[str, ...]
    labels: Ids
    is_query: npt.NDArray[np.bool_]
    label_names: dict[int, str]
    total: int
    root: Path


def draw_map(config: View, found: GlobalMap) -> Figure:
    """The map by `method=`, with `thumbnails=` pictures at most."""
    if config.method == "pca":
        points, explained = pca(found.descriptors)
        first, second = (f"component {i + 1}: {e:.1%}" for i, e in enumerate(explained))
        axis_names = (f"{first} of the variance", f"{second} of the variance")
    else:
        points = tsne(found.descriptors, seed=config.seed, perplexity=config.perplexity)
        axis_names = ("t-SNE 1 (distances only near by have a meaning)", "t-SNE 2")
    number, method = len(found.names), {"pca": "PCA", "tsne": "t-SNE"}[config.method]
    count = f"{number} images" if number == found.total else f"{number} of {found.total} images"
    parts = [config.dataset.folder, config.desc_name, config.global_]
    return draw_globals(
        points,
        found.labels,
        found.is_query,
        label_names=found.label_names,
        axis_names=axis_names,
        title=f"{', '.join(parts)}: {method} of {count}",
        thumbnails=_thumbnails(found, points, config.thumbnails, config.seed),
    )


def _thumbnails(
    found: GlobalMap, points: Floats, count: int, seed: int
) -> dict[int, npt.NDArray[np.uint8]]:
    """Images by row, at most `count`, that do not overlap."""
    order = np.random.default_rng(seed).permutation(len(points)).tolist()
    images = {}
    for row in thumbnail_rows(points, order)[:count]:
        try:
            images[row] = thumbnail(load_image(found.root / found.names[row]), THUMBNAIL_PIXELS)
        except (BadInput, MissingFile) as error:
            said = str(error).split("\n")[0]
            logger.warning("%s has no thumbnail: %s", found.names[row], said)
    return images


def load_map(config: View, files: DatasetFiles, splits: Sequence[str]) -> GlobalMap:
    """The global descriptors of the splits, their labels, and which of them are queries.

    Raises MissingFile; BadInput where files contradict each other or have different widths.
    """
    kind = config.global_
    lists = {split: read_image_list(files.image_list(split)) for split in splits}
    groups, label_names = find_labels(files, lists)
    with ExitStack() as stack:
        stores = {}
        for split in splits:
            path = files.global_descriptors(split, kind)
            listed = lists[split].names if is_published(path) else None
            stores[split] = stack.enter_context(GlobalStore(path, names=listed))
        _check_widths(stores)
        names, labels, is_query, place = [], [], [], []
        for split, store in stores.items():
            for row, name in enumerate(store.names):
                if store.status[row] == FAILED:
                    logger.warning("%s is skipped, its extraction failed", name)
                    continue
                names.append(name)
                labels.append(groups[split].get(name, UNKNOWN))
                is_query.append(split == "query")
                place.append((split, row))
        known, queries = np.array(labels, np.int64), np.array(is_query, np.bool_)
        kept = sample_rows(known, queries, config.max_points, config.seed)
        vectors = [stores[split].read(row, row + 1) for split, row in (place[k] for k in kept)]
    if not vectors:
        raise BadInput("there is no global descriptor to show", where=files.root)
    return GlobalMap(
        np.concatenate(vectors),
        tuple(names[k] for k in kept),
        known[kept],
        queries[kept],
        label_names,
        len(names),
        config.images or files.image_root,
    )


def _check_widths(stores: dict[str, GlobalStore]) -> None:
    first = next(iter(stores.values()))
    for store in stores.values():
        if store.dim != first.dim:
            raise BadInput(
                f"global descriptors have width {first.dim} and {store.dim}",
                where=f"{first.path} and {store.path}",
                expected="files that were made alike",
            )


def sample_rows(labels: Ids, is_query: npt.NDArray[np.bool_], count: int, seed: int) -> list[int]:
    """At most `count` rows, ascending: queries first, then rows with a label, then any.

    >>> sample_rows(np.array([-1, 4, -1, -1]), np.array([False, False, True, False]), 2, seed=0)
    [1, 2]
    """
    drawn = np.random.default_rng(seed).permutation(len(labels))
    rank = np.where(is_query, 0, np.where(labels != UNKNOWN, 1, 2))[drawn]
    return sorted(int(row) for row in drawn[np.argsort(rank, kind="stable")][:count])


def find_labels(
    files: DatasetFiles, lists: dict[str, ImageList]
) -> tuple[dict[str, dict[str, int]], dict[int, str]]:
    """Labels by split and name, and what labels are called; see the head of this file."""
    if "train" not in lists and _has_ground_truth(files):
        query, gallery = (
            lists[split] if split in lists else read_image_list(files.image_list(split))
            for split in ("query", "gallery")
        )
        truth = read_ground_truth(files.ground_truth(), query.names, gallery.names)
        return ground_truth_groups(truth)
    found = {}
    for split, images in lists.items():
        labels = [] if images.labels is None else images.labels.tolist()
        found[split] = dict(zip(images.names, labels, strict=False))
    return found, {}


def _has_ground_truth(files: DatasetFiles) -> bool:
    try:
        files.ground_truth()
    except MissingFile:
        return False
    return True


def ground_truth_groups(
    truth: GroundTruth,
) -> tuple[dict[str, dict[str, int]], dict[int, str]]:
    """Groups of images that show one thing: a query with its easy and hard images.

    Queries that share an image, or that stand in the gallery themselves, are one group. A group is
    called by its first query.
    """
    row_of = {name: row for row, name in enumerate(truth.gallery_names)}
    owner: dict[int, int] = {}  # gallery row to a query
    parent = list(range(len(truth.query_names)))

    def first(query: int) -> int:
        while parent[query] != query:
            query = parent[query]
        return query

    for query, name in enumerate(truth.query_names):
        rows = [*truth.easy[query].tolist(), *truth.hard[query].tolist()]
        for row in [*rows, *([row_of[name]] if name in row_of else [])]:
            a, b = sorted((first(query), first(owner.setdefault(row, query))))
            parent[b] = a
    groups = {
        "query": {name: first(query) for query, name in enumerate(truth.query_names)},
        "gallery": {truth.gallery_names[row]: first(query) for row, query in owner.items()},
    }
    stems = [PurePosixPath(name).stem for name in truth.query_names]
    return groups, {group: stems[group] for group in set(groups["query"].values())}
