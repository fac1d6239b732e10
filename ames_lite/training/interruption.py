"""Interruptions that wait for the end of a step: SIGINT (Ctrl-C) and SIGTERM (a scheduler's).

The first one is only noted; a second one interrupts at once.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(KeyboardInterrupt):
    """A run ended by a signal. signum: which one; how: what became of it, for the message."""

    def __init__(self, signum: int, how: str = "") -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}{how}")
        self.signum = int(signum)


@contextmanager
def interruptible() -> Iterator[Callable[[], int]]:
    """Within: yields a function that gives the number of the signal that came, 0 before one does.

    Outside of the main thread signals are not seen. Raises Stopped at a second signal.
    """
    noted = [0]
    if threading.current_thread() is not threading.main_thread():
        yield lambda: 0
        return

    def note(number: int, frame: FrameType | None) -> None:
        if noted[0]:
            raise Stopped(number)
        noted[0] = number

    before = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield lambda: noted[0]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
