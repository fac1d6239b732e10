"""Logits of a run that is under way: what `scores.partial.hdf5` keeps of it, beside scores.hdf5.

`logit` float32 [P] and `done` uint8 [P] of all pairs of the run, in its own order, with digests. A
pair is done only after its logit is with the operating system, so a process may be killed at any
moment; `complete` is never set. Each process has its own file; a resumed run reads all.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput
from ames_lite.io.writing import explain_write_errors
from ames_lite.stores import hdf5
from ames_lite.stores.pair_scores import check_digests

SCHEMA = "ames_lite/partial_scores/1"
FLUSH_SECONDS = 1.0  # what a kill can cost
REMEDY = "give another output_dir=, or remove the file and score anew"
Logits = npt.NDArray[np.float32]
Done = npt.NDArray[np.bool_]


class PartialScores:
    """The partial results of the run whose scores go to `output`; digests: what they depend on.

    rank, size: which of how many processes this is. goes_on: what a user does to go on, in words;
    None: as the run directory of `output` is resumed.
    """

    def __init__(
        self,
        output: str | Path,
        digests: Mapping[str, str],
        rank: int = 0,
        size: int = 1,
        goes_on: str | None = None,
    ) -> None:
        self.output, self.digests = Path(output).absolute(), dict(digests)
        self.goes_on = goes_on or f"resume=true output_dir={self.output.parent}"
        part = f".{rank + 1}-of-{size}" if size > 1 else ""
        self.path = self.output.with_name(f"{self.output.stem}.partial{part}.hdf5")
        self._file: hdf5.File | None = None
        self._flushed = 0.0
        self._range: tuple[int, int] | None = None

    def found(self) -> list[Path]:
        """The partial files of this run, of whatever process."""
        return sorted(self.output.parent.glob(f"{self.output.stem}.partial*.hdf5"))

    def read(self, num: int) -> tuple[Logits, Done]:
        """What earlier attempts at this run, of `num` pairs, have finished: logit and done [P].

        Raises BadInput where a file is damaged, or was begun with other weights, stores or pairs.
        """
        logit, done = np.zeros(num, np.float32), np.zeros(num, np.bool_)
        for path in self.found():
            with hdf5.open_unfinished(path, SCHEMA, remedy=REMEDY) as file:
                check_digests(file, self.digests, "the run was begun", REMEDY)
                there = hdf5.dataset(file, "done", (num,), ("uint8",))[:] == 1
                logit[there] = hdf5.dataset(file, "logit", (num,), ("float32",))[:][there]
            done |= there
        bad = done & ~np.isfinite(logit)
        if bad.any():
            raise BadInput(
                f"pair {int(bad.argmax())} has the logit {logit[bad][0]}",
                where=self.output.parent,
                expected="finite logits where a pair is done",
                remedy=REMEDY,
            )
        return logit, done

    def begin(self, logit: Logits, done: Done) -> None:
        """Keep these arrays [P] from now on: what `note` names is taken from them."""
        self._logit, self._done = logit, done
        if not self.path.exists():
            with hdf5.new_file(self.path, SCHEMA, {}, complete=False) as file:
                hdf5.create_contiguous(file, "logit", logit.shape, np.float32)
                hdf5.create_contiguous(file, "done", done.shape, np.uint8)
                hdf5.write_json(file, "digests", self.digests)
        self._file = hdf5.open_unfinished(self.path, SCHEMA, "r+", remedy=REMEDY)
        self._flushed = time.monotonic()

    def note(self, first: int, stop: int) -> None:
        """Pairs from first to stop have changed; they are written once a second has passed."""
        low, high = self._range or (first, stop)
        self._range = min(low, first), max(high, stop)
        if time.monotonic() - self._flushed >= FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what was noted: logits first, then that they are done."""
        if self._range is None or not self._file:
            return
        part = slice(*self._range)
        try:
            with explain_write_errors(self.path), hdf5.write_errors():
                self._file["logit"][part] = self._logit[part]
                self._file.flush()
                self._file["done"][part] = self._done[part]
                self._file.flush()
        except BadInput:
            hdf5.abandon(self._file)
            raise
        self._range, self._flushed = None, time.monotonic()

    def close(self) -> None:
        """Write what is left and let go of the file; it stays for whoever goes on."""
        if self._file:
            self.flush()
            self._file.close()

    def remove(self) -> None:
        """Remove this run's partial files: the whole result is written."""
        for path in self.found():
            path.unlink(missing_ok=True)
