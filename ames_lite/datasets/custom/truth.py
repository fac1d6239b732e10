"""Image lists and ground truth of a custom dataset, from images and labels of several forms.

Where nothing says which images are queries (a column `split`, a folder `query_images`, a list
`queries`, the column `query` of pairs), every image with a positive is one, and all of them stay in
the gallery; a query is never an answer to itself. A pair that is not labelled is a negative; the
gallery of a CSV of pairs is every image of the gallery's folder unless a list says which.
"""

from collections import defaultdict
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ames_lite.datasets.custom.images import ImageFolders, find_images, find_listed, respelt
from ames_lite.datasets.custom.labels import Lists, relate_labels
from ames_lite.datasets.ground_truth import GRADES
from ames_lite.datasets.image_lists import read_image_list
from ames_lite.datasets.relation import SIDES, Relation
from ames_lite.datasets.rules import check_radius, marked
from ames_lite.datasets.tables import KINDS as TABLES
from ames_lite.datasets.tables import Table, describe_forms, read_table
from ames_lite.errors import BadInput, ConfigError, check_config, existing_file, explained, require
from ames_lite.io.arrays import read_npz
from ames_lite.io.names import check_once, line_of
from ames_lite.stores.candidates.texts import read_trec

WORDS = ("folders", "frames")  # that `labels` takes instead of a path
BY_SUFFIX = {".npy": "matrix", ".npz": "matrix", ".qrels": "qrels", ".trec": "qrels"}
KINDS = ("folders", *TABLES, "matrix", "qrels")
FORMS = "labels=folders, labels=frames (numbers in file names), a matrix (.npy, .npz), TREC qrels "
FORMS += f"(.qrels, or kind=qrels), or a CSV: {describe_forms()}"
SIDE_FOLDERS = {  # of class folders: below images=, or below its folder test
    "query": ("query", "queries"),
    "gallery": ("gallery", "database", "index", "reference", "ref"),
}
PATHS = ("images", "query_images", "queries", "gallery", "families", "distractors")
DEFAULT_RADIUS = 25.0  # metres: the custom of place recognition
GRADE = {-1: "junk", 0: "wrong", 1: "hard", 2: "easy"}  # of qrels


@dataclass(frozen=True)
class CustomOptions:
    """What the user gives: folders, labels and how to read them. Paths are made absolute."""

    images: Path
    labels: str  # a path or one of WORDS
    query_images: Path | None = None  # a folder of the queries alone
    queries: Path | None = None  # image lists that say which images, in which order
    gallery: Path | None = None
    kind: str | None = None  # of KINDS, where a header does not tell
    radius: float | None = None  # metres
    tolerance: int | None = None  # frames
    families: Path | None = None  # from here on: of a set that is split by family
    val_share: float | None = None
    distractors: Path | None = None  # a folder of images without partners
    seed: int | None = None
    queries_per_label: int | None = None

    def __post_init__(self) -> None:
        for key in PATHS:
            if getattr(self, key) is not None:
                object.__setattr__(self, key, Path(getattr(self, key)).expanduser().absolute())
        if self.labels not in WORDS:
            object.__setattr__(self, "labels", str(Path(self.labels).expanduser().absolute()))


def make_custom(options: CustomOptions) -> Relation:
    """Names and ground truth. Raises MissingFile, ConfigError or BadInput with file and line."""
    kind, table = _kind_of(options), None
    if options.labels not in WORDS and kind != "matrix":
        path = Path(options.labels)
        table = read_qrels(path) if kind == "qrels" else read_table(path, kind)
        kind = table.kind
    assert kind is not None
    radius, tolerance = _measures(options, kind)
    folders, said = image_folders(options)
    images = find_images(*folders, named=table is not None)
    paths = zip(SIDES, (options.queries, options.gallery), strict=True)
    lists = {side: _read_list(path, images, side) if path else None for side, path in paths}
    if kind == "matrix":
        relation = _relate_matrix(Path(options.labels), lists)
    elif table is not None and kind in ("pairs", "qrels"):
        relation = _relate_pairs(table, images, lists)
    else:
        relation = relate_labels(kind, table, images, lists, radius=radius, tolerance=tolerance)
    notes = (*said, *images.notes, *(table.notes if table is not None else ()), *relation.notes)
    return finish(replace(relation, notes=notes), kind, images.root, options.labels)


