"""Global descriptors on disk: `{desc}_{split}_{kind}.hdf5`, one row per image of a list.

kind: cls, gem, mean, vlad, … and with a `w` behind it what was whitened. Input: `descriptors`
float16 or float32 [N, D] and the N names; out: the same, names with rows. Descriptors are stored as
they are given; this file normalises nothing. Files of older runs have neither `status` nor
`reason`: all their rows are done. Published files have one data set `features` [N, D] and neither
names nor provenance: they are read with the image list that they were made from.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput
from ames_lite.io import remedies
from ames_lite.stores import hdf5, virtual
from ames_lite.stores.published.store import DATA_SET, ORIGIN, is_published
from ames_lite.stores.row_layout import DONE, FAILED, progress

SCHEMA = "ames_lite/global_descriptors/1"
BLOCK_ROWS = 1 << 15  # checked at a time: the check needs no copy of a large array
KINDS = ("float16", "float32")
REMEDY = remedies.EXTRACT
Floats = npt.NDArray[np.floating[Any]]


class GlobalStore:
    """A complete file of global descriptors, open for reading in blocks; a context manager.

    path; names: tuple of N; dim: D; dtype; status uint8 [N] (1 done, 2 failed); has_status: False
    for files of older runs and published ones; provenance: flat dict.
    """

    def __init__(
        self, path: str | Path, *, names: Sequence[str] | None = None, remedy: str = REMEDY
    ) -> None:
        """names: the image list, for a published file; a native one brings its own.

        Raises MissingFile, or BadInput where the file is damaged or needs names; the numbers are
        checked as they are read.
        """
        self.path, self.remedy = Path(path).absolute(), remedy
        self.published = is_published(path, remedy)
        if self.published and names is None:
            raise BadInput(
                "the file is of the published form, without names",
                where=path,
                expected="a native file, or the image list beside it",
                remedy=remedy,
            )
        self._file = self._open()
        try:
            if self.published:
                assert names is not None
                self._read_published(names)
            else:
                self._read_header()
        except BadInput:
            self.close()
            raise

    def _open(self) -> hdf5.File:
        if self.published:
            return hdf5.open_foreign(self.path, remedy=self.remedy)
        return hdf5.open_complete(self.path, SCHEMA, remedy=self.remedy, progress=_came)

    def _read_header(self) -> None:
        file = self._file
        self._rows = hdf5.dataset(file, "descriptors", (None, None), KINDS)
        num = len(self._rows)
        encoded = hdf5.dataset(file, "name", (num,), ("text",))[:]
        self.names = hdf5.check_names(hdf5.decode_names(encoded), f"the name list of {self.path}")
        self.provenance = hdf5.read_json(file, "provenance")
        self.has_status = "status" in file
        self.status: npt.NDArray[np.uint8] = np.full(num, DONE, np.uint8)
        if self.has_status:
            self.status = hdf5.dataset(file, "status", (num,), ("uint8",))[:]
            hdf5.dataset(file, "reason", (num,), ("text",))
        self._check_shape()

    def _read_published(self, names: Sequence[str]) -> None:
        self._rows = hdf5.dataset(self._file, DATA_SET, (len(names), None), KINDS)
        virtual.check_sources(self._rows)
        self.names = hdf5.check_names(names, "the image list")
        self.provenance = {"origin": ORIGIN}
        self.has_status = False
        self.status = np.full(len(self.names), DONE, np.uint8)
        self._check_shape()

    def _check_shape(self) -> None:
        self.dtype: np.dtype[Any] = self._rows.dtype
        self.dim = int(self._rows.shape[1])
        empty = np.empty((len(self._rows), 0 if self.dim == 0 else 1), self.dtype)
        _check_form(empty, self.names, self.path)
        if not np.isin(self.status, (DONE, FAILED)).all():
            row = int((~np.isin(self.status, (DONE, FAILED))).argmax())
            raise BadInput(
                f"row {row} ('{self.names[row]}') has status {self.status[row]}",
                where=self.path,
                expected="1 (done) or 2 (failed) in a complete file",
                remedy=f"make it again: {self.remedy}",
            )

    def __len__(self) -> int:
        return len(self.names)

    def read(self, first: int, stop: int) -> Floats:
        """Descriptors [stop - first, D] as stored. Raises BadInput for NaN and rows of zeros."""
        block: Floats = self._rows[first:stop]
        check_numbers(block, self.names, self.path, first)
        return block

    def part(self, rows: slice, columns: slice) -> Floats:
        """Rows and columns as stored, unchecked."""
        found: Floats = self._rows[rows, columns]
        return found

    def failed(self, first: int, stop: int) -> dict[int, str]:
        """The rows from first to stop that failed, and why."""
        rows = (first + np.flatnonzero(self.status[first:stop] == FAILED)).tolist()
        return {row: hdf5.decode_names(self.reasons(row, row + 1))[0] for row in rows}

    def reasons(self, first: int, stop: int) -> npt.NDArray[np.bytes_]:
        """Why rows failed, as stored; a file that was written at once has none."""
        if "reason" not in self._file:
            return np.zeros(stop - first, "S1")
        found: npt.NDArray[np.bytes_] = self._file["reason"][first:stop]
        return found

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> GlobalStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _came(file: hdf5.File) -> str:
    return progress(file) if "status" in file else "it was left half-way"


def _check_form(descriptors: npt.NDArray[Any], names: Sequence[str], path: Path) -> None:
    shape, kind = descriptors.shape, descriptors.dtype.name
    fits = descriptors.ndim == 2 and shape[0] == len(names) and shape[1] > 0
    if not fits or kind not in KINDS:
        raise BadInput(
            f"descriptors are {list(shape)} ({kind}) for {len(names)} names",
            where=path,
            expected=f"[{len(names)}, D] {' or '.join(KINDS)}",
            remedy="give one row per name, in the order of the names",
        )


def check_numbers(
    descriptors: npt.NDArray[Any], names: Sequence[str], path: Path, first: int = 0
) -> None:
    """Raise BadInput for NaN, infinity and rows of zeros; first: the row that they begin at."""
    for start in range(0, len(descriptors), BLOCK_ROWS):
        block = descriptors[start : start + BLOCK_ROWS]
        finite = np.isfinite(block).all(axis=1)
        bad = ~finite | ~block.any(axis=1)
        if bad.any():
            row = first + start + int(bad.argmax())
            what = "is all zeros" if finite[int(bad.argmax())] else "has NaN or infinite entries"
            raise BadInput(
                f"the descriptor of '{names[row]}' (row {row}) {what}",
                where=path,
                expected="finite numbers that are not all zero",
                remedy="extract that image again, or drop it from the list",
            )
