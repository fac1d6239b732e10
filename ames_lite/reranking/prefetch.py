"""Reading ahead: a thread that does the next pieces of work while the last one is in use."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

Given = TypeVar("Given")
Made = TypeVar("Made")
AHEAD = 2  # results beside the one in use: one that waits, one that is being made


@contextmanager
def prefetched(
    work: Callable[[Given], Made], items: Iterable[Given], ahead: int = AHEAD
) -> Iterator[Iterator[Made]]:
    """`work(item)` for every item, made in one thread, at most `ahead` of them beforehand (0: none,
    without a thread). What it raises is raised in place of the result; the thread ends with the
    context.

    >>> with prefetched(str, [1, 2, 3]) as results:
    ...     list(results)
    ['1', '2', '3']
    """
    if ahead == 0:
        yield map(work, items)
        return
    pool = ThreadPoolExecutor(1, "prefetch")
    try:
        yield _results(pool, work, items, ahead)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _results(
    pool: ThreadPoolExecutor, work: Callable[[Given], Made], items: Iterable[Given], ahead: int
) -> Iterator[Made]:
    waiting: deque[Future[Made]] = deque()
    for item in items:
        waiting.append(pool.submit(work, item))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
