"""Pairs of concurrent requests in common calls of the head: on the CPU one call a core at a time. A
request waits WAIT for others, unless it fills a call on its own; while all cores run one, the next
gathers. All but the call itself is done by the event loop, so that nothing needs a lock.
"""

import asyncio
import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from ames_lite.reranking.reranker import Reranker

WAIT = 0.002  # seconds
Logits = npt.NDArray[np.float32]
Array = npt.NDArray[Any]


class Waiting(NamedTuple):
    query: Array
    candidates: Sequence[Array]
    done: "asyncio.Future[Logits]"

    @property
    def kind(self) -> tuple[Any, int]:
        return self.query.dtype, self.query.shape[1]


class Batches:
    """At most `batch_pairs` together, but of a larger request; note: told how many a call has."""

    def __init__(self, reranker: Reranker, note: Callable[[int], None]) -> None:
        self._reranker, self._most, self._note = reranker, reranker.batch_pairs, note
        on_cpu = reranker.model.device.type == "cpu"
        self._calls = os.cpu_count() or 1 if on_cpu else 1
        self.pool = ThreadPoolExecutor(self._calls, "scoring", torch.set_num_threads, (1,))
        self._waiting: deque[Waiting] = deque()
        self._running: set[asyncio.Task[None]] = set()

    async def logits(self, query: Array, candidates: Sequence[Array]) -> Logits:
        """[K], as `Reranker.logits`. A caller that is cancelled is not scored any more."""
        done: asyncio.Future[Logits] = asyncio.get_running_loop().create_future()
        self._waiting.append(Waiting(query, candidates, done))
        if len(self._running) < self._calls:
            task = asyncio.create_task(self._run())
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        return await done

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            if sum(len(one.candidates) for one in self._waiting) < self._most:
                await asyncio.sleep(WAIT)
            batch = self._take()
            if not batch:
                continue
            self._note(len(batch))
            pairs = [(one.query, one.candidates) for one in batch]
            scored = loop.run_in_executor(self.pool, self._reranker.logits_of, pairs)
            await asyncio.wait([scored])
            error = scored.exception()
            for place, one in enumerate(batch):
                if one.done.done():
                    continue
                if error is None:
                    one.done.set_result(scored.result()[place])
                else:
                    one.done.set_exception(error)

    def _take(self) -> list[Waiting]:
        """The next requests that still wait, as many of one kind as fit."""
        batch: list[Waiting] = []
        room = self._most
        while self._waiting:
            one = self._waiting[0]
            fits = len(one.candidates) <= room and one.kind == batch[0].kind if batch else True
            if not (fits or one.done.done()):
                break
            self._waiting.popleft()
            if not one.done.done():
                batch.append(one)
                room -= len(one.candidates)
        return batch
