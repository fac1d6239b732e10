"""Seconds of several pieces of work, taken in turns: A B C, A B C, ...

A machine that slows down for a while then slows all of them down, and ratios stay. Each runs once
before anything is timed.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TypeVar

import torch

Key = TypeVar("Key", bound=Hashable)
Work = Callable[[], object]
FEWEST = 3  # rounds that are run whatever the clock says


def interleaved(
    works: Mapping[Key, Work], repeats: int, device: torch.device, until: float = float("inf")
) -> dict[Key, list[float]]:
    """Seconds of every work in every round.

    repeats: rounds; after `until` (a time.perf_counter()) no further one is begun, but min(repeats,
    FEWEST) are run in any case.
    """
    for work in works.values():
        work()
    seconds: dict[Key, list[float]] = {key: [] for key in works}
    for done in range(repeats):
        if done >= FEWEST and time.perf_counter() > until:
            break
        for key, work in works.items():
            seconds[key].append(stopwatch(work, device))
    return seconds


def stopwatch(work: Work, device: torch.device) -> float:
    """Seconds of one run, until the device has finished."""
    _wait_for(device)
    began = time.perf_counter()
    work()
    _wait_for(device)
    return time.perf_counter() - began


def middle(seconds: Sequence[float]) -> float:
    """The median."""
    return statistics.median(seconds)


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
