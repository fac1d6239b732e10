"""What an evaluation reads: all files of a data set, opened and checked before any work."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ames_lite.datasets.image_lists import ImageList, read_image_list
from ames_lite.datasets.layout import DatasetFiles, find_all
from ames_lite.datasets.relation import SIDES
from ames_lite.errors import BadInput, require
from ames_lite.evaluation import protocols
from ames_lite.evaluation.protocols import Protocol
from ames_lite.io.digest import file_identity, names_digest
from ames_lite.io.names import say_difference
from ames_lite.io.provenance import SAME_STORES, compare_provenance
from ames_lite.records import GroundTruth, Neighbors
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.neighbor_lists import read_neighbors, say_rising
from ames_lite.stores.published.neighbors import read_shortlist
from ames_lite.stores.published.store import open_store

Stores = tuple[DescriptorStore, DescriptorStore]


@dataclass(frozen=True, eq=False)
class ListData(protocols.Retrieval):
    """What a global ranking is evaluated from; read: `read_digests`."""

    files: DatasetFiles
    read: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class EvaluationData(ListData):
    """All that an evaluation reads, opened and checked; stores: of queries and gallery."""

    stores: Stores


def list_digests(queries: Sequence[str], gallery: Sequence[str]) -> dict[str, str]:
    """By what results.json tells the image lists."""
    return {"query_names": names_digest(queries), "gallery_names": names_digest(gallery)}


def read_digests(truth: GroundTruth, neighbors: Path) -> dict[str, str]:
    """What tells a ground truth, in whatever form, and the file of neighbour lists from others."""
    graded = [[one.tolist() for one in rows] for rows in (truth.easy, truth.hard, truth.junk)]
    of_truth = names_digest([str(graded), str(truth.bbox)])
    return {"ground_truth": of_truth, "neighbors": file_identity(neighbors)}


def find_files(
    files: DatasetFiles, neighbors: str | None, *, stores: bool = True, **more: Callable[[], Path]
) -> dict[str, Path]:
    """Paths by name; neighbors None: no lists, no ground truth. MissingFile names all missing."""
    find: dict[str, Callable[[], Path]] = {side: partial(files.image_list, side) for side in SIDES}
    if stores:
        find |= {f"{side} store": partial(files.local, side) for side in SIDES}
    if neighbors is not None:
        find |= {"ground truth": files.ground_truth}
        find |= {"neighbors": partial(files.neighbors, neighbors)}
    return find_all({**find, **more})


def read_lists(paths: Mapping[str, Path]) -> tuple[ImageList, ImageList]:
    """The queries and the gallery; paths: of `find_files`."""
    return read_image_list(paths["query"]), read_image_list(paths["gallery"])


def load_data(
    files: DatasetFiles, protocol: str | Protocol, neighbors: str, num: int, *, whole: bool = False
) -> EvaluationData:
    """Open and check everything. Raises MissingFile that names all that is missing, or BadInput;
    num: as num_rerank; whole: read lists of any size in full, not only as far as it looks.
    """
    paths = find_files(files, neighbors)
    lists = queries, gallery = read_lists(paths)
    shortlist = read_shortlist(paths["neighbors"], queries.names, gallery.names)
    stores = open_stores(files, paths, lists, shortlist)
    data = load_lists(files, protocol, neighbors, num, whole=whole)
    return EvaluationData(**vars(data), stores=stores)


def load_lists(
    files: DatasetFiles,
    protocol: str | Protocol,
    neighbors: str,
    num_rerank: int = 0,
    *,
    whole: bool = False,
    unlabelled: bool = False,
) -> ListData:
    """As `load_data`, without descriptors; unlabelled: it may be that no query has a positive."""
    paths = find_files(files, neighbors, stores=False)
    lists, protocol = read_lists(paths), protocols.get_protocol(protocol)
    queries, gallery = (images.names for images in lists)
    # A query that is in the gallery is left out of its own list.
    longest = len(gallery) - bool(set(queries) & set(gallery))
    needed = min(max(num_rerank, protocol.depth), longest)
    truth = files.read_truth(queries, gallery)
    maker = files.make_neighbors(neighbors, overwrite=True)
    most = None if whole else _looked_at(truth, protocol, needed)
    near = _lists(paths["neighbors"], truth, needed, maker, most)
    data = ListData(protocol, truth, near, files, read_digests(truth, paths["neighbors"]))
    fine = unlabelled or min(excluded(data).values()) < len(queries)
    expected = f"positives among the {len(gallery)} images of {paths['gallery']}"
    require(fine, "no query has a positive", expected, where=paths["ground truth"])
    return data


def open_stores(
    files: DatasetFiles,
    paths: Mapping[str, Path],
    lists: tuple[ImageList, ImageList],
    shortlist: npt.NDArray[np.int64] | None = None,
) -> Stores:
    """The stores of queries and gallery. BadInput where they are of other lists or settings."""
    remedy = files.make_local()
    queries, gallery = (
        open_store(paths[f"{side} store"], images.names, images.sizes, remedy, shortlist=rows)
        for side, images, rows in zip(SIDES, lists, (None, shortlist), strict=True)
    )
    for side, store, images in zip(SIDES, (queries, gallery), lists, strict=True):
        if store.names != images.names:
            what = say_difference(store.names, images.names)
            both, remedy = f"{store.path} against {paths[side]}", files.make_local(overwrite=True)
            expected = "a store extracted from this very list"
            raise BadInput(what, where=both, expected=expected, remedy=remedy)
    anew, places = files.make_local(splits=["query"], overwrite=True), (queries.path, gallery.path)
    both_made = queries.provenance, gallery.provenance
    compare_provenance(*both_made, SAME_STORES, files=places, anew=anew)
    return queries, gallery


def excluded(data: ListData) -> dict[str, int]:
    """By setting, the number of queries that have no positive there, and so count in no mean."""
    return _count_queries(data, lambda positives: positives == 0)


def short_lists(data: ListData) -> dict[str, int]:
    """By setting, the number of queries with more positives than a list has images, if any; none
    for AP@k: it is over min(k, positives), and lists are never shorter than k.
    """
    if data.protocol.ap_at is not None:
        return {}
    length = data.neighbors.ids.shape[1]
    found = _count_queries(data, lambda positives: positives > length)
    return {setting: num for setting, num in found.items() if num}


def _count_queries(data: ListData, holds: Callable[[int], bool]) -> dict[str, int]:
    of = partial(protocols.setting_positives, data.ground_truth)
    return {one: sum(holds(len(rows)) for rows in of(one)) for one in data.protocol.settings}


def _looked_at(truth: GroundTruth, protocol: Protocol, needed: int) -> int | None:
    """How far into a list anything can matter, junk included; None: to its end (trapezoidal AP)."""
    if protocol.ap_at is None:
        return None
    junk = [protocols.setting_junk(truth, setting) for setting in protocol.settings]
    return needed + max(len(rows) for setting in junk for rows in setting)


def _lists(path: Path, truth: GroundTruth, needed: int, maker: str, most: int | None) -> Neighbors:
    """Lists of at least `needed` images; of very large ones, the first `most` of each query."""
    names = truth.query_names, truth.gallery_names
    neighbors = read_neighbors(path, *names, most=most, remedy=maker)
    found, remedy = neighbors.ids.shape[1], f"{maker} num_neighbors={needed}"
    what = f"the neighbour lists have {found} images a query, {needed} are needed"
    asked = "lists as long as num_rerank= and the protocol ask for (or less of it)"
    require(found >= needed, what, f"{asked}, or the whole gallery", where=path, remedy=remedy)
    say_rising(neighbors.rising, len(neighbors.ids), path)
    return neighbors