def read_qrels(path: Path) -> Table:
    """TREC qrels, lines of `query iteration image relevance`, as a table of pairs, kind "qrels".

    1 and more is right. Where a relevance is above 1 or below 0, pairs have grades: `easy` from 2
    on, `hard` for 1, `junk` below 0. Names may lack folder and suffix, and have blanks as in URLs.
    Raises MissingFile; ConfigError; BadInput with the line.
    """
    expected = "TREC qrels: query, iteration, image and relevance between blanks"
    found = list(read_trec(existing_file(path, "missing: the qrels", expected=expected), "qrels"))
    require(found, "an empty file", where=path, expected=expected)
    values = [min(max(int(one.score or 0), -1), 2) for one in found]
    graded = not {*values} <= {0, 1}
    columns = {
        "query": [one.query for one in found],
        "gallery": [str(one.name) for one in found],
        "grade" if graded else "relevant": [GRADE[v] if graded else str(v) for v in values],
    }
    return Table(path, "qrels", columns, [one.line for one in found])


def _kind_of(options: CustomOptions) -> str | None:
    """What `labels` and `kind` say together; None: the header of a CSV decides."""
    kind, labels = options.kind, options.labels
    known, expected = kind in (None, *KINDS), f"one of {', '.join(KINDS)}"
    check_config(known, f"there is no kind '{kind}'", expected)
    meant = labels if labels in WORDS else None
    meant = BY_SUFFIX.get(Path(labels).suffix.lower(), meant)
    fits = kind in (None, meant) or (meant is None and kind in (*TABLES, "qrels"))
    check_config(fits, f"labels={labels} is not of kind={kind}", FORMS)
    return meant or kind


def image_folders(options: CustomOptions) -> tuple[tuple[Path, Path | None], tuple[str, ...]]:
    """The folder of the gallery and that of the queries, which class folders may have by name."""
    if options.labels == "folders" and options.query_images is None:
        for base in (options.images, options.images / "test"):
            query, gallery = (
                next((base / name for name in names if (base / name).is_dir()), None)
                for names in SIDE_FOLDERS.values()
            )
            if query and gallery:
                return (gallery, query), (f"queries are in {query}, the gallery in {gallery}",)
    return (options.images, options.query_images), ()


def _measures(options: CustomOptions, kind: str) -> tuple[float, int]:
    radius, tolerance = options.radius, options.tolerance
    for key, wanted in (("radius", "coordinates"), ("tolerance", "frames")):
        value = getattr(options, key)
        fits, what = value is None or kind == wanted, f"{key}={value} means nothing to {kind}"
        check_config(fits, what, f"none: {wanted}")
    fits = kind != "frames" or (tolerance is not None and tolerance >= 0)
    expected = "tolerance=<frames>, 0 or more: |i - j| <= tolerance"
    check_config(fits, f"tolerance is {tolerance}", expected)
    radius = DEFAULT_RADIUS if radius is None else radius
    check_radius(radius)
    return radius, tolerance or 0


def _read_list(path: Path, images: ImageFolders, side: str) -> list[str]:
    names, where = read_image_list(path).names, line_of(path, "image")
    found = find_listed(images, names, [side] * len(names), where)
    check_once(found, where, written=names)
    return found


def finish(relation: Relation, kind: str, root: Path, labels: str) -> Relation:
    """Take queries out of their own answers, and out altogether those unnamed and unanswered."""
    relation = relation.without_own_image()
    right = relation.num_right()
    queries, among = len(relation.query_names), f"{len(relation.gallery_names)} gallery images"
    what = f"none of {queries} queries has a positive among {among}"
    what, where = "; ".join((what, *relation.notes)), f"{labels} ({kind})"
    expected = "at least one query with a positive that is not the query itself"
    require(right.any() or not relation.labelled, what, where=where, expected=expected)
    if not relation.queries_are_named:
        relation = relation.of_queries(np.flatnonzero(right))
    if "hard" in relation.rows and not any(map(len, relation.rows["hard"])):
        note = "nothing is graded hard: metrics of that setting will be undefined"
        relation = replace(relation, notes=(*relation.notes, note))
    return replace(relation, kind=kind, root=root)


