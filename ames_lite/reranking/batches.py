"""Work cut into batches that the device has room for, by tokens.

A batch is padded to its longest piece, and that is what counts; if the device has no room for a
batch, all that come are smaller, and it is said once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

from ames_lite.errors import BadInput

CPU_TOKENS, DEVICE_TOKENS = 1 << 14, 1 << 18  # a head cuts a batch on a CPU further, for its caches
NO_ROOM = ("not enough memory", "can't allocate memory", "out of memory")
Lengths = npt.NDArray[np.integer]
log = logging.getLogger(__name__)


class Batches:
    """Batches of at most `tokens` tokens, padding included; None: as many as the device likes."""

    def __init__(self, device: torch.device, tokens: int | None = None) -> None:
        default = CPU_TOKENS if device.type == "cpu" else DEVICE_TOKENS
        self.device, self.tokens = device, tokens or default
        self._said = False

    def run(
        self, work: Callable[[slice], None], *lengths: Lengths, pieces: int | None = None
    ) -> None:
        """Call work on runs of pieces until all are done; lengths [n]: a piece's parts, in tokens;
        pieces: in a run, at most.

        A run for which there is no room is cut smaller. Raises BadInput where one piece alone has
        none.
        """
        at = 0
        while at < len(lengths[0]):
            batch = slice(at, at + min(self._fitting(at, *lengths), pieces or self.tokens))
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
        if num == 1:
            raise BadInput(
                f"{self.device} is out of memory with {tokens} tokens at once",
                expected="room for one pair of images",
                remedy="fewer descriptors (query_desc_num=, gallery_desc_num=), precision=bf16, "
                "or a device with more memory",
            )
        if not self._said:
            log.warning("%s is out of memory with %d tokens: smaller batches", self.device, tokens)
        self._said, self.tokens = True, max(1, tokens // 2)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether a device, or the host's allocator, refused memory."""
    refused = isinstance(error, torch.OutOfMemoryError)
    return refused or any(words in str(error) for words in NO_ROOM)
