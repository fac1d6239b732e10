"""The machine that figures were taken on, as JSON. What a system does not tell is None."""

from __future__ import annotations

import os
import platform
from typing import Any

import torch

from ames_lite.runtime import cpu_info, cpu_name

CPU_FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16")


def describe_machine() -> dict[str, Any]:
    """CPU, memory, GPUs, and the versions that decide about speed."""
    flags = cpu_info().get("flags", "").split()
    affinity = getattr(os, "sched_getaffinity", None)
    return {
        "system": platform.platform(terse=True),
        "cpu": cpu_name(),
        "cores": len(affinity(0)) if affinity else os.cpu_count(),  # that this process may use
        "cpu_flags": {flag: flag in flags for flag in CPU_FLAGS} if flags else None,
        "memory_gib": _memory_gib(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torch_cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
    }


def _memory_gib() -> float | None:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)
