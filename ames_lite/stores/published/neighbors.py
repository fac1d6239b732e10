"""Published neighbour lists, `nn_*.pkl`: read without trust, and written so that their code reads
them.

ids are rows of the gallery list, as floats: float32 is exact below 2^24 only. The file names no
list, so that only numbers of rows can be checked; an image is left out of its own list by its name.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from ames_lite.errors import require
from ames_lite.io.writing import replacing
from ames_lite.records import Neighbors
from ames_lite.retrieval.rows import own_rows
from ames_lite.stores.neighbor_rows import NeighborRows, check_ids
from ames_lite.stores.published.planes import Planes, open_planes
from ames_lite.stores.published.safe_pickle import write_pickle

EXACT = {"float32": 1 << 24, "float64": 1 << 53}  # gallery rows that the dtype tells apart


def open_published_rows(
    path: str | Path, query_names: Sequence[str], gallery_names: Sequence[str]
) -> NeighborRows:
    """The lists of the queries among the gallery. Raises MissingFile, BadInput."""
    planes, num = checked_planes(path, len(query_names), len(gallery_names)), len(gallery_names)
    sims, ids = planes.values[:2]
    return NeighborRows(ids, sims, num, own_rows(query_names, gallery_names), path, planes.mapped)


def read_shortlist(
    path: str | Path, query_names: Sequence[str], gallery_names: Sequence[str]
) -> npt.NDArray[np.int64] | None:
    """The third plane: for each image of the gallery list its row in a store that has some of them.

    int64 [N], -1 where it is in no list; None where the file has two planes. Raises BadInput.
    """
    path, num = Path(path), len(gallery_names)
    planes = checked_planes(path, len(query_names), num).values
    if len(planes) == 2:
        return None
    for plane, what in zip(planes[1:], ("id", "row in the shortlist"), strict=True):
        check_ids(plane, what, num, path)
    ids, rows = planes[1:].reshape(2, -1).astype(np.int64)
    of_image = np.full(num, -1)
    of_image[ids] = rows
    listed = of_image[of_image >= 0]
    fits = (of_image[ids] == rows).all() and len(np.unique(listed)) == len(listed)
    what = "the shortlist gives an image two rows, or a row two images"
    require(fits, what, where=path, expected="one row of the shortlist's store an image")
    return of_image


def checked_planes(path: str | Path, num_queries: int, num_gallery: int) -> Planes:
    """The planes of a file, of so many queries. Raises MissingFile, BadInput."""
    planes = open_planes(Path(path))
    dtype, shape = planes.values.dtype, planes.values.shape[1:]
    exact, what = EXACT.get(dtype.name, 0), f"ids of {num_gallery} gallery images stored as {dtype}"
    expected = "float32 (up to 2^24 images) or float64"
    require(num_gallery <= exact, what, where=path, expected=expected)
    what = f"the file has lists of {shape[0]} queries, the query list has {num_queries}"
    fits = shape[0] == num_queries and shape[1] >= 1
    require(fits, what, where=path, expected="the lists of these very queries")
    return planes


def write_published_neighbors(
    path: str | Path, neighbors: Neighbors, *, overwrite: bool = False
) -> Path:
    """Write the lists as a pickled float32 tensor [2, Q, K], which counts 2^24 images at most."""
    num, most = neighbors.num_gallery, EXACT["float32"]
    what = f"float32 ids cannot tell {num} gallery images apart"
    require(num <= most, what, where=path, expected=f"at most {most}, or the native form (.hdf5)")
    planes = np.stack([neighbors.sims, neighbors.ids]).astype(np.float32)
    with replacing(path, overwrite) as partial:
        write_pickle(partial, torch.from_numpy(planes))
    return Path(path)
