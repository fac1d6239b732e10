"""Image lists and ground truth of a custom dataset, from images and labels of several forms.

Labels are class folders; a CSV of labels, of pairs, of coordinates or of frames (tables has the
headers); frame numbers in file names; or a matrix of 0 and 1. Where nothing says which images are
queries (a column `split`, a folder `query_images`, a list `queries`, the column `query` of pairs),
every image with a positive is one, and all of them stay in the gallery; a query is never an answer
to itself. Queries that were named stay queries without positives too; whether metrics leave them
out or count them as misses is the protocol's.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ames_lite.datasets.custom.images import ImageFolders, check_unique, find_images, find_listed
from ames_lite.datasets.custom.labels import relate_labels
from ames_lite.datasets.custom.pairs import relate_matrix, relate_pairs
from ames_lite.datasets.image_lists import read_image_list
from ames_lite.datasets.relation import Relation
from ames_lite.datasets.rules import check_radius
from ames_lite.datasets.tables import KINDS as TABLES
from ames_lite.datasets.tables import describe_forms, read_table
from ames_lite.errors import ConfigError, require

WORDS = ("folders", "frames")  # that `labels` takes instead of a path
MATRIX = (".npy", ".npz")
KINDS = ("folders", *TABLES, "matrix")
FORMS = (
    f"labels=folders, labels=frames (numbers in file names), a matrix (.npy, .npz), or a CSV: "
    f"{describe_forms()}"
)


PATHS = ("images", "query_images", "queries", "gallery", "families", "distractors")
DEFAULT_RADIUS = 25.0  # metres: the custom of place recognition


@dataclass(frozen=True)
class CustomOptions:
    """What the user gives: folders, labels and how to read them. Paths are made absolute.

    images, query_images: folders (the second: of the queries alone). labels: a path or one of
    WORDS. queries, gallery: image lists that say which images, in which order. kind: one of KINDS,
    where a header does not tell. radius: metres; tolerance: frames; each for its own kind alone.
    families to queries_per_label: of a set that is split by family (split); distractors:
    a folder of images without partners.
    """

    images: Path
    labels: str
    query_images: Path | None = None
    queries: Path | None = None
    gallery: Path | None = None
    kind: str | None = None
    radius: float | None = None
    tolerance: int | None = None
    families: Path | None = None
    val_share: float | None = None
    distractors: Path | None = None
    seed: int | None = None
    queries_per_label: int | None = None

    def __post_init__(self) -> None:
        for key in PATHS:
            if getattr(self, key) is not None:
                object.__setattr__(self, key, Path(getattr(self, key)).expanduser().absolute())
        if self.labels not in WORDS:
            path = Path(self.labels).expanduser().absolute()
            object.__setattr__(self, "labels", str(path))


def make_custom(options: CustomOptions) -> Relation:
    """Names and ground truth. Raises MissingFile, ConfigError or BadInput with file and line."""
    kind, table = _kind_of(options), None
    if options.labels not in WORDS and kind != "matrix":
        table = read_table(options.labels, kind)
        kind = table.kind
    assert kind is not None
    radius, tolerance = _measures(options, kind)
    images = find_images(options.images, options.query_images, named=table is not None)
    lists = {
        side: None if path is None else _read_list(path, images, side)
        for side, path in (("query", options.queries), ("gallery", options.gallery))
    }
    if kind == "matrix":
        relation = relate_matrix(Path(options.labels), lists)
    elif table is not None and kind == "pairs":
        relation = relate_pairs(table, images, lists)
    else:
        relation = relate_labels(kind, table, images, lists, radius=radius, tolerance=tolerance)
    notes = (*images.notes, *(() if table is None else table.notes), *relation.notes)
    return finish(replace(relation, notes=notes), kind, images.root, options.labels)


def _kind_of(options: CustomOptions) -> str | None:
    """What `labels` and `kind` say together; None: the header of a CSV decides."""
    kind, labels = options.kind, options.labels
    if kind is not None and kind not in KINDS:
        raise ConfigError(f"there is no kind '{kind}'", expected=f"one of {', '.join(KINDS)}")
    meant = labels if labels in WORDS else None
    if Path(labels).suffix.lower() in MATRIX:
        meant = "matrix"
    if kind not in (None, meant) and (meant is not None or kind not in TABLES):
        raise ConfigError(f"labels={labels} is not of kind={kind}", expected=FORMS)
    return meant or kind


def _measures(options: CustomOptions, kind: str) -> tuple[float, int]:
    radius, tolerance = options.radius, options.tolerance
    for key, value, wanted in (
        ("radius", radius, "coordinates"),
        ("tolerance", tolerance, "frames"),
    ):
        if value is not None and kind != wanted:
            raise ConfigError(f"{key}={value} means nothing to {kind}", expected=f"none: {wanted}")
    if kind == "frames" and (tolerance is None or tolerance < 0):
        what = f"tolerance is {tolerance}"
        raise ConfigError(what, expected="tolerance=<frames>, 0 or more: |i - j| <= tolerance")
    radius = DEFAULT_RADIUS if radius is None else radius
    check_radius(radius)
    return radius, tolerance or 0


def _read_list(path: Path, images: ImageFolders, side: str) -> list[str]:
    names = read_image_list(path).names

    def where(row: int) -> str:
        return f"{path}, image {row + 1}"

    found = find_listed(images, names, [side if images.apart else None] * len(names), where)
    check_unique(found, where, written=names)
    return found


def finish(relation: Relation, kind: str, root: Path, labels: str) -> Relation:
    """Take queries out of their own answers, and out altogether those unnamed and unanswered."""
    relation = relation.without_own_image()
    right = relation.num_right()
    require(
        right.any(),
        f"none of {len(relation.query_names)} queries has a positive among "
        f"{len(relation.gallery_names)} gallery images"
        + "".join(f"; {note}" for note in relation.notes),
        where=f"{labels} ({kind})",
        expected="at least one query with a positive that is not the query itself",
    )
    if not relation.queries_are_named:
        relation = relation.of_queries(np.flatnonzero(right))
    if "hard" in relation.rows and not any(map(len, relation.rows["hard"])):
        note = "nothing is graded hard: metrics of that setting will be undefined"
        relation = replace(relation, notes=(*relation.notes, note))
    return replace(relation, kind=kind, root=root)
