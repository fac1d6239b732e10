"""Seed, device, precision and logging: what a run sets up by a call, never at import.

0 is a seed like any other. Precision is one of PRECISIONS; on a CPU, fp16 is refused (it has no
fast kernels there). Nothing here keeps state.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random

import numpy as np
import torch

from ames_lite.errors import BadInput

PRECISIONS: dict[str, torch.dtype | None] = {
    "fp32": None,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


def seed_everything(seed: int) -> torch.Generator:
    """Seed Python, NumPy's legacy state and torch; returns a torch Generator of that seed.

    The library draws from generators that it is handed; the global states are seeded for what
    third parties draw. Raises BadInput for a negative seed.
    """
    if seed < 0:
        raise BadInput(f"seed is {seed}", expected="a whole number from 0")
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    return torch.Generator().manual_seed(seed)


def pick_device(name: str = "auto") -> torch.device:
    """The device of that name; `auto` is cuda where there is one, else cpu. Raises BadInput."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise BadInput(f"device '{name}'", expected="auto, cpu, cuda or cuda:<n>") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise BadInput(f"device '{name}', but torch finds no CUDA device", expected="device=cpu")
    return device


def autocast(precision: str, device: torch.device) -> contextlib.AbstractContextManager[object]:
    """The context in which a head computes in this precision. Raises BadInput."""
    if precision not in PRECISIONS:
        raise BadInput(f"precision '{precision}'", expected=f"one of {', '.join(PRECISIONS)}")
    if precision == "fp16" and device.type == "cpu":
        raise BadInput("precision 'fp16' on a CPU", expected="fp32 or bf16 on a CPU")
    dtype = PRECISIONS[precision]
    if dtype is None:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype)


def set_up_logging() -> None:
    """Messages of the library to standard error, one a line; AMES_DEBUG=1 shows debug messages."""
    level = logging.DEBUG if os.environ.get("AMES_DEBUG") == "1" else logging.INFO
    logging.basicConfig(level=level, format="%(message)s", force=True)


def peak_memory_mib() -> float:
    """The largest resident size of this process so far, in MiB (nan where the system hides it)."""
    try:
        import resource
    except ImportError:  # Windows
        return float("nan")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if os.uname().sysname == "Darwin" else peak / 2**10
