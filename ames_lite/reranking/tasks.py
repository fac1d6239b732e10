"""The pairs of one run: who scores which, what is finished, and what it took. Pairs are numbered by
gallery row, then query row, so that a block of gallery rows is a run of pairs; processes share them
by gallery rows. Axis letter: P pairs of the run.
"""

import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput
from ames_lite.processes import Processes
from ames_lite.records import PairScores
from ames_lite.runtime import progress_bar
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.pair_scores import PartialScores
from ames_lite.stores.row_store import Watch

Rows = npt.NDArray[np.integer]
log = logging.getLogger(__name__)


SUMMED = ("pairs", "bytes_read", "unique_bytes", "encoded_queries", "encoded_gallery")
SLOWEST = ("seconds_scoring", "seconds_reading")


@dataclass
class Cost:
    """What scoring took, of all processes together (seconds: of the slowest)."""

    pairs: int = 0  # that were scored
    seconds_scoring: float = 0.0  # in all
    seconds_reading: float = 0.0  # of the thread that reads ahead
    bytes_read: int = 0
    unique_bytes: int = 0  # of the rows that were read, each counted once
    encoded_queries: int = 0
    encoded_gallery: int = 0
    unique_images: int = 0  # of the pairs, on both sides
    pairs_kept: int = 0  # that an interrupted run had finished
    processes: int = 1

    @property
    def pairs_per_second(self) -> float | None:
        """None where nothing was timed."""
        return self.pairs / self.seconds_scoring if self.seconds_scoring > 0 else None

    @property
    def bytes_over_unique(self) -> float | None:
        """None where nothing was read."""
        return self.bytes_read / self.unique_bytes if self.unique_bytes > 0 else None

    def joined(self, processes: Processes) -> Self:
        """Of all processes, in each of them."""
        if processes.size == 1:
            return self
        sums = processes.total(np.array([getattr(self, name) for name in SUMMED], np.int64))
        most = processes.largest(np.array([getattr(self, name) for name in SLOWEST]))
        values: dict[str, Any] = dict(zip(SUMMED, sums.tolist(), strict=True))
        values |= zip(SLOWEST, most.tolist(), strict=True)
        return replace(self, **values, processes=processes.size)


class ReadMeter:
    """Counts what is read of stores, which must not change meanwhile, into a cost."""

    def __init__(self, cost: Cost, stores: Iterable[DescriptorStore]) -> None:
        self.cost, self._watch = cost, Watch(stores)
        self._seen = dict[tuple[Path, int], npt.NDArray[np.bool_]]()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Times a block. Raises BadInput, MissingFile where a file is no longer what it was."""
        began = time.perf_counter()
        try:
            yield
            self._watch.check()
        finally:
            self.cost.seconds_reading += time.perf_counter() - began

    def note(self, store: DescriptorStore, count: int, rows: Rows, size: int) -> None:
        """`size` bytes were read of these rows (unique), `count` descriptors each."""
        seen = self._seen.setdefault((store.path, count), np.zeros(len(store), np.bool_))
        new = int((~seen[rows]).sum())
        seen[rows] = True
        self.cost.bytes_read += size
        self.cost.unique_bytes += size * new // max(1, len(rows))


class PairTask:
    """The pairs (query[p], gallery[p]), rows of two stores, unique or BadInput; a context while it
    lasts. kept: of finished logits, over interrupts; todo: this process' pairs without one.
    """

    def __init__(
        self, query: Rows, gallery: Rows, kept: PartialScores | None, processes: Processes
    ) -> None:
        order = np.lexsort((query, gallery))
        self.query, self.gallery = (rows[order].astype(np.int32) for rows in (query, gallery))
        same = (np.diff(self.query) == 0) & (np.diff(self.gallery) == 0)
        if same.any():
            p = int(same.argmax())
            what = f"query row {self.query[p]} with gallery row {self.gallery[p]} is given twice"
            raise BadInput(what, expected="unique pairs")
        self._kept, self._processes = kept, processes
        if kept is None:
            self.logit, self.done = np.zeros(len(query), np.float32), np.zeros(len(query), np.bool_)
        else:
            self.logit, self.done = kept.read(len(query))
        self._agree_on_finished()
        self.before = self.done.copy()  # what an earlier attempt finished
        self.todo = self._share()
        self.cost = Cost(pairs=len(self.todo), pairs_kept=int(self.before.sum()))
        self.cost.unique_images = len(np.unique(query)) + len(np.unique(gallery))

    def _agree_on_finished(self) -> None:
        """Every process may have seen other files; afterwards all know of all."""
        if self._processes.size > 1:
            seen = np.where(self.done, self.logit, -np.inf).astype(np.float32)
            seen = self._processes.largest(seen)
            self.done = np.isfinite(seen)
            self.logit = np.where(self.done, seen, 0).astype(np.float32)

    def _share(self) -> Rows:
        """The part of the unfinished pairs that is for this process: a run of gallery rows."""
        todo, rank = np.flatnonzero(~self.done), self._processes.rank
        rows, num = self.gallery[todo], len(todo)
        cuts = [num * part // self._processes.size for part in (rank, rank + 1)]
        # where the gallery row of a cut begins
        first, stop = (int(np.searchsorted(rows, rows[at])) if at < num else num for at in cuts)
        return todo[first:stop]

    def __enter__(self) -> Self:
        if self._kept is not None:
            self._kept.begin(self.logit, self.done)
        kept = len(self.query) - len(self.todo) if self._processes.size == 1 else 0
        total, shown = kept + len(self.todo), self._processes.first
        self._bar = progress_bar(total, "score", "pair", initial=kept, shown=shown, scaled=True)
        self._began = time.perf_counter()
        return self

    def __exit__(self, kind: object, value: object, trace: object) -> None:
        self._bar.close()
        self.cost.seconds_scoring = time.perf_counter() - self._began
        if self._kept is None:
            return
        self._kept.close()
        if kind is not None:
            log.warning(
                "%d of %d pairs are scored and kept in %s; %s goes on",
                *(int(self.done.sum()), len(self.done), self._kept.path, self._kept.goes_on),
            )

    def put(self, pairs: Rows, logits: npt.NDArray[np.float32]) -> None:
        """The logits of these pairs, finite, each set once."""
        if len(pairs) == 0:
            return
        self.logit[pairs], self.done[pairs] = logits, True
        if self._kept is not None:
            self._kept.note(int(pairs.min()), int(pairs.max()) + 1)
        self._bar.update(len(pairs))

    def join(self) -> tuple[PairScores, Cost]:
        """The scores of all processes and what they took, in each of them."""
        logit, done = self.logit, self.done
        if self._processes.size > 1:
            own = np.where(self.done & ~self.before, self.logit, 0).astype(np.float32)
            logit = np.where(self.before, self.logit, self._processes.total(own))
            done = self._processes.total(self.done.astype(np.int32)) > 0
        if not done.all():
            raise RuntimeError(f"{int((~done).sum())} pairs have no score")
        scores = PairScores(self.query, self.gallery, logit.astype(np.float32))
        return scores, self.cost.joined(self._processes)


def gallery_blocks(gallery: Rows, pairs: Rows, block_images: int) -> list[Rows]:
    """`pairs`, rising numbers into gallery [P], which rises, cut after so many unique rows."""
    first = np.unique(gallery[pairs], return_index=True)[1]
    return np.split(pairs, first[block_images::block_images])
