"""Published neighbour lists, `nn_*.pkl`: read without trust, and written so that their code reads
them.

ids are rows of the gallery list, as floats: float32 is exact below 2^24 only. The file names no
list, so that only numbers of rows can be checked; an image is left out of its own list by its name.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ames_lite.errors import BadInput
from ames_lite.io.writing import replacing
from ames_lite.records import Neighbors
from ames_lite.retrieval.rows import own_rows
from ames_lite.stores.published.planes import Planes, open_planes
from ames_lite.stores.published.safe_pickle import write_pickle

WHOLE_BYTES = 1 << 30  # lists that take more are read as far as they are needed
EXACT = {"float32": 1 << 24, "float64": 1 << 53}  # gallery rows that the dtype tells apart


class PublishedLists:
    """The lists of the queries among the gallery, each image left out of its own.

    planes: where the numbers are; own [Q]: the gallery row of each query, or -1.
    """

    def __init__(
        self, path: str | Path, query_names: Sequence[str], gallery_names: Sequence[str]
    ) -> None:
        self.path, self.num_gallery = Path(path), len(gallery_names)
        self.planes = checked_planes(path, len(query_names), self.num_gallery)
        self.own = own_rows(query_names, gallery_names)

    def whole(self, most: int | None = None) -> Neighbors:
        """most: where the lists would take more than WHOLE_BYTES, so many of each query are read,
        and looked at, and the others stay in the file. Errors as in `block`.
        """
        if 8 * self.planes.values[0].size <= WHOLE_BYTES:
            most = None
        return self.block(slice(0, len(self.own)), most)

    def block(self, rows: slice, most: int | None = None) -> Neighbors:
        """The lists of some queries. BadInput for bad or repeated ids and sims not finite."""
        sims, floats = self.planes.values[:2, rows, : None if most is None else most + 1]
        ids = rows_of(floats, "id", self.num_gallery, self.path, rows.start)
        own = self.own[rows]
        if (ids == own[:, None]).any():
            ids, sims = _without_own(ids, sims, own)
        try:
            return Neighbors(ids[:, :most], np.array(sims[:, :most], np.float32), self.num_gallery)
        except BadInput as error:
            counted = f", queries counted from {rows.start}" if rows.start else ""
            raise BadInput(str(error), where=f"{self.path}{counted}") from error

    @property
    def has_own(self) -> bool:
        """Whether a query is in its own list. Looks at all of them."""
        ids = self.planes.values[1]
        return any((ids[rows] == self.own[rows, None]).any() for rows in self.planes.blocks())


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
    ids = rows_of(planes[1], "id", num, path).ravel()
    rows = rows_of(planes[2], "row in the shortlist", num, path).ravel()
    of_image = np.full(num, -1)
    of_image[ids] = rows
    listed = of_image[of_image >= 0]
    if (of_image[ids] != rows).any() or len(np.unique(listed)) != len(listed):
        what = "the shortlist gives an image two rows, or a row two images"
        raise BadInput(what, where=path, expected="one row of the shortlist's store an image")
    return of_image


def rows_of(
    floats: npt.NDArray[Any], what: str, num_gallery: int, path: Path, first: int = 0
) -> npt.NDArray[np.int32]:
    """Row numbers stored as floats [n, K], of the queries from `first` on. Raises BadInput."""
    with np.errstate(invalid="ignore"):  # what is no number is found below
        rows = floats.astype(np.int32)
    fine = np.isfinite(floats) & (rows == floats) & (rows >= 0) & (rows < num_gallery)
    if not fine.all():
        q, k = np.argwhere(~fine)[0]
        raise BadInput(
            f"query {first + q} has the {what} {floats[q, k]} in place {k}",
            where=path,
            expected=f"rows 0 to {num_gallery - 1} of the gallery list",
            remedy="use the gallery list that the file was made for",
        )
    return rows


def checked_planes(path: str | Path, num_queries: int, num_gallery: int) -> Planes:
    """The planes of a file, of so many queries. Raises MissingFile, BadInput."""
    planes = open_planes(Path(path))
    dtype, shape = planes.values.dtype, planes.values.shape[1:]
    if dtype.name not in EXACT or num_gallery > EXACT[dtype.name]:
        what = f"ids of {num_gallery} gallery images are stored as {dtype}"
        raise BadInput(what, where=path, expected="float32 (up to 2^24 images) or float64")
    if shape[0] != num_queries or shape[1] < 1:
        what = f"the file has lists of {shape[0]} queries, the query list has {num_queries}"
        raise BadInput(what, where=path, expected="the lists of these very queries")
    return planes


def _without_own(
    ids: npt.NDArray[np.int32], sims: npt.NDArray[Any], own: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int32], npt.NDArray[Any]]:
    """The lists without the row `own` of each query; those that lack it end one place earlier."""
    is_own = ids == own[:, None]
    if (is_own.sum(axis=1) > 1).any():
        return ids, sims  # an image twice in a list: refused as such by Neighbors
    keep = np.argsort(is_own, axis=1, kind="stable")[:, :-1]
    return np.take_along_axis(ids, keep, axis=1), np.take_along_axis(sims, keep, axis=1)


def write_published_neighbors(
    path: str | Path, neighbors: Neighbors, *, overwrite: bool = False
) -> Path:
    """Write the lists as a pickled float32 tensor [2, Q, K], which counts 2^24 images at most."""
    if neighbors.num_gallery > EXACT["float32"]:
        what = f"float32 ids cannot tell {neighbors.num_gallery} gallery images apart"
        expected = f"at most {EXACT['float32']}, or the native form (.hdf5)"
        raise BadInput(what, where=path, expected=expected)
    planes = np.stack([neighbors.sims, neighbors.ids]).astype(np.float32)
    with replacing(path, overwrite) as partial:
        write_pickle(partial, torch.from_numpy(planes))
    return Path(path)
