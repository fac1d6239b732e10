"""Processes of their own for tests that are about processes, forked from one that imported it all.

A server is started once a session and imports what takes seconds; it has used nothing of it, so
that its copies are as new processes are, and a copy takes milliseconds.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.helpers import ROOT

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    ["pytest", "torch", "ames_lite.cli.train", "ames_lite.cli.evaluate", "tests.processes"]
)
STREAMS = ("stdout", "stderr")


class Child:
    """`python -c code words` in ROOT, with the environment of now; as subprocess.Popen has it."""

    def __init__(self, code: str, *words: str, **environment: str) -> None:
        self._folder = tempfile.TemporaryDirectory()
        given = (code, words, {**os.environ, **environment}, self._folder.name)
        self._process = SERVER.Process(target=_run, args=given)
        self._process.start()

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, how: int) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, how)

    def communicate(self, timeout: float = 240) -> tuple[str, str]:
        """Standard output and standard error, once it has ended."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()
        out, err = ((Path(self._folder.name) / name).read_text() for name in STREAMS)
        return out, err


def _run(code: str, words: tuple[str, ...], environment: dict[str, str], folder: str) -> None:
    os.environ.clear()
    os.environ.update(environment)
    for number, name in enumerate(STREAMS, start=1):
        os.dup2(os.open(Path(folder) / name, os.O_WRONLY | os.O_CREAT), number)
    os.chdir(ROOT)
    sys.argv = ["-c", *words]
    exec(code, {"__name__": "__main__"})


def run_code(code: str, *words: str) -> subprocess.CompletedProcess[str]:
    """As subprocess.run of `python -c code words`."""
    child = Child(code, *words)
    out, err = child.communicate()
    assert child.returncode is not None
    return subprocess.CompletedProcess(["-c", *words], child.returncode, out, err)
