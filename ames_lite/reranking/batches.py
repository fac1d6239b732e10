"""How much is held at a time: memory shared out, work cut into batches by tokens, reading ahead. A
batch is padded to its longest piece, and that is what counts; where the device has no room for one,
all later batches are smaller, and it is said once.
"""

import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from ames_lite.errors import require
from ames_lite.runtime import peak_memory_mib

CPU_TOKENS, DEVICE_TOKENS = 1 << 14, 1 << 18  # a head cuts a batch on a CPU further, for its caches
NO_ROOM = ("not enough memory", "can't allocate memory", "out of memory")
FEWER = "fewer descriptors (query_desc_num=, gallery_desc_num=)"
LEAST = 1 << 28  # 256 MiB, below which nothing sensible can be done
BLOCK_BYTES = 1 << 26  # more than that at a time reads no faster
COPIES = 8  # of a block: waiting, being read, in use, converted
Given = TypeVar("Given")
Made = TypeVar("Made")
AHEAD = 2  # results beside the one in use: one that waits, one that is being made
Lengths = npt.NDArray[np.integer]
log = logging.getLogger(__name__)


class Batches:
    """Batches of at most `tokens` tokens, padding included; None: as many as the device likes."""

    def __init__(self, device: torch.device, tokens: int | None = None) -> None:
        default = CPU_TOKENS if device.type == "cpu" else DEVICE_TOKENS
        self.device, self.tokens = device, tokens or default
        self._said = False

    def run(self, work: Callable[[slice], None], *lengths: Lengths) -> None:
        """Call work on runs of pieces, lengths [n] in tokens. BadInput without room for one."""
        at = 0
        while at < len(lengths[0]):
            batch = slice(at, at + self._fitting(at, *lengths))
            if self._has_room(work, batch):
                at = batch.stop
            else:
                self._lower(batch, *lengths)

    def _fitting(self, at: int, *lengths: Lengths) -> int:
        """How many pieces from `at` on fit together, at least one."""
        parts = [np.maximum.accumulate(part[at : at + self.tokens]) for part in lengths]
        longest = np.sum(parts, axis=0)
        padded = longest * np.arange(1, len(longest) + 1)
        return max(1, int(np.searchsorted(padded, self.tokens, "right")))

    def _has_room(self, work: Callable[[slice], None], batch: slice) -> bool:
        try:
            work(batch)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return False
        return True

    def _lower(self, batch: slice, *lengths: Lengths) -> None:
        num = batch.stop - batch.start
        tokens = num * sum(int(part[batch].max()) for part in lengths)
        what = f"{self.device} is out of memory with {tokens} tokens at once"
        remedy = f"{FEWER}, precision=bf16, or a device with more memory"
        require(num > 1, what, "room for one pair of images", remedy=remedy)
        if not self._said:
            log.warning("%s is out of memory with %d tokens: smaller batches", self.device, tokens)
        self._said, self.tokens = True, max(1, tokens // 2)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether a device, or the host's allocator, refused memory."""
    refused = isinstance(error, torch.OutOfMemoryError)
    return refused or any(words in str(error) for words in NO_ROOM)


class Budget(NamedTuple):
    """Bytes."""

    queries: int  # encoded queries, at once
    gallery: int  # encoded gallery images that are kept for further queries
    block: int  # stored descriptors read at a time


def share_out(max_memory: float, device: torch.device) -> Budget:
    """What max_memory GiB are for. BadInput for too few; a GPU bounds encoded images itself."""
    held = _resident_bytes()
    free = int(max_memory * 2**30) - held
    what = f"max_memory={max_memory:g} GiB, and the process has {held / 2**30:.2f} GiB already"
    require(free >= LEAST, what, f"at least {(held + LEAST) / 2**30:.1f}")
    block = min(BLOCK_BYTES, free // 8 // COPIES)
    encoded = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else free
    return Budget(encoded * 2 // 5, encoded // 4, block)


def _resident_bytes() -> int:
    """Memory of the process now; where the system does not tell, its peak."""
    statm = Path("/proc/self/statm")
    if statm.is_file():
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    peak = peak_memory_mib()
    return 0 if peak != peak else int(peak * 2**20)


@contextmanager
def prefetched(
    work: Callable[[Given], Made], items: Iterable[Given], ahead: int = AHEAD
) -> Iterator[Iterator[Made]]:
    """`work(item)` of every item by one thread, at most `ahead` beforehand (0: without a thread).
    What it raises comes in place of the result; the thread ends with the context.
    """
    if ahead == 0:
        yield map(work, items)
        return
    pool = ThreadPoolExecutor(1, "prefetch")
    try:
        yield results_of(pool, work, items, ahead)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def results_of(
    pool: Executor, work: Callable[[Given], Made], items: Iterable[Given], ahead: int
) -> Iterator[Made]:
    """`work(item)` of every item in order; at most `ahead` are begun beyond the one waited for."""
    waiting = deque[Future[Made]]()
    for item in items:
        waiting.append(pool.submit(work, item))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
