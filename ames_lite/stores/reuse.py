"""Whether a vocabulary or neighbour lists that are there are those that a run would make.

What provenance cannot tell, the numbers do: of neighbour lists some similarities are computed again
from the global descriptors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ames_lite.errors import BadInput
from ames_lite.io.provenance import compare_provenance
from ames_lite.stores import hdf5
from ames_lite.stores.fitted import read_vocabulary, read_vocabulary_images
from ames_lite.stores.global_store import GlobalStore
from ames_lite.stores.neighbor_lists import SCHEMA, read_neighbors

QUERIES, PLACES = 8, 4  # of neighbour lists, that are computed again
TOLERANCE = 1e-3  # of a similarity; other descriptors differ by more


def check_neighbors(
    path: Path, queries: GlobalStore, gallery: GlobalStore, needed: int, *, remedy: str
) -> None:
    """Raise BadInput where the lists are not those of these descriptors, or shorter than needed."""
    lists = read_neighbors(path, queries.names, gallery.names, needed, remedy=remedy)
    with hdf5.open_complete(path, SCHEMA, remedy=remedy) as file:
        made = hdf5.read_json(file, "provenance")
    made.pop("search", None)  # how the neighbours were found
    compare_provenance(made, gallery.provenance, files=(path, gallery.path), remedy=remedy)
    rows, width = lists.ids.shape
    for row in np.unique(np.linspace(0, rows - 1, min(rows, QUERIES)).astype(int)):
        query = queries.read(row, row + 1)[0].astype(np.float64)
        for place in np.unique(np.linspace(0, width - 1, min(width, PLACES)).astype(int)):
            found, stored = int(lists.ids[row, place]), float(lists.sims[row, place])
            value = float(gallery.read(found, found + 1)[0].astype(np.float64) @ query)
            if abs(value - stored) > TOLERANCE:
                raise BadInput(
                    f"the lists give '{queries.names[row]}' and '{gallery.names[found]}' the "
                    f"similarity {stored:.4f}, their descriptors have {value:.4f}",
                    where=f"{path} and {gallery.path}",
                    expected="lists of these very descriptors",
                    remedy=remedy,
                )


def check_vocabulary(
    path: Path, wanted: Mapping[str, Any], lists: Mapping[str, Sequence[str]], *, remedy: str
) -> None:
    """BadInput where a vocabulary is not what is wanted, or has seen images that lists now lack."""
    _, made = read_vocabulary(path)
    compare_provenance(made, wanted, wanted, files=(path, "this run"), remedy=remedy)
    for part in read_vocabulary_images(path):
        names = lists.get(part.dataset)
        odd = None if names is None else sorted(set(part.names) - set(names[:: part.step]))
        if odd:
            what = f"the vocabulary has seen '{odd[0]}' and {len(odd) - 1} others of {part.dataset}"
            expected = f"every image of the list as it is now, in steps of {part.step}"
            raise BadInput(what, where=path, expected=expected, remedy=remedy)
