"""Commands under faults: killed at the n-th call that writes, or refused by the disk from it on.

A server with `shim.c` preloaded imports everything once; each command runs in a copy of it.
"""

from __future__ import annotations

import atexit
import ctypes
import errno
import faulthandler
import gc
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

ROOT = Path(__file__).resolve().parents[2]
SHIM = Path(__file__).with_name("shim.c")
KILL, LIMIT = "SIGKILL", "RLIMIT_FSIZE"  # beside names of errno
SECONDS, LEFT_SECONDS = 120, 5  # for one command, and for what it began
SUBREAPER = 36  # of prctl: processes whose parent has ended become this one's
ONCE = " once"  # behind the name of an errno: that call alone fails
STREAMS = ("stdout", "stderr")
IMPORTED = [
    *("search", "train", "train_detector", "evaluate", "tune", "place_recognition", "demo"),
    *("build_vocabulary", "extract_descriptors", "extract_globals", "prepare_topk_global"),
    *("merge_hdf5", "append_distractors", "prepare_set", "compress_store"),
]


class Done(NamedTuple):
    """code: of the exit, negative for a signal; calls: those that wrote below the folder; left:
    processes that the command began and that were there LEFT_SECONDS after it.
    """

    code: int
    calls: int
    left: int
    out: str
    err: str


def missing() -> str | None:
    """Why faults cannot be injected here; None: they can."""
    if sys.platform != "linux":
        return "faults are injected on Linux only"
    return None if shutil.which("gcc") else "needs gcc"


class Server:
    """Runs commands in copies of itself; a context manager. folder: for its own files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        shim = folder / "shim.so"
        compiled = ["gcc", "-shared", "-fPIC", "-O1", "-o", str(shim), str(SHIM), "-ldl"]
        subprocess.run(compiled, check=True)
        given = {"LD_PRELOAD": str(shim), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.injection", str(shim)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, **given, "PYTHONDONTWRITEBYTECODE": "1"},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        self._process.communicate()

    def run(
        self, words: Sequence[str], below: Path, at: int = 0, how: str = KILL, **more: Any
    ) -> Done:
        """Run a command; at its at-th call that writes below a folder (0: at none) the fault comes.

        how: KILL; the name of an errno, of which that call and all later ones fail; or LIMIT, of
        `at` bytes.
        """
        asked = {"words": list(words), "below": str(below), "at": at, "how": how, **more}
        asked["folder"] = str(self.folder)
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        code, calls, left = json.loads(self._process.stdout.readline())
        out, err = ((self.folder / name).read_text(errors="replace") for name in STREAMS)
        return Done(code, calls, left, out, err)


def serve(shim: Path) -> None:
    library = ctypes.CDLL(str(shim))
    library.fault_calls.restype = ctypes.c_long
    library.fault_server()
    ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
    for name in IMPORTED:
        import_module(f"ames_lite.cli.{name}")
    import_module("benchmarks.frontier.command")
    import_module("matplotlib.backends.backend_agg")
    gc.freeze()
    warm: set[str] = set()
    for line in sys.stdin:
        asked = json.loads(line)
        if str(asked["words"]) not in warm:
            warm.add(str(asked["words"]))
            _compose(*asked["words"])
        child = os.fork()
        if child == 0:
            _end(_work(library, asked))
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(json.dumps([code, library.fault_calls(), _end_orphans()]), flush=True)


def _end_orphans() -> int:
    """How many processes the command has left; they are ended."""
    until, left = time.monotonic() + LEFT_SECONDS, set[str]()
    while True:
        try:
            ended, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return len(left)
        if ended == 0 and time.monotonic() > until:
            found = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
            left.update(found)
            for process in found:
                os.kill(int(process), signal.SIGKILL)
        time.sleep(0 if ended else 0.01)


def _end(code: int) -> None:
    """End this process as it ends, HDF5 closing what is open, but for two seconds of Python's."""
    threading._shutdown()  # type: ignore[attr-defined]  # before it pools would lose their workers
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    ctypes.CDLL(None).exit(code)


def _compose(name: str, *words: str) -> None:
    """Compose the configuration, which takes a second, before the copies do."""
    from ames_lite.cli import compose

    name = {"index": "search"}.get(name, name)
    with suppress(Exception):  # the copy says it
        compose.given_words(compose.compose(name, words))


def _work(library: ctypes.CDLL, asked: dict[str, Any]) -> int:
    from ames_lite.cli import run

    signal.alarm(SECONDS)
    faulthandler.enable()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in enumerate(STREAMS, start=1):
        path = Path(asked["folder"]) / name
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.chdir(asked.get("cwd", asked["below"]))
    at, how = asked["at"], asked["how"]
    if how == LIMIT:
        if at:
            resource.setrlimit(resource.RLIMIT_FSIZE, (at, at))
        at, how = 0, KILL
    name, *words = asked["words"]
    few = asked.get("few")
    if few is not None:
        import_module("ames_lite.extraction.batches").FEW = few
    once = how.endswith(ONCE)
    error = getattr(errno, how.removesuffix(ONCE), 0)
    library.fault_arm(asked["below"].encode(), ctypes.c_long(at), error, int(once))
    if name == "frontier":
        return import_module("benchmarks.frontier.command").main(words)
    return run(name, words)


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
