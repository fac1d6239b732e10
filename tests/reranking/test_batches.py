"""Batches, memory and reading ahead: what is cut where, and what happens when there is no room."""

from __future__ import annotations

import logging
import threading
import time

import numpy as np
import pytest
import torch

from ames_lite.errors import BadInput
from ames_lite.reranking.batches import AHEAD, Batches, is_out_of_memory, prefetched, share_out

CPU = torch.device("cpu")


def runs(tokens: int, *lengths: np.ndarray) -> list[slice]:
    found: list[slice] = []
    Batches(CPU, tokens).run(found.append, *lengths)
    return found


def test_batches_cover_all_pieces_once_within_their_tokens() -> None:
    rng = np.random.default_rng(0)
    for tokens in (1, 40, 300, 10_000):
        query, gallery = (np.sort(rng.integers(1, 30, 100)) for _ in range(2))
        found = runs(tokens, query, gallery)
        covered = np.concatenate([np.arange(100)[batch] for batch in found])
        np.testing.assert_array_equal(covered, np.arange(100))
        for i, batch in enumerate(found):
            num = batch.stop - batch.start
            padded = num * (query[batch].max() + gallery[batch].max())
            assert num == 1 or padded <= tokens
            if i + 1 < len(found):  # one more would not have fitted
                longer = slice(batch.start, batch.stop + 1)
                assert (num + 1) * (query[longer].max() + gallery[longer].max()) > tokens


def test_out_of_memory_makes_batches_smaller_and_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    batches, done, tried = Batches(CPU, 1000), np.zeros(100, int), []

    def work(batch: slice) -> None:
        tried.append(batch.stop - batch.start)
        if tried[-1] > 6:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        done[batch] += 1

    batches.run(work, np.full(100, 10))
    assert (done == 1).all()
    assert tried[:5] == [100, 50, 25, 12, 6] and max(tried[5:]) == 6
    (record,) = caplog.records
    assert record.getMessage() == "cpu is out of memory with 1000 tokens: smaller batches"


def test_one_pair_without_room_is_a_message_and_other_errors_pass() -> None:
    def refuse(batch: slice) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(BadInput, match="(?s)out of memory with 70 tokens.*precision=bf16"):
        Batches(CPU, 1000).run(refuse, np.array([30, 30]), np.array([40, 40]))

    def fail(batch: slice) -> None:
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        Batches(CPU, 1000).run(fail, np.array([30]))


def test_a_refusal_of_the_hosts_allocator_is_known() -> None:
    with pytest.raises(RuntimeError) as error:
        torch.empty(1 << 50, dtype=torch.uint8)
    assert is_out_of_memory(error.value)


def test_memory_is_shared_out_and_too_little_refused() -> None:
    budget = share_out(1000, CPU)
    assert budget.block == 1 << 26 and budget.queries > budget.gallery > 100 << 30
    small = share_out(8, CPU)
    assert small.queries + small.gallery + 8 * small.block < 8 << 30
    with pytest.raises(BadInput, match="max_memory=0.01 GiB"):
        share_out(0.01, CPU)


def prefetch_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]


def test_results_come_in_order_and_not_far_ahead() -> None:
    begun: list[int] = []

    def work(i: int) -> int:
        begun.append(i)
        return i * i

    with prefetched(work, range(20)) as results:
        for i, result in enumerate(results):
            assert result == i * i
            assert len(begun) <= i + 1 + AHEAD
    assert begun == list(range(20)) and not prefetch_threads()


def test_an_exception_in_the_thread_is_raised_in_its_place() -> None:
    def work(i: int) -> int:
        if i == 3:
            raise BadInput("the disk is gone", where="here")
        return i

    got = []
    with pytest.raises(BadInput, match="the disk is gone"):
        with prefetched(work, range(10)) as results:
            for result in results:
                got.append(result)
    assert got == [0, 1, 2] and not prefetch_threads()


def test_a_consumer_that_stops_ends_the_thread() -> None:
    begun: list[int] = []

    def work(i: int) -> None:
        begun.append(i)
        time.sleep(0.01)

    with pytest.raises(KeyboardInterrupt):
        with prefetched(work, range(1000)) as results:
            next(results)
            raise KeyboardInterrupt
    assert not prefetch_threads() and len(begun) <= 2 + AHEAD
