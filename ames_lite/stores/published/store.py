"""Published stores of local descriptors, read as they are: a `DescriptorStore` like any other.

An HDF5 file with the data set `features`, plain or virtual over chunk files, in one of three forms,
of N images with K descriptors of width D each:
  flat     float16/float32 [N, K, 5+D]: five columns of metadata, then the descriptor
  records  with the fields `metadata` [5] and `descriptor` [D] (uint8 [D/8]: packed bits), an array
           of K in each of N records, or one record for each of [N, K]
  bits     uint8 [N, K, D/8], packed big-endian, without metadata: all are real
Metadata are called x, y, scale, mask, weight. What is called x is the row (y), the second column is
x, both in [0, 1] of the image; mask is 1 on padding. Some files have pixels there, or shares of a
query's crop: where a position leaves [0, 1], those of the image are unknown (NaN). The files carry
no names: row i is image i of the list, which must have as many; nor do they say what made them.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput, require
from ames_lite.io import remedies
from ames_lite.io.digest import array_digest
from ames_lite.io.provenance import ORIGIN
from ames_lite.stores import hdf5, storage
from ames_lite.stores.descriptor_store import RUN_BYTES, DescriptorStore
from ames_lite.stores.row_layout import DONE
from ames_lite.stores.row_store import REMEDY, Array

DATA_SET = "features"
COLUMNS = 5
Y, X, SCALE, MASK, WEIGHT = range(COLUMNS)  # as they are, not as they are called
KINDS = ("float16", "float32", "uint8")
LOOKED_AT = 100  # first rows whose positions speak for the file: all queries of ROxford
FORMS = "a native store, or 'features' as [N, K, 5+D] float16 or float32, as records with metadata "
FORMS += "[K, 5] and descriptor [K, D], or as [N, K, D/8] uint8"


class Block(NamedTuple):
    """Rows of a published store: descriptors [n, k, D]; metadata [n, k, 5], None where absent."""

    descriptors: npt.NDArray[Any]
    metadata: npt.NDArray[np.float32] | None

    @property
    def valid(self) -> npt.NDArray[np.bool_]:
        """[n, k], True = a real descriptor."""
        if self.metadata is None:
            return np.ones(self.descriptors.shape[:2], bool)
        return self.metadata[..., MASK] == 0

    @property
    def empty(self) -> npt.NDArray[np.bool_]:
        """[n], True where nothing was ever written: all zeros, though real by its mask."""
        if self.metadata is None:
            return ~np.asarray(self.descriptors.any(axis=(1, 2)))
        return ~np.asarray(self.descriptors[:, 0].any(axis=1) | self.metadata[:, 0].any(axis=1))

    @property
    def placed(self) -> npt.NDArray[np.bool_]:
        """[n], True where all real descriptors have a position in the image."""
        if self.metadata is None:
            return np.zeros(len(self.descriptors), bool)
        at = self.metadata[..., [X, Y]]
        inside = ((at >= 0) & (at <= 1)).all(axis=-1)  # NaN is not
        return np.asarray((inside | ~self.valid).all(axis=1))


def is_published(path: str | Path, remedy: str | None = REMEDY) -> bool:
    """Whether an HDF5 file is of a published form. Raises MissingFile, BadInput."""
    with hdf5.open_foreign(path, remedy=remedy) as file:
        return _is_form(file)


def _is_form(file: hdf5.File) -> bool:
    return file.attribute("schema") is None and DATA_SET in file and bool(file[DATA_SET].shape)


def open_store(
    path: str | Path,
    names: Sequence[str] | None,  # of a published store; None: row numbers
    sizes: npt.NDArray[np.integer] | None = None,
    remedy: str = REMEDY,
    shortlist: npt.NDArray[np.int64] | None = None,
) -> DescriptorStore:
    """The store at `path`, native (with names of its own) or published (see `PublishedStore`)."""
    if is_published(path, remedy):
        if names is None:
            with hdf5.open_foreign(path) as file:
                storage.check_stored(file[DATA_SET])
                names = [f"row {row}" for row in range(len(file[DATA_SET]))]
        return PublishedStore(path, names, sizes, remedy, shortlist)
    return DescriptorStore.open(path, remedy)


class PublishedStore(DescriptorStore):
    """A published store, read as a `DescriptorStore`; all rows count as done."""

    published = True
    _data_set = DATA_SET

    def __init__(
        self,
        path: str | Path,
        names: Sequence[str],  # [N], the image list that the store was made from
        sizes: npt.NDArray[np.integer] | None = None,  # [N, 2], (height, width); None: 1, 1
        remedy: str = REMEDY,
        shortlist: npt.NDArray[np.int64] | None = None,  # [N] of a store of some: row, or -1
    ) -> None:
        """Raises MissingFile, BadInput."""
        self.names = hdf5.check_names(names, "the image list")
        num = len(self.names)
        self.status = np.full(num, DONE, np.uint8)
        self.size = np.ones((num, 2), np.int32) if sizes is None else sizes.astype(np.int32)
        self._row_of = np.arange(num) if shortlist is None else shortlist
        self._listed = shortlist is not None
        super().__init__(path, remedy)

    def _read_header(self, file: hdf5.File) -> None:
        self._fit(_is_form(file), "there is no data set 'features'")
        features = file[DATA_SET]
        storage.check_stored(features)
        self._read_form(features)
        self._check_list()
        blocks = [self.rows(row, row + 1, self.max_count) for row in (0, self.num_rows - 1)]
        ends = [array_digest(np.ascontiguousarray(block.descriptors)) for block in blocks]
        self.provenance = {"origin": ORIGIN, "form": f"{self.form} {self.dtype}", "ends": ends}

    def _read_form(self, features: hdf5.DataSet) -> None:
        """Shape, width and dtype. Raises BadInput where the form is none of those known."""
        kind, inner, numbers = features.dtype, features.shape[1:], True
        self.form = "bits" if kind == np.uint8 else "flat"
        if {"metadata", "descriptor"} <= set(kind.names or ()):
            self.form, metadata, entry = "records", kind["metadata"], kind["descriptor"]
            beside = (*inner, *metadata.shape)
            kind, inner = entry.base, (*inner, *entry.shape)
            numbers = metadata.base.kind in "fiu" and beside == (*inner[:1], COLUMNS)
        self.num_rows, columns = features.shape[0], COLUMNS if self.form == "flat" else 0
        fits = numbers and len(inner) == 2 and kind.name in KINDS
        fits = fits and min(self.num_rows, inner[0], inner[1] - columns) > 0
        self._fit(fits, f"'features' is {list(features.shape)} {features.dtype}")
        self.max_count, width = inner[0], inner[1] - columns
        self.packed = kind == np.uint8
        self.dtype = np.dtype(kind.name)  # in the byte order of this machine
        self.dim = width * 8 if self.packed else width

    def _fit(self, fits: object, what: str) -> None:
        require(fits, what, where=self.path, expected=FORMS, remedy=self.remedy)

    def _check_list(self) -> None:
        """A store of all images needs no shortlist, which then must not reorder them."""
        num, given = len(self.names), self._row_of
        if self._listed and self.num_rows == num:
            same = (given[given >= 0] == np.flatnonzero(given >= 0)).all()
            what = "the store has a row for every image, the shortlist has them in another order"
            expected = "a store of the shortlist, or lists without one"
            remedy = "prepare_topk_global.py lists=<the .pkl> rewrites lists without a shortlist"
            require(same, what, where=self.path, expected=expected, remedy=remedy)
            self._row_of, self._listed = np.arange(num), False
        fits, listed = self.num_rows == num, f"the image list {num} names"
        if self._listed:
            fits, listed = given.max() < self.num_rows, f"the shortlist names row {given.max()}"
        what = f"the store has {self.num_rows} rows and {listed}"
        expected = "the list that the store was made from: it carries no names of its own"
        remedy = f"use that list, or make a native store: {self.remedy}"
        require(fits, what, where=self.path, expected=expected, remedy=remedy)

    @cached_property
    def count(self) -> npt.NDArray[np.int32]:
        """Real descriptors of every image, int32 [N]. Reads the whole store, once, in runs."""
        counts = [block.valid.sum(axis=1) for _, block in self.blocks()]
        return self._of_list(np.concatenate(counts).astype(np.int32))

    @cached_property
    def has_descriptors(self) -> npt.NDArray[np.bool_]:
        """[N], False where all of a row is padding. BadInput for a row that was never written."""
        found = np.ones(self.num_rows, np.bool_)
        if self.form != "bits":
            for first, block in self.blocks(count=1):
                self._refuse_empty(block, first)
                found[first : first + len(block.valid)] = block.valid[:, 0]
            for row in np.flatnonzero(~found).tolist():
                found[row] = self.rows(row, row + 1, self.max_count).valid.any()
        return self._of_list(found)

    def _of_list(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """What was found of the rows of the file, by the image list; 0 where it has no row."""
        return np.where(self._row_of < 0, values.dtype.type(0), values[self._row_of])

    def _file_rows(self, rows: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        rows = self._check_rows(rows)
        found = self._row_of[rows]
        for row in rows[found < 0][:1].tolist():
            what = f"'{self.names[row]}' (row {row}) is not in the shortlist"
            expected = "images that are in some neighbour list of the file with the shortlist"
            remedy = "a smaller num_rerank=, or a store of all images"
            raise BadInput(what, where=self.path, expected=expected, remedy=remedy)
        return found

    def stored_name(self, row: int) -> str:
        """The name of a row of the file; with a shortlist the list counts otherwise."""
        listed = np.flatnonzero(self._row_of == row)
        return self.names[int(listed[0])] if len(listed) else "an image that is in no list"

    def blocks(
        self, run_bytes: int = RUN_BYTES, count: int | None = None
    ) -> Iterator[tuple[int, Block]]:
        """(first row, rows) over the whole store, a bounded number of bytes at a time."""
        width = self.dim // 8 if self.packed else self.dim
        row_bytes = self.max_count * (width * self.dtype.itemsize + 4 * COLUMNS)
        step = max(1, run_bytes // row_bytes)
        for first in range(0, self.num_rows, step):
            yield first, self.rows(first, min(first + step, self.num_rows), count or self.max_count)

    def rows(self, first: int, stop: int, count: int) -> Block:
        """Rows first to stop as they are in the file, their first `count` places."""
        if self.form == "records":
            records = self._file()[DATA_SET][first:stop]
            metadata = records["metadata"][:, :count].astype(np.float32)
            return Block(records["descriptor"][:, :count], metadata)
        values = self._read_rows(DATA_SET, first, stop, count)
        if self.form == "bits":
            return Block(values, None)
        return Block(values[..., COLUMNS:], values[..., :COLUMNS].astype(np.float32))

    def weights(self, first: int, stop: int) -> npt.NDArray[Any]:
        metadata = self.rows(first, stop, self.max_count).metadata
        assert metadata is not None
        return metadata[..., WEIGHT]

    def _block(self, first: int, stop: int, count: int) -> tuple[Array, npt.NDArray[np.bool_]]:
        block = self.rows(first, stop, count)
        self._refuse_empty(block, first)
        return block.descriptors, block.valid

    def _refuse_empty(self, block: Block, first: int) -> None:
        for row in (first + np.flatnonzero(block.empty)[:1]).tolist():
            what = f"row {row} ('{self.stored_name(row)}') is all zeros"
            said = "an extraction left this row out, or its chunk was not whole"
            expected = f"descriptors, or padding that is marked: {said}"
            raise BadInput(what, where=self.path, expected=expected, remedy=remedies.CHECK)

    def _parts(self, row: int, count: int) -> list[Any]:
        block = self.rows(row, row + 1, self.max_count)
        self._refuse_empty(block, row)
        if block.metadata is None:
            what = "the store has no positions and no weights"
            expected = "a store with metadata, where positions are needed"
            raise BadInput(what, where=self.path, expected=expected, remedy=self.remedy)
        real = np.flatnonzero(block.valid[0])[:count]
        metadata = block.metadata[0, real]
        xy = metadata[:, [X, Y]] if block.placed[0] else np.full((len(real), 2), np.nan, np.float32)
        descriptors = block.descriptors[0, real].astype(self.dtype, copy=False)
        return [descriptors, xy, metadata[:, SCALE].astype(np.uint8), metadata[:, WEIGHT]]

    def check_positions(self, rows: Sequence[int] | npt.NDArray[np.integer]) -> None:
        """Raise BadInput where positions of these rows, or of the file's first, are unknown."""
        wanted = self._file_rows(np.asarray(rows)).tolist()
        for row in sorted({*wanted, *range(self.num_rows)[:LOOKED_AT]}):
            if not self.rows(row, row + 1, self.max_count).placed[0]:
                named = f"row {row} ('{self.stored_name(row)}')"
                what = f"positions are unknown: those of {named} are not in [0, 1] of the image"
                expected = "positions, which geometric verification and pictures need"
                anew = f"move the file away and extract anew: {self.remedy}"
                remedy = f"a head or model=mutual_nn, which need none; or {anew}"
                raise BadInput(what, where=self.path, expected=expected, remedy=remedy)
