"""Peak memory of a piece of work, in a process of its own.

Input: "package.module:function" and its JSON-able arguments; the function makes work ready, warms
it up and returns it. Output: MiB of the whole process (on CUDA: of the allocator), libraries,
weights and data included, while it works; None where the system ended it. What happens before the
work does not count; nor do processes that it starts.

`python -m benchmarks.own_process` is the worker.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from ames_lite.runtime import peak_memory_mib

log = logging.getLogger(__name__)
STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")  # of Linux


def peak_of(job: str, **arguments: Any) -> float | None:
    """MiB of a job. Raises RuntimeError, with what the process said, where it fails."""
    root = str(Path(__file__).resolve().parents[1])
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


def _main() -> None:
    asked = json.load(sys.stdin)
    torch.set_num_threads(asked["threads"])
    module, _, function = asked["job"].partition(":")
    work = getattr(importlib.import_module(module), function)(**asked["arguments"])
    forget_peak()
    work()
    sys.stdout.write(f"{peak_mib()}\n")


if __name__ == "__main__":
    _main()
