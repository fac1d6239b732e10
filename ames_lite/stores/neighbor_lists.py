"""Neighbour lists on disk: `nn_{desc}_{global}.hdf5`, a `Neighbors` tied to two name lists.

`ids` int32 [Q, K], rows of the gallery list, `sims` float32 [Q, K] and `checksum` uint64 [Q] of
both. The file keeps the digests of both name lists, and reading demands both. A path that ends in
`.pkl` is of the published form, one of a table or an archive of the forms of `candidates`.
"""

import logging
import mmap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ames_lite.errors import existing_file, explained, require
from ames_lite.io import remedies
from ames_lite.io.digest import names_digest
from ames_lite.io.provenance import ORIGIN, Provenance
from ames_lite.records import Neighbors
from ames_lite.retrieval.rows import own_rows
from ames_lite.stores import hdf5
from ames_lite.stores.candidates import is_foreign, read_candidates
from ames_lite.stores.checksums import row_checksums
from ames_lite.stores.neighbor_rows import NeighborRows, Where, row_blocks, verify_lists
from ames_lite.stores.published import neighbors as published
from ames_lite.stores.published.neighbors import is_pickle, open_published_rows

logger = logging.getLogger(__name__)
WHOLE_BYTES = 1 << 30  # lists that take more are read as far as they are needed
SCHEMA = hdf5.Schema("ames_lite/neighbors/2", "ames_lite/neighbors/1")
REMEDY = remedies.NEIGHBORS
Names = Sequence[str]


def write_neighbors(
    path: str | Path,
    neighbors: Neighbors,
    query_names: Names,
    gallery_names: Names,
    provenance: Mapping[str, Any],
    *,
    overwrite: bool = False,
) -> Path:
    """Write the neighbours of Q names among N; returns the path. A .pkl has no names. BadInput."""
    wanted = ("query", query_names, len(neighbors.ids))
    for side, names, num in (wanted, ("gallery", gallery_names, neighbors.num_gallery)):
        hdf5.check_names(names, f"the {side} list")
        what = f"the {side} list has {len(names)} names, the neighbours {num}"
        expected = f"the {side} list that the neighbours were searched with"
        require(len(names) == num, what, where=path, expected=expected)
    if is_pickle(path):
        return published.write_published_neighbors(Path(path), neighbors, overwrite=overwrite)
    with hdf5.new_file(path, SCHEMA, provenance, overwrite=overwrite) as file:
        ids = file["ids"] = neighbors.ids.astype(np.int32, copy=False)
        sims = file["sims"] = neighbors.sims.astype(np.float32, copy=False)
        file["checksum"] = row_checksums(ids, sims)
        hdf5.write_json(file, "lists", _describe(query_names, gallery_names))
    return Path(path)


def read_neighbors(
    path: str | Path,
    query_names: Names,
    gallery_names: Names,
    num: int | None = None,  # the first min(num, N) of each query; None: all
    *,
    most: int | None = None,  # or so many, where all take more than WHOLE_BYTES
    remedy: str = REMEDY,
) -> Neighbors:
    """The neighbours. Raises MissingFile; BadInput for other lists and too short ones."""
    both = query_names, gallery_names
    if is_foreign(Path(path)):
        lists = _foreign_rows(path, *both)
        large = 8 * len(lists) * lists.width > WHOLE_BYTES
        found = lists.block(slice(0, len(lists)), (num or most) if large else None)
        return found.first(_width(path, found.ids.shape[1], num, both, remedy))
    with hdf5.open_complete(path, SCHEMA, remedy=remedy) as file:
        ids, sims = datasets_of(file, query_names, gallery_names, remedy)
        width = _width(path, ids.shape[1], num, both, remedy)
        if most is not None and 8 * len(query_names) * width > WHOLE_BYTES:
            width = min(width, most)
        parts = np.empty((len(ids), width), np.int32), np.empty((len(ids), width), np.float32)
        for rows in row_blocks(len(ids), 8 * ids.shape[1]):
            block = ids[rows], sims[rows]
            if file.verifies:
                verify_lists(*block, file["checksum"][rows], np.r_[rows], path)
            for part, values in zip(parts, block, strict=True):
                part[rows] = values[:, :width]
    with explained(where=path, remedy=remedy):
        return Neighbors(*parts, len(gallery_names))


def _foreign_rows(path: str | Path, query_names: Names, gallery_names: Names) -> NeighborRows:
    if is_pickle(path):
        return open_published_rows(path, query_names, gallery_names)
    found = read_candidates(path)
    logger.info("%s", found)
    near = found.neighbors(query_names, gallery_names)
    own = own_rows(query_names, gallery_names)
    return NeighborRows(near.ids, near.sims, near.num_gallery, own, path)


