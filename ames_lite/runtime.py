"""Seed, device, precision and logging, set up by a call, never at import.

Precision is one of PRECISIONS, or `auto`: bf16 where the device has instructions for it, else fp32.
On a CPU, fp16 is refused (it has no fast kernels there).
"""

import contextlib
import logging
import os
import platform
import random
import sys
import time
from collections.abc import Iterable, Iterator
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from tqdm import tqdm

from ames_lite.errors import BadInput, require

T = TypeVar("T")
logger = logging.getLogger(__name__)
PROGRESS = "AMES_PROGRESS"  # 0: no bars
PROBE_SIZE, PROBE_ROUNDS = 256, 3  # of the products by which a CPU is judged: 0.1 s where slow
FAST_BF16 = 1.3  # times as fast as float32: bf16 instructions give 2 and more, emulation below 1
PRECISIONS: dict[str, torch.dtype | None] = {
    "fp32": None,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


def seed_everything(seed: int) -> torch.Generator:
    """A torch Generator; the global states are seeded for third parties. Raises BadInput."""
    require(seed >= 0, f"seed is {seed}", expected="a whole number from 0")
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    return torch.Generator().manual_seed(seed)


class Draw(IntEnum):
    """What training draws at random: the first part of a stream's key."""

    ANCHORS = 0
    TRIPLETS = 1
    COUNTS = 2
    AUGMENTATION = 3
    HELD_OUT = 4
    IMAGES = 5


def stream(seed: int, draw: Draw, *key: int) -> np.random.Generator:
    """An independent generator for every key of a seed; spawn keys are not padded with zeros."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(draw, *key)))


def pick_device(name: str = "auto") -> torch.device:
    """The device of that name; `auto` is cuda where there is one, else cpu. Raises BadInput."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise BadInput(f"device '{name}'", expected="auto, cpu, cuda or cuda:<n>") from error
    found = device.type != "cuda" or torch.cuda.is_available()
    require(found, f"device '{name}', but torch finds no CUDA device", expected="device=cpu")
    return device


@contextlib.contextmanager
def cpu_threads(num: int | None) -> Iterator[None]:
    """Set torch's number of CPU threads (None: leave it), restore it on exit."""
    before = torch.get_num_threads()
    torch.set_num_threads(num or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def fast_precision(device: torch.device) -> tuple[str, str]:
    """What `auto` is on this device, bf16 or fp32, and why."""
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = cpu_is_fast_in_bf16()
    kind = "GPU" if device.type == "cuda" else "CPU"
    said = f"this {kind} has {'' if native else 'no '}bf16 instructions"
    return "bf16" if native else "fp32", said


@cache
def cpu_is_fast_in_bf16() -> bool:
    """Whether matrix products in bf16 are clearly faster than in float32: measured once."""
    single = torch.rand(PROBE_SIZE, PROBE_SIZE, generator=torch.Generator().manual_seed(0))
    seconds = []
    with torch.inference_mode(), torch.autocast("cpu", enabled=False):
        for matrix in (single, single.bfloat16()):
            rounds = []
            for _ in range(PROBE_ROUNDS + 1):  # the first warms up
                began = time.perf_counter()
                matrix @ matrix
                rounds.append(time.perf_counter() - began)
            seconds.append(min(rounds[1:]))
    return seconds[0] > FAST_BF16 * seconds[1]


def settle_precision(precision: str, device: torch.device) -> str:
    """The precision, `auto` replaced by that of the device and logged. Raises BadInput."""
    autocast(precision, device)
    if precision != "auto":
        return precision
    chosen, why = fast_precision(device)
    logger.info("precision: %s (%s)", chosen, why)
    return chosen


def autocast(precision: str, device: torch.device) -> contextlib.AbstractContextManager[object]:
    """The context in which a head computes in this precision, or `auto`. Raises BadInput."""
    if precision == "auto":
        precision = fast_precision(device)[0]
    expected = f"one of auto, {', '.join(PRECISIONS)}"
    require(precision in PRECISIONS, f"precision '{precision}'", expected=expected)
    slow = precision == "fp16" and device.type == "cpu"
    require(not slow, "precision 'fp16' on a CPU", expected="fp32 or bf16 on a CPU")
    if precision == "bf16" and device.type == "cpu" and not cpu_is_fast_in_bf16():
        _warn_of_slow_bf16()
    dtype = PRECISIONS[precision]
    if dtype is None:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype)


@cache  # once a process
def _warn_of_slow_bf16() -> None:
    logger.warning("precision=bf16: this CPU has no bf16 instructions, precision=fp32 is faster")


def set_up_logging() -> None:
    """Log to standard error, a message a line; AMES_DEBUG=1 shows debug messages."""
    level = logging.DEBUG if os.environ.get("AMES_DEBUG") == "1" else logging.INFO
    logging.basicConfig(level=level, format="%(message)s", force=True)
    logging.getLogger("faiss").setLevel(logging.WARNING)  # says which library it loads


def log_to(path: Path) -> None:
    """Write what is logged to a file too, until another one is chosen."""
    root = logging.getLogger()
    for handler in [one for one in root.handlers if isinstance(one, logging.FileHandler)]:
        root.removeHandler(handler)
        handler.close()
    root.addHandler(_RunLog(path, encoding="utf-8"))


class _RunLog(logging.FileHandler):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """An error of the disk is raised, where logging would print a traceback for each line."""
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, self.baseFilename) from error
        super().handleError(record)


def progress_bar(
    total: int,
    desc: str,
    unit: str,
    each: Iterable[T] | None = None,
    *,
    initial: int = 0,
    shown: bool = True,
    scaled: bool = False,
) -> "tqdm[T]":
    """A bar with rate and time left; none where standard error is no terminal, or progress=false;
    shown: whether this process shows it; scaled: counts as 1.2k.
    """
    hidden = True if not shown or os.environ.get(PROGRESS) == "0" else None
    how = {"total": total, "initial": initial, "desc": desc, "unit": unit, "unit_scale": scaled}
    return tqdm(each, disable=hidden, **how)


def peak_memory_mib() -> float:
    """Peak resident memory of this process in MiB (nan on Windows)."""
    try:
        import resource
    except ImportError:  # Windows
        return float("nan")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if os.uname().sysname == "Darwin" else peak / 2**10


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
