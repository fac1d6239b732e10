"""The jobs of suite=extract whose peak memory is taken, each in a process of its own.

In: the name of a job and its arguments. Out: MiB, as `own_process` has them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks import own_process


def peak_of(job: str, **arguments: Any) -> float | None:
    """MiB of a job, `extract` or `knn`, with JSON-able arguments."""
    return own_process.peak_of(f"{__name__}:{job}", **arguments)


def extract(
    network: dict[str, Any], what: str, device: str, paths: list[str]
) -> Callable[[], object]:
    """Extraction of the images at `paths`."""
    from benchmarks.extraction.extraction import work_of
    from benchmarks.extraction.subjects import Network

    work = work_of(Network(**network), what, [Path(path) for path in paths], torch.device(device))
    work(1)
    return lambda: work(len(paths))


def knn(rows: int, dim: int, k: int, seed: int, what: str) -> Callable[[], object]:
    """Neighbours of vectors of noise."""
    from benchmarks.extraction.neighbours import WORKS, unit_rows

    vectors, names = unit_rows(rows, dim, seed), [str(row) for row in range(rows)]
    few = min(rows, 2 * k)
    WORKS[what](vectors[:few], names[:few], k)
    return lambda: WORKS[what](vectors, names, k)
