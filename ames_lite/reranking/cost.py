"""What scoring took, in counters and seconds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ames_lite.processes import Processes

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

    def joined(self, processes: Processes) -> Cost:
        """Of all processes, in each of them."""
        if processes.size == 1:
            return self
        sums = processes.total(np.array([getattr(self, name) for name in SUMMED], np.int64))
        most = processes.largest(np.array([getattr(self, name) for name in SLOWEST]))
        values: dict[str, Any] = dict(zip(SUMMED, sums.tolist(), strict=True))
        values |= zip(SLOWEST, most.tolist(), strict=True)
        return replace(self, **values, processes=processes.size)


class ReadMeter:
    """Counts what is read of a store into a cost."""

    def __init__(self, cost: Cost) -> None:
        self._cost, self._seen = cost, dict[tuple[Path, int], npt.NDArray[np.bool_]]()

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Adds the seconds of a block to those of reading."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self._cost.seconds_reading += time.perf_counter() - began

    def note(
        self, path: Path, count: int, num_rows: int, rows: npt.NDArray[np.integer], size: int
    ) -> None:
        """`size` bytes were read of these rows (unique), `count` descriptors each."""
        seen = self._seen.setdefault((path, count), np.zeros(num_rows, np.bool_))
        new = int((~seen[rows]).sum())
        seen[rows] = True
        self._cost.bytes_read += size
        self._cost.unique_bytes += size * new // max(1, len(rows))
