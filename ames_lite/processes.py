"""Several processes that share one job, as torchrun starts them, and what they say to each other.

In: the environment that torchrun sets (RANK, WORLD_SIZE, LOCAL_RANK). Out: `Processes`, passed on
as an argument; `ALONE` is a single process, whose every exchange is with itself. The convention to
know: all processes make the same exchanges in the same order; one that fails ends with its error,
and torchrun ends the others.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist

from ames_lite.errors import ConfigError
from ames_lite.runtime import pick_device

WAIT = timedelta(days=2)  # for the slowest: its share may be larger by hours, not by days
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Processes:
    """This process, `rank` of `size`, from 0; device: where exchanged numbers must be."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and reports."""
        return self.rank == 0

    def total(self, values: Array) -> Array:
        """The sum of the arrays (one shape and dtype) of all processes, in each of them."""
        return self._reduce(values, dist.ReduceOp.SUM)

    def largest(self, values: Array) -> Array:
        """The largest entries of the arrays of all processes, in each of them."""
        return self._reduce(values, dist.ReduceOp.MAX)

    def text(self, words: str) -> str:
        """The words of the first process."""
        if self.size == 1:
            return words
        own = np.frombuffer(words.encode(), np.uint8) if self.first else np.zeros(0, np.uint8)
        length = int(self.total(np.array([len(own)]))[0])
        sent = np.zeros(length, np.int64)
        sent[: len(own)] = own
        return self.total(sent).astype(np.uint8).tobytes().decode()

    def wait(self) -> None:
        """Go on when all have come here."""
        self.total(np.zeros(1))

    def _reduce(self, values: Array, how: Any) -> Array:
        if self.size == 1:
            return values
        tensor = torch.from_numpy(np.array(values)).to(self.device)
        dist.all_reduce(tensor, how)
        return tensor.cpu().numpy()


ALONE = Processes()


@contextmanager
def process_group(device: str = "auto") -> Iterator[tuple[Processes, torch.device]]:
    """The processes of this job, and the device of this one; ALONE where torchrun did not start it.

    device: as for `runtime.pick_device`; auto and cuda are one card a process. NCCL carries what
    cards say to each other, gloo everything else. Raises ConfigError, BadInput.
    """
    size, rank = (_number(key, default) for key, default in (("WORLD_SIZE", 1), ("RANK", 0)))
    if size == 1:
        yield ALONE, pick_device(device)
        return
    here = pick_device(device)
    if here.type == "cuda" and here.index is None:
        here = torch.device("cuda", _number("LOCAL_RANK", rank) % torch.cuda.device_count())
    if here.type == "cuda":
        torch.cuda.set_device(here)
    dist.init_process_group("nccl" if here.type == "cuda" else "gloo", timeout=WAIT)
    yield Processes(rank, size, here), here
    dist.destroy_process_group()  # not after an error: it would wait for those who go on


def _number(key: str, default: int) -> int:
    text = os.environ.get(key, str(default))
    if not text.isdigit():
        raise ConfigError(f"{key}={text} in the environment", expected="a number, as torchrun sets")
    return int(text)
