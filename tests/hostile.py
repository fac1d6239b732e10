"""Forged files are read in a forked process, whose time and memory are measured."""

from __future__ import annotations

import gc
import json
import os
import resource
import signal
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from ames_lite.errors import UserError

SECONDS, MIB = 1.0, 300  # of the processor, and beside what the process holds at the beginning
HANGS = 30  # seconds of the clock
ADDRESSES = 16 << 30  # a length that was forged must not take the machine's memory


class Outcome(NamedTuple):
    """said: the message of a user's error, or what came instead of one; seconds of the processor
    and MiB that were needed."""

    refused: bool
    said: str
    seconds: float
    mib: float


def outcome_of(read: Callable[[], object], log: Path) -> Outcome:
    """What a call comes to in a process of its own; log: a file to hand it over."""
    log.unlink(missing_ok=True)
    child = os.fork()
    if not child:
        gc.freeze()  # a collection would copy what the processes share
        try:
            _limited(read, log)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    if not log.is_file():
        return Outcome(False, f"ended by signal {os.WTERMSIG(status)}", HANGS, 0)
    return Outcome(*json.loads(log.read_text()))


def _limited(read: Callable[[], object], log: Path) -> None:
    torch.set_num_threads(1)  # threads of the parent are not here
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(HANGS)
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
    before = resource.getrusage(resource.RUSAGE_SELF)
    refused = False
    try:
        said = f"was read: {str(read())[:300]}"
    except UserError as error:
        refused, said = True, str(error)
    except BaseException as error:  # noqa: BLE001 - to be told
        said = "".join(traceback.format_exception(error)[-3:])
    after = resource.getrusage(resource.RUSAGE_SELF)
    seconds = sum(getattr(after, k) - getattr(before, k) for k in ("ru_utime", "ru_stime"))
    log.write_text(
        json.dumps([refused, said, seconds, (after.ru_maxrss - before.ru_maxrss) / 1024])
    )


def assert_refused(read: Callable[[], object], path: Path) -> str:
    """That reading is a user's error that names the file, soon and without much memory.

    Returns the message.
    """
    came = outcome_of(read, path.with_name("outcome"))
    assert came.refused, came.said
    assert str(path) in came.said, came.said
    assert "allocate" not in came.said and "MemoryError" not in came.said, came.said
    assert came.seconds < SECONDS and came.mib < MIB, came
    return came.said
