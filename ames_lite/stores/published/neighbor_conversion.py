"""Neighbour lists that are larger than memory: rewritten in blocks, or used where they lie.

`nn_*.hdf5`, or the published `nn_*.pkl` (18 GB for GLDv2), becomes a native file of the same lists,
or `NeighborRows` over the file itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput, MissingFile
from ames_lite.records import Neighbors
from ames_lite.stores import hdf5
from ames_lite.stores.neighbor_lists import (
    REMEDY,
    SCHEMA,
    check_lists,
    describe_lists,
    is_pickle,
    read_neighbors,
)
from ames_lite.stores.neighbor_rows import Extent, NeighborRows, say_rising
from ames_lite.stores.published.neighbors import checked_planes, own_rows, rows_of, without_own
from ames_lite.stores.published.planes import Planes
from ames_lite.stores.published.store import ORIGIN

Names = Sequence[str]


def first_neighbors(neighbors: Neighbors, keep: int | None) -> Neighbors:
    """The first `keep` neighbours of every query; None: all."""
    return Neighbors(neighbors.ids[:, :keep], neighbors.sims[:, :keep], neighbors.num_gallery)


def convert_published(
    source: str | Path,
    output: str | Path,
    query_names: Names,
    gallery_names: Names,
    *,
    keep: int | None = None,
    overwrite: bool = False,
) -> Path:
    """A native file of the lists of a pickle, each image left out of its own; returns its path.

    keep: so many neighbours of each query; None: all. Memory is that of the name lists and of one
    block, unless `planes` reads the file into memory. The file is read twice: checked whole before
    anything is written. Errors as in `read_published_neighbors`.
    """
    num = len(gallery_names)
    planes = checked_planes(source, len(query_names), num)
    sims, floats = planes.values[:2]
    own = own_rows(query_names, gallery_names)
    left_out = _check_blocks(Path(source), planes, own, num)
    rows, columns = sims.shape
    width = min(columns - left_out, keep or columns)
    with hdf5.new_file(output, SCHEMA, {"origin": ORIGIN}, overwrite=overwrite) as file:
        for name, dtype in (("ids", np.int32), ("sims", np.float32)):
            hdf5.create_contiguous(file, name, (rows, width), dtype)
        for block in planes.blocks():
            kept, values = floats[block].astype(np.int32), sims[block]
            if left_out:
                kept, values = without_own(kept, values, own[block])
            file["ids"][block], file["sims"][block] = kept[:, :width], values[:, :width]
        lists = {"query": query_names, "gallery": gallery_names}
        hdf5.write_json(file, "lists", describe_lists(lists))
    return Path(output)


def _check_blocks(path: Path, planes: Planes, own: npt.NDArray[np.int64], num_gallery: int) -> bool:
    """Whether a query is in its own list. Raises BadInput where the lists are none."""
    found, rising, (sims, floats) = False, 0, planes.values[:2]
    for block in planes.blocks():
        ids = rows_of(floats[block], "id", num_gallery, path, block.start)
        found |= bool((ids == own[block, None]).any())
        try:
            rising += Neighbors(ids, sims[block].astype(np.float32), num_gallery).rising
        except BadInput as error:
            last = block.start + len(ids) - 1
            where = f"{path}, queries {block.start} to {last}, counted from there"
            raise BadInput(str(error), where=where) from error
    say_rising(rising, len(sims), path)
    return found


def open_neighbor_rows(path: str | Path, names: Names, *, remedy: str = REMEDY) -> NeighborRows:
    """The lists of a training set against itself, left in their file where that is possible.

    names: its image list. Raises MissingFile; BadInput where the lists are of other images.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFile("the neighbour lists are missing", where=path, remedy=remedy)
    if is_pickle(path):
        values, mapped = checked_planes(path, len(names), len(names))
        if mapped is not None:
            return NeighborRows(values[1], values[0], len(names), path, mapped)
        return NeighborRows.of(read_neighbors(path, names, names, remedy=remedy))
    lists = {"query": names, "gallery": names}
    with hdf5.open_complete(path, SCHEMA, remedy=remedy) as file:
        check_lists(path, hdf5.read_json(file, "lists"), describe_lists(lists), remedy)
        ids = hdf5.dataset(file, "ids", (len(names), None), ("int32",))
        sims = hdf5.dataset(file, "sims", ids.shape, ("float32",))
        extents = [_extent(part) for part in (ids, sims)]
    if extents[0] is None or extents[1] is None:
        return NeighborRows.of(read_neighbors(path, names, names, remedy=remedy))
    return NeighborRows.map(path, extents[0], extents[1], len(names))


def _extent(dataset: hdf5.DataSet) -> Extent | None:
    """Where a data set lies in its file; None where it does not lie there in one piece."""
    offset = dataset.offset
    if offset is None or 0 in dataset.shape:
        return None
    rows, columns = dataset.shape
    return Extent(offset, columns, (rows, columns), dataset.stored_dtype)
