"""Pair scores on disk: `scores.hdf5`, what the network said once about every pair.

`query`, `gallery` int32 [P] and `logit` float32 [P] (raw, before λ and γ), with digests of all that
determines them: weights, stores, neighbours, settings. A file is reused only where all agree.

While a run is under way, `scores.partial.hdf5` beside it keeps `logit` float32 [P] and `done`
uint64 [P] of all pairs, in the run's order: a checksum of the pair's number and logit, or 0, set
after its logit is with the operating system, so that a process may be killed at any moment. Each
process has its own file; a resumed run reads all.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput, explained, require
from ames_lite.io import remedies
from ames_lite.io.provenance import ABSENT
from ames_lite.io.writing import explain_write_errors
from ames_lite.records import PairScores
from ames_lite.stores import hdf5
from ames_lite.stores.checksums import row_checksums

SCHEMA = hdf5.Schema("ames_lite/pair_scores/2", "ames_lite/pair_scores/1")
PARTS = {"query": "int32", "gallery": "int32", "logit": "float32"}
REMEDY = remedies.SCORES
Digests = Mapping[str, str]
PARTIAL_SCHEMA = hdf5.Schema("ames_lite/partial_scores/2")
FLUSH_SECONDS = 1.0  # what a kill can cost
BEGIN_ANEW = "give another output_dir=, or remove the file and score anew"
Logits = npt.NDArray[np.float32]
Done = npt.NDArray[np.bool_]


def write_pair_scores(
    path: str | Path,
    scores: PairScores,
    digests: Digests,
    provenance: Mapping[str, Any] | None = None,
    *,
    overwrite: bool = False,
) -> Path:
    """Write the scores and what they depend on (key -> digest or other text); returns the path."""
    for key, value in digests.items():
        text = isinstance(key, str) and isinstance(value, str)
        require(text, f"digest {key!r} is {value!r}", where=path, expected="text")
    with hdf5.new_file(path, SCHEMA, provenance or {}, overwrite=overwrite, small=[*PARTS]) as file:
        for name, dtype in PARTS.items():
            file[name] = getattr(scores, name).astype(dtype, copy=False)
        hdf5.write_json(file, "digests", digests)
    return Path(path)


def read_pair_scores(path: str | Path, digests: Digests, *, remedy: str = REMEDY) -> PairScores:
    """The scores, if they were made from exactly what this run has, else BadInput."""
    with hdf5.open_complete(path, SCHEMA, remedy=remedy) as file:
        check_digests(file, digests, "the scores were made", remedy)
        shape: tuple[int | None, ...] = (None,)
        for name, dtype in PARTS.items():
            shape = hdf5.dataset(file, name, shape, (dtype,)).shape
        parts = [file.whole(name) for name in PARTS]
    with explained(where=path, remedy=remedy):
        return PairScores(*parts)


def check_digests(file: hdf5.File, digests: Digests, made: str, remedy: str) -> None:
    """Raise BadInput where a file was made from something else. made: in words, when."""
    stored = hdf5.read_json(file, "digests")
    for key in sorted(stored.keys() | digests.keys()):
        there, here = stored.get(key, ABSENT), digests.get(key, ABSENT)
        what, expected = f"{made} with another {key}: {there} there, {here} here", f"the same {key}"
        require(there == here, what, where=file.path, expected=expected, remedy=remedy)


def read_provenance(path: str | Path, *, remedy: str = REMEDY) -> dict[str, Any]:
    """What is known of the run that made the scores of a file; nothing of older files."""
    return hdf5.read_provenance(path, SCHEMA, remedy=remedy)


class PartialScores:
    """The partial results of the run whose scores go to `output`; digests: what they depend on."""

    def __init__(
        self,
        output: str | Path,
        digests: Mapping[str, str],
        rank: int = 0,  # of this process
        size: int = 1,  # how many there are
        goes_on: str | None = None,  # how a user resumes it, in words; None: by resume=true
    ) -> None:
        self.output, self.digests = Path(output).absolute(), dict(digests)
        self.goes_on = goes_on or f"resume=true output_dir={self.output.parent}"
        part = f".{rank + 1}-of-{size}" if size > 1 else ""
        self.path = self.output.with_name(f"{self.output.stem}.partial{part}.hdf5")
        self._file: hdf5.File | None = None
        self._flushed = 0.0
        self._range: tuple[int, int] | None = None

    def found(self) -> list[Path]:
        return sorted(self.output.parent.glob(f"{self.output.stem}.partial*.hdf5"))

    def read(self, num: int) -> tuple[Logits, Done]:
        """What earlier attempts at this run of `num` pairs finished: logit, done [P]. BadInput."""
        logit, done = np.zeros(num, np.float32), np.zeros(num, np.bool_)
        for path in self.found():
            with hdf5.open_unfinished(path, PARTIAL_SCHEMA, remedy=BEGIN_ANEW) as file:
                check_digests(file, self.digests, "the run was begun", BEGIN_ANEW)
                marks = hdf5.dataset(file, "done", (num,), ("uint64",))[:]
                found = hdf5.dataset(file, "logit", (num,), ("float32",))[:]
            pairs = np.flatnonzero(marks)
            changed = _marks(pairs, found[pairs]) != marks[pairs]
            if changed.any():
                what = f"pair {pairs[changed.argmax()]} was changed after it was written"
                raise BadInput(what, where=path, expected="its checksum", remedy=BEGIN_ANEW)
            logit[pairs], done[pairs] = found[pairs], True
        bad, expected = done & ~np.isfinite(logit), "finite logits where a pair is done"
        if bad.any():
            what = f"pair {int(bad.argmax())} has the logit {logit[bad][0]}"
            raise BadInput(what, where=self.output.parent, expected=expected, remedy=BEGIN_ANEW)
        return logit, done

    def begin(self, logit: Logits, done: Done) -> None:
        """Keep these arrays [P] from now on: what `note` names is taken from them."""
        self._logit, self._done = logit, done
        if not self.path.exists():
            with hdf5.new_file(self.path, PARTIAL_SCHEMA, {}, complete=False) as file:
                hdf5.create_contiguous(file, "logit", logit.shape, np.float32)
                hdf5.create_contiguous(file, "done", done.shape, np.uint64)
                hdf5.write_json(file, "digests", self.digests)
        self._file = hdf5.open_unfinished(self.path, PARTIAL_SCHEMA, "r+", remedy=BEGIN_ANEW)
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
        with self._writing() as file:
            file["logit"][part] = self._logit[part]
            file.flush()
            marks = _marks(np.arange(*self._range), self._logit[part])
            file["done"][part] = np.where(self._done[part], marks, np.uint64(0))
            file.flush()
        self._range, self._flushed = None, time.monotonic()

    def close(self) -> None:
        """Write what is left and let go of the file; it stays for whoever goes on."""
        if self._file:
            self.flush()
            with self._writing() as file:
                file.close()

    @contextmanager
    def _writing(self) -> Iterator[hdf5.File]:
        assert self._file is not None
        try:
            with explain_write_errors(self.path), hdf5.write_errors():
                yield self._file
        except BadInput:
            hdf5.abandon(self._file)
            raise

    def remove(self) -> None:
        for path in self.found():
            path.unlink(missing_ok=True)


def _marks(pairs: npt.NDArray[np.int64], logit: Logits) -> npt.NDArray[np.uint64]:
    """Checksums of the numbers of pairs and their logits [n], none of them 0."""
    return row_checksums(pairs.astype(np.int64), logit) | np.uint64(1)
