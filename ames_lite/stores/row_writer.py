"""Filling a file row by row in the order of a list of images, resumable: what all stores share.

A row counts when its status is set, and the status is set only after the row's data are with the
operating system. So a process may be killed at any moment; what `resume=True` then makes of the
file equals an unbroken run byte for byte.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput
from ames_lite.io import writing
from ames_lite.io.provenance import check_provenance, compare_provenance
from ames_lite.stores import hdf5
from ames_lite.stores.row_layout import (
    FAILED,
    REASON_BYTES,
    TODO,
    Layout,
    check_layout,
    require_room,
)

BEGIN_ANEW = "or begin anew with overwrite=True"


def as_reason(text: str) -> bytes:
    """Why an image failed, as the data set `reason` takes it: what fits of it, in UTF-8."""
    kept = text.replace("\0", " ").encode("utf-8", "replace")[:REASON_BYTES]
    return kept.decode("utf-8", "ignore").encode("utf-8")


class RowWriter:
    """A file being filled, one row an image; used as a context manager.

    It is marked complete when the block ends without an exception and every row is done or failed.
    Otherwise it stays unfinished, for `resume=True` to continue.
    """

    def __init__(
        self,
        path: str | Path,
        schema: str,
        names: Sequence[str],
        wanted: Layout,
        provenance: Mapping[str, Any],
        *,
        resume: bool = False,
        overwrite: bool = False,
    ) -> None:
        """wanted: its data sets, name, status and reason among them, each with a row an image."""
        self.path, self.schema = Path(path).absolute(), schema
        self.names = hdf5.check_names(names, "the image list")
        self.provenance = check_provenance(provenance)
        self._layout = wanted
        self.resumed = resume and not overwrite and self.path.exists()
        if not self.resumed:
            self._begin(hdf5.encode_names(self.names), overwrite)
        self._file = hdf5.open_to_fill(self.path, schema)
        with hdf5.closed_on_error(self._file):
            self._check_same_store()
            self._next = self._first_todo()
        self._sets = {name: self._file[name] for name in self._layout}
        self._refused = False

    @property
    def num_finished(self) -> int:
        """Rows that are done or failed; the next call is for names[num_finished]."""
        return self._next

    @property
    def todo(self) -> tuple[str, ...]:
        return self.names[self._next :]

    @property
    def failed(self) -> dict[str, str]:
        rows = np.flatnonzero(self._sets["status"][:] == FAILED)
        reasons = hdf5.decode_names(self._sets["reason"][:][rows])
        return {self.names[row]: why for row, why in zip(rows, reasons, strict=True)}

    def mark_failed(self, name: str, reason: str) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Close the file; it is complete if every row is done or failed."""
        self._close(finished=self._next == len(self.names))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._close(finished=kind is None and self._next == len(self.names))

    def _close(self, finished: bool) -> None:
        if not self._file:
            return
        if self._refused:
            hdf5.abandon(self._file)
            return
        with self._writing():
            if finished and not hdf5.is_complete(self._file):
                hdf5.mark_complete(self._file)
            self._file.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        remedy = "free space, then continue with resume=True"
        with writing.explain_write_errors(self.path, remedy):
            try:
                with hdf5.write_errors():
                    yield
            except (OSError, BadInput):  # from here on nothing is written: a later row must not be
                self._refused = True
                raise

    def _begin(self, encoded: npt.NDArray[np.bytes_], overwrite: bool) -> None:
        """Put an empty store in place, whole: it is renamed only when it is laid out."""
        if self.path.exists() and not overwrite:
            what = "the store exists already"
            remedy = f"continue an unfinished store with resume=True, {BEGIN_ANEW}"
            raise BadInput(what, where=self.path, expected="a path that is free", remedy=remedy)
        require_room(self.path, self._layout)
        with hdf5.new_file(
            self.path, self.schema, self.provenance, overwrite=overwrite, complete=False
        ) as file:
            for name, (shape, dtype) in self._layout.items():
                hdf5.create_contiguous(file, name, shape, dtype)
            file["name"][:] = encoded

    def _check_same_store(self) -> None:
        names = hdf5.dataset(self._file, "name", (None,), ("text",))[:]
        self._check_same_names(hdf5.decode_names(names))
        compare_provenance(
            hdf5.read_json(self._file, "provenance"),
            self.provenance,
            files=(self.path, "this run"),
            remedy=f"resume with the settings of the first run, {BEGIN_ANEW}",
        )
        check_layout(self._file, self._layout)

    def _check_same_names(self, found: tuple[str, ...]) -> None:
        if found == self.names:
            return
        both = min(len(found), len(self.names))
        row = next((r for r in range(both) if found[r] != self.names[r]), both)
        there, here = (names[row] if row < len(names) else None for names in (found, self.names))
        raise BadInput(
            f"the store was begun with {len(found)} names, this list has {len(self.names)}; "
            f"row {row} is {there!r} there and {here!r} here",
            where=self.path,
            expected="the image list that the store was begun with",
            remedy=f"resume with that list, {BEGIN_ANEW}",
        )

    def _first_todo(self) -> int:
        status = self._file["status"][:]
        finished = int((status != TODO).sum())
        if (status[:finished] == TODO).any():
            what = f"row {int((status == TODO).argmax())} is to do although later rows are done"
            remedy = "begin anew with overwrite=True"
            raise BadInput(what, where=self.path, expected="rows filled in order", remedy=remedy)
        return finished

    def _expect(self, names: Sequence[str]) -> int:
        """The row of the first. Raises BadInput where the names are not the next of the list."""
        due = self.names[self._next : self._next + len(names)]
        for at, name in enumerate(names):
            wanted = due[at] if at < len(due) else None
            if name != wanted:
                what = f"'{name}' came for row {self._next + at} of {len(self.names)}"
                expected = f"'{wanted}', the next of the list" if wanted else "no more rows"
                remedy = "append in the order of the list; mark an image that fails as failed"
                raise BadInput(what, where=self.path, expected=expected, remedy=remedy)
        return self._next

    def _finish(self, rows: slice, status: int | npt.NDArray[np.uint8]) -> None:
        # what is not flushed is lost at a kill; a status must never outlive its row
        self._file.flush()
        self._sets["status"][rows] = status
        self._file.flush()
        self._next = rows.stop
