"""The machine that figures were taken on, as JSON.

Input: a device. Output: plain dicts and words. What a system does not tell is None, never a guess.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import torch

from ames_lite.processes import Processes
from ames_lite.reranking.scorer import ScoringOptions

CPU_FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16")


def describe_machine() -> dict[str, Any]:
    """CPU, memory, GPUs, and the versions that decide about speed."""
    lines = _cpuinfo()
    flags = lines.get("flags", "").split()
    return {
        "system": platform.platform(terse=True),
        "cpu": lines.get("model name") or platform.processor() or platform.machine(),
        "cores": _cores(),
        "cpu_flags": {flag: flag in flags for flag in CPU_FLAGS} if flags else None,
        "memory_gib": _memory_gib(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torch_cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
    }


def timed_on(options: ScoringOptions, processes: Processes) -> str:
    """What scores were timed on, in words: CPU and threads or GPU, precision, processes."""
    device = torch.device(options.device)
    if device.type == "cuda":
        where = torch.cuda.get_device_name(device)
    else:
        cpu = _cpuinfo().get("model name") or platform.processor() or platform.machine()
        where = f"{cpu}, {options.threads or torch.get_num_threads()} threads"
    several = f", {processes.size} processes" if processes.size > 1 else ""
    compiled = ", compiled" if options.compile else ""
    return f"{where}, {options.precision}{compiled}{several}"


def _cpuinfo() -> dict[str, str]:
    """Of the first core, where the system has /proc."""
    path = Path("/proc/cpuinfo")
    if not path.is_file():
        return {}
    first = path.read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
    pairs = (line.split(":", 1) for line in first.splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def _cores() -> int | None:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _memory_gib() -> float | None:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)
