"""What scores were timed on, in words."""

from __future__ import annotations

import platform
from pathlib import Path

import torch

from ames_lite.processes import Processes
from ames_lite.reranking.scorer import ScoringOptions


def timed_on(options: ScoringOptions, processes: Processes) -> str:
    """CPU and threads or GPU, precision, processes."""
    device = torch.device(options.device)
    if device.type == "cuda":
        where = torch.cuda.get_device_name(device)
    else:
        where = f"{cpu_name()}, {options.threads or torch.get_num_threads()} threads"
    several = f", {processes.size} processes" if processes.size > 1 else ""
    compiled = ", compiled" if options.compile else ""
    return f"{where}, {options.precision}{compiled}{several}"


def cpu_name() -> str:
    """As the system calls it."""
    return cpu_info().get("model name") or platform.processor() or platform.machine()


def cpu_info() -> dict[str, str]:
    """Of the first core, where the system has /proc."""
    path = Path("/proc/cpuinfo")
    if not path.is_file():
        return {}
    first = path.read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
    pairs = (line.split(":", 1) for line in first.splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}
