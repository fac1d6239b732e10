"""Peak memory of a piece of work, in a process of its own.

In: the name of a job and its arguments, as JSON. Out: MiB of the whole process (on CUDA: of the
allocator), libraries, weights and data included, while it works; None where the system ended it.
The conventions to know: it is made ready and warmed up before, which does not count; nor do
processes that it starts.

`python -m extract.speed.peak` is the worker.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ames_lite.runtime import peak_memory_mib

log = logging.getLogger(__name__)
STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")  # of Linux


def peak_of(job: str, **arguments: Any) -> float | None:
    """MiB of a job of JOBS with JSON-able arguments."""
    root = str(Path(__file__).resolve().parents[2])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    asked = {"job": job, "threads": torch.get_num_threads(), "arguments": arguments}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", __name__],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )
    if done.returncode < 0:
        log.warning("no memory figure: the process of %s was ended by the system", job)
        return None
    if done.returncode:
        raise RuntimeError(f"the worker that measures memory ended with {done.stderr}")
    return float(done.stdout.splitlines()[-1])


def forget_peak() -> None:
    """What was needed so far no longer counts, where the system can forget it."""
    if torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()
    if RESET.exists():
        RESET.write_text("5")


def peak_mib() -> float:
    """The largest resident size of this process since then; on CUDA the allocator's."""
    if torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated() / 2**20
    if STATUS.is_file():
        for line in STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 2**10
    return peak_memory_mib()


def _extract(
    network: dict[str, Any], what: str, device: str, paths: list[str]
) -> Callable[[], object]:
    from extract.speed.extraction import work_of
    from extract.speed.subjects import Network

    work = work_of(Network(**network), what, [Path(path) for path in paths], torch.device(device))
    work(1)
    return lambda: work(len(paths))


def _knn(rows: int, dim: int, k: int, seed: int, what: str) -> Callable[[], object]:
    from extract.speed.neighbours import WORKS, unit_rows

    vectors, names = unit_rows(rows, dim, seed), [str(row) for row in range(rows)]
    few = min(rows, 2 * k)
    WORKS[what](vectors[:few], names[:few], k)
    return lambda: WORKS[what](vectors, names, k)


JOBS: dict[str, Callable[..., Callable[[], object]]] = {"extract": _extract, "knn": _knn}


def _main() -> None:
    asked = json.load(sys.stdin)
    torch.set_num_threads(asked["threads"])
    work = JOBS[asked["job"]](**asked["arguments"])
    forget_peak()
    work()
    sys.stdout.write(f"{peak_mib()}\n")


if __name__ == "__main__":
    _main()
