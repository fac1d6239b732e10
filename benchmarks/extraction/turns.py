"""Long pieces of work timed in turns: A B, B A, A B, ...

Input: works and a deadline. Output: seconds of every work in every round. Nothing is run beforehand
(whoever calls warms up), the first round is run whatever the clock says, and the order turns round
from one round to the next, because what comes second may find a cache filled.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import torch

from benchmarks.timing import stopwatch

Work = Callable[[], object]
Seconds = dict[str, list[float]]


def in_turns(
    works: Mapping[str, Work],
    repeats: int,
    device: torch.device,
    until: float,
) -> Seconds:
    """Seconds by work; a round begins only where one as long as the last ends by `until`.

    until: a time.perf_counter().
    """
    seconds: Seconds = {name: [] for name in works}
    began = time.perf_counter()
    for done in range(repeats):
        now = time.perf_counter()
        if done and now + (now - began) / done > until:
            break
        for name in list(works)[:: 1 if done % 2 == 0 else -1]:
            seconds[name].append(stopwatch(works[name], device))
    return seconds
