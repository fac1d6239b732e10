"""Worker processes end with their parent, however it ends."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.processes import run_code

PARENT = """
import multiprocessing, os, signal, sys, time
from ames_lite.processes import watch_parent

def work(path):
    watch_parent()
    open(path, "w").write(str(os.getpid()))
    time.sleep(60)

path = sys.argv[1]
multiprocessing.get_context("fork").Process(target=work, args=(path,)).start()
while not (os.path.exists(path) and open(path).read()):
    time.sleep(0.02)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a signal of Linux")
def test_a_worker_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    assert run_code(PARENT, str(path)).returncode == -signal.SIGKILL
    pid, until = int(path.read_text()), time.monotonic() + 10
    while _runs(pid):
        assert time.monotonic() < until, "the worker is still there"
        time.sleep(0.05)


def _runs(pid: int) -> bool:
    """Whether it is there, and not only its entry, which its new parent has yet to collect."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