def convert_published(
    source: str | Path,
    output: str | Path,
    query_names: Names,
    gallery_names: Names,
    *,
    keep: int | None = None,  # so many neighbours of each query; None: all
    overwrite: bool = False,
) -> Path:
    """A native file of the lists of a pickle, each image left out of its own; returns its path."""
    lists, rising = open_published_rows(source, query_names, gallery_names), 0
    width, rows = min(lists.width - lists.has_own, keep or lists.width), len(lists)
    with hdf5.new_file(output, SCHEMA, {"origin": ORIGIN}, overwrite=overwrite) as file:
        for name, dtype in (("ids", np.int32), ("sims", np.float32)):
            hdf5.create_contiguous(file, name, (rows, width), dtype)
        hdf5.create_contiguous(file, "checksum", (rows,), np.uint64)
        for block in lists.blocks():
            found = lists.block(block)
            ids, sims = (np.ascontiguousarray(p[:, :width]) for p in (found.ids, found.sims))
            file["ids"][block], file["sims"][block] = ids, sims
            file["checksum"][block] = row_checksums(ids, sims)
            rising += found.rising
        hdf5.write_json(file, "lists", _describe(query_names, gallery_names))
    say_rising(rising, rows, source)
    return Path(output)


def read_provenance(path: str | Path) -> Provenance:
    return {"origin": ORIGIN} if is_foreign(Path(path)) else hdf5.read_provenance(path, SCHEMA)


def say_rising(rising: int, num: int, where: Where) -> None:
    """Log how many lists are not in the order of their sims, where there are any."""
    if rising:
        text = "%s: the similarities of %d of %d lists do not fall; the lists keep their order"
        logger.warning(text, where or "neighbour lists", rising, num)


def datasets_of(
    file: hdf5.File, query_names: Names, gallery_names: Names, remedy: str
) -> tuple[hdf5.DataSet, hdf5.DataSet]:
    """ids and sims of an open file. Raises BadInput where it was made for other name lists."""
    stored, given = hdf5.read_json(file, "lists"), _describe(query_names, gallery_names)
    for side in ("query", "gallery"):
        there, here = (lists.get(f"{side}_digest") for lists in (stored, given))
        many, few = (lists.get(f"{side}_count") for lists in (stored, given))
        both = f"{many} names with digest {there} there, {few} names with digest {here} here"
        what = f"the neighbours were made for another {side} list: {both}"
        same = f"the {side} list of this run, name by name in the same order"
        expected = f"{same}, or neighbours made again"
        require(there == here, what, where=file.path, expected=expected, remedy=remedy)
    ids = hdf5.dataset(file, "ids", (len(query_names), None), ("int32",))
    if file.has_checksums:
        hdf5.dataset(file, "checksum", (len(query_names),), ("uint64",))
    return ids, hdf5.dataset(file, "sims", ids.shape, ("float32",))


def _describe(query_names: Names, gallery_names: Names) -> dict[str, Any]:
    sides = {"query": query_names, "gallery": gallery_names}
    digests = {f"{side}_digest": names_digest(names) for side, names in sides.items()}
    return digests | {f"{side}_count": len(names) for side, names in sides.items()}


def _width(path: Where, stored: int, num: int | None, names: Sequence[Names], remedy: str) -> int:
    """How many columns to read. Raises BadInput where num asks for more than is there."""
    if num is None:
        return stored
    require(num >= 1, f"{num} neighbours were asked for", expected="at least 1")
    # an image is no neighbour of its own, so lists of a set against itself end one earlier
    gallery, overlap = len(names[1]), not set(names[1]).isdisjoint(names[0])
    what = f"{num} neighbours a query were asked for, the list has {stored}"
    expected = f"{num} neighbours, or all of the {gallery} gallery images"
    longer = f"ask for at most {stored}, or make a longer list: {remedy}"
    enough = stored >= min(num, gallery - overlap)
    require(enough, what, where=path, expected=expected, remedy=longer)
    return min(stored, num)


def open_neighbor_rows(path: str | Path, names: Sequence[str]) -> NeighborRows:
    """The lists of a training set (names) against itself, left in their file where possible."""
    path = existing_file(path, "the neighbour lists are missing", remedy=REMEDY)
    if is_foreign(path):
        lists = _foreign_rows(path, names, names)
        return lists if lists.mapped else NeighborRows.of(lists.block(slice(0, len(lists))))
    with hdf5.open_complete(path, SCHEMA, remedy=REMEDY) as file:
        found = datasets_of(file, names, names, REMEDY)
        if any(part.offset is None or 0 in part.shape for part in found):
            return NeighborRows.of(read_neighbors(path, names, names))
        with open(path, "rb") as plain:
            mapped = mmap.mmap(plain.fileno(), 0, access=mmap.ACCESS_READ)
        ids, sims = (part.over(mapped) for part in found)
        sums = file["checksum"][:] if file.verifies else None
    return NeighborRows(ids, sims, len(names), where=path, mapped=mapped, checksums=sums)