def _relate_pairs(table: Table, images: ImageFolders, lists: Lists) -> Relation:
    """Relate the queries of the list, or of the column `query` in order of appearance. BadInput."""
    table, asked, right, lost = _pairs_there(table, images)
    pairs = [f"{query},{image}" for query, image in zip(asked, right, strict=True)]
    said = table.columns.get("grade", table.columns.get("relevant"))
    check_once(pairs, table.where, said=said, expected="every pair once")
    queries = lists["query"] or list(dict.fromkeys(asked))
    gallery = lists["gallery"] or sorted({*images.of_side("gallery"), *right})
    row_of = {name: row for row, name in enumerate(gallery)}
    answers: dict[tuple[str, str], list[int]] = defaultdict(list)
    for line, (query, image, grade) in enumerate(zip(asked, right, _grades(table), strict=True)):
        if image not in row_of:
            what = f"'{table.columns['gallery'][line]}' is not in the list of gallery="
            raise BadInput(what, where=table.where(line), expected="images of that list")
        answers[query, grade].append(row_of[image])
    what = f"none of the {len(queries)} images of queries= is a query of the pairs"
    expected = "the list's queries in the column `query`"
    require(not set(queries).isdisjoint(asked), what, where=table.path, expected=expected)
    rows = {
        grade: [np.array(sorted(answers[query, grade]), np.int64) for query in queries]
        for grade in (GRADES if "grade" in table.columns else GRADES[:1])
    }
    written = [*table.columns["gallery"], *table.columns["query"]]
    notes = respelt(dict(zip(written, [*right, *asked], strict=True)), images) + lost
    return Relation(queries, gallery, rows, notes=notes)


def _pairs_there(
    table: Table, images: ImageFolders
) -> tuple[Table, list[str], list[str], tuple[str, ...]]:
    """The pairs, the images of both sides, notes. Of qrels those not there are left out."""
    some = table.kind == "qrels"
    sides = ((table.columns[side], [side] * len(table)) for side in SIDES)
    asked, right = (find_listed(images, *named, table.where, some) for named in sides)
    there = [bool(query and image) for query, image in zip(asked, right, strict=True)]
    if all(there):
        return table, asked, right, ()
    what = f"{there.count(False)} of {len(table)} judgements are of images that are not there"
    where, expected = table.where(there.index(False)), "names of the images, or their ids"
    require(any(there), what, where=where, expected=expected)
    note = f"{what}, first in line {table.lines[there.index(False)]}: left out"
    kept = table.of_rows(np.flatnonzero(there))
    return kept, [*compress(asked, there)], [*compress(right, there)], (note,)


def _grades(table: Table) -> list[str]:
    """The grade of each pair; "" or "wrong": not relevant."""
    if "grade" in table.columns:
        return table.choices("grade", (*GRADES, "wrong"))
    if "relevant" in table.columns:
        return ["easy" * int(one) for one in table.choices("relevant", ("0", "1"))]
    return ["easy"] * len(table)


def _relate_matrix(path: Path, lists: Lists) -> Relation:
    """Relate by a matrix [Q, N] of the rows of the query list and the gallery list. BadInput."""
    queries, gallery = lists["query"], lists["gallery"]
    if queries is None or gallery is None:
        what = "a matrix needs the names of its rows and columns"
        raise ConfigError(what, where=path, expected="queries=<image list> gallery=<image list>")
    wanted = len(queries), len(gallery)
    matrix = _load_matrix(path, 8 * len(queries) * len(gallery))
    transposed = ", as if it were transposed" if matrix.shape == wanted[::-1] else ""
    what = f"the matrix is {list(matrix.shape)} ({matrix.dtype.name}){transposed}"
    listed = f"{wanted[0]} in the query list, {wanted[1]} in the gallery list"
    expected = f"{list(wanted)} of bool or 0 and 1: {listed}"
    fits = matrix.shape == wanted and matrix.dtype.kind in "buif"
    require(fits, what, where=path, expected=expected)
    return Relation(queries, gallery, {"easy": marked(matrix, str(path))})


def _load_matrix(path: Path, most: int) -> npt.NDArray[Any]:
    """The array of a .npy, or the only one of a .npz, of at most so many bytes (or `BOMB`)."""
    expected = "a .npy, or a .npz with one array, of bool or 0 and 1"
    existing_file(path, "the matrix is missing", expected=expected)
    with explained("the matrix cannot be read: {}", Exception, where=path, expected=expected):
        if path.suffix.lower() == ".npy":
            return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
        found = read_npz(path, most=most)
    what = f"the file holds arrays {', '.join(found) or 'none'}"
    require(len(found) == 1, what, where=path, expected=expected)
    return next(iter(found.values()))
