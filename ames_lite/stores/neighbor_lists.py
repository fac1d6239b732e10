"""Neighbour lists on disk: `nn_{desc}_{global}.hdf5`, a `Neighbors` tied to two name lists.

`ids` int32 [Q, K] (rows of the gallery list) and `sims` float32 [Q, K]. Ids mean nothing without
the list that they count in, so the file keeps the digests of the query and the gallery list, and
reading demands both lists. A path that ends in `.pkl` is of the published form
(`published.neighbors`), in reading and in writing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ames_lite.errors import BadInput
from ames_lite.io import remedies
from ames_lite.io.digest import names_digest
from ames_lite.records import Neighbors
from ames_lite.stores import hdf5
from ames_lite.stores.published.neighbors import (
    WHOLE_BYTES,
    read_published_neighbors,
    write_published_neighbors,
)

SCHEMA = "ames_lite/neighbors/1"
REMEDY = remedies.NEIGHBORS


def write_neighbors(
    path: str | Path,
    neighbors: Neighbors,
    query_names: Sequence[str],
    gallery_names: Sequence[str],
    provenance: Mapping[str, Any],
    *,
    overwrite: bool = False,
) -> Path:
    """Write the neighbours of Q query names among N gallery names; returns the path.

    The published form (.pkl) keeps neither names nor provenance. Raises BadInput where the lists
    do not fit the neighbours, and for an existing file unless overwrite.
    """
    lists = {"query": query_names, "gallery": gallery_names}
    wanted = {"query": len(neighbors.ids), "gallery": neighbors.num_gallery}
    for side, names in lists.items():
        hdf5.check_names(names, f"the {side} list")
        if len(names) != wanted[side]:
            raise BadInput(
                f"the {side} list has {len(names)} names, the neighbours {wanted[side]}",
                where=path,
                expected=f"the {side} list that the neighbours were searched with",
            )
    if is_pickle(path):
        return write_published_neighbors(path, neighbors, overwrite=overwrite)
    with hdf5.new_file(path, SCHEMA, provenance, overwrite=overwrite) as file:
        file["ids"] = neighbors.ids.astype(np.int32, copy=False)
        file["sims"] = neighbors.sims.astype(np.float32, copy=False)
        hdf5.write_json(file, "lists", describe_lists(lists))
    return Path(path)


def read_neighbors(
    path: str | Path,
    query_names: Sequence[str],
    gallery_names: Sequence[str],
    num: int | None = None,
    *,
    most: int | None = None,
    remedy: str = REMEDY,
) -> Neighbors:
    """The neighbours, or the first min(num, N) of each query.

    most: where all of them would take more than WHOLE_BYTES, so many of each query are read, and
    looked at, and the others stay in the file.
    Raises MissingFile; BadInput where the file is damaged, was made for another query or gallery
    list, or is shorter than both num and the gallery.
    """
    if is_pickle(path):
        wanted = most if num is None else num
        whole = read_published_neighbors(path, query_names, gallery_names, most=wanted)
        width = _width(path, whole.ids.shape[1], num, query_names, gallery_names, remedy)
        return Neighbors(whole.ids[:, :width], whole.sims[:, :width], whole.num_gallery)
    lists = {"query": query_names, "gallery": gallery_names}
    with hdf5.open_complete(path, SCHEMA, remedy=remedy) as file:
        check_lists(path, hdf5.read_json(file, "lists"), describe_lists(lists), remedy)
        ids = hdf5.dataset(file, "ids", (len(query_names), None), ("int32",))
        sims = hdf5.dataset(file, "sims", ids.shape, ("float32",))
        width = _width(path, ids.shape[1], num, query_names, gallery_names, remedy)
        if most is not None and 8 * len(query_names) * width > WHOLE_BYTES:
            width = min(width, most)
        parts = ids[:, :width], sims[:, :width]
    try:
        return Neighbors(*parts, len(gallery_names))
    except BadInput as error:
        raise BadInput(str(error), where=path, remedy=remedy) from error


def is_pickle(path: str | Path) -> bool:
    """Whether a path names the published form, which carries no provenance and no digests."""
    return Path(path).suffix == ".pkl"


def describe_lists(lists: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """What a file keeps of the name lists by side: their digests and lengths."""
    described: dict[str, Any] = {}
    for side, names in lists.items():
        described[f"{side}_digest"] = names_digest(names)
        described[f"{side}_count"] = len(names)
    return described


def check_lists(
    path: str | Path, stored: Mapping[str, Any], given: Mapping[str, Any], remedy: str
) -> None:
    """Raise BadInput where the lists of a file are not those given, both as described."""
    for side in ("query", "gallery"):
        there, here = stored.get(f"{side}_digest"), given[f"{side}_digest"]
        if there != here:
            raise BadInput(
                f"the neighbours were made for another {side} list: "
                f"{stored.get(f'{side}_count')} names with digest {there} there, "
                f"{given[f'{side}_count']} names with digest {here} here",
                where=path,
                expected=f"the {side} list of this run, name by name in the same order, "
                "or neighbours made again",
                remedy=remedy,
            )


def _width(
    path: str | Path,
    stored: int,
    num: int | None,
    query_names: Sequence[str],
    gallery_names: Sequence[str],
    remedy: str,
) -> int:
    """How many columns to read. Raises BadInput where num asks for more than is there."""
    if num is None:
        return stored
    if num < 1:
        raise BadInput(f"{num} neighbours were asked for", expected="at least 1")
    # an image is no neighbour of its own, so lists of a set against itself end one earlier
    overlap = not set(gallery_names).isdisjoint(query_names)
    if stored < min(num, len(gallery_names) - overlap):
        raise BadInput(
            f"{num} neighbours a query were asked for, the list has {stored}",
            where=path,
            expected=f"{num} neighbours, or all of the {len(gallery_names)} gallery images",
            remedy=f"ask for at most {stored}, or make a longer list: {remedy}",
        )
    return min(stored, num)
