"""Several processes that share one job, as torchrun starts them, and their collectives.

Only the first process writes; one that fails ends with its error, and torchrun ends the others.
"""

import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist

from ames_lite.errors import ConfigError, require
from ames_lite.runtime import pick_device

WAIT = timedelta(days=2)  # for the slowest: its share may be larger by hours, not by days
SET_DEATH_SIGNAL = 1  # of prctl(2)
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Processes:
    """This process, `rank` of `size`; device: of the tensors in collectives."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def first(self) -> bool:
        """Whether this process writes and reports."""
        return self.rank == 0

    def share(self, num: int) -> slice:
        """The part of `num` things that this process does.

        >>> [Processes(rank, 2).share(5) for rank in range(2)]
        [slice(0, 2, None), slice(2, 5, None)]
        """
        return slice(self.rank * num // self.size, (self.rank + 1) * num // self.size)

    def total(self, values: Array, how: Any = dist.ReduceOp.SUM) -> Array:
        """All-reduce; arrays of one shape and dtype."""
        if self.size == 1:
            return values
        tensor = torch.from_numpy(np.array(values)).to(self.device)
        dist.all_reduce(tensor, how)
        return tensor.cpu().numpy()

    def largest(self, values: Array) -> Array:
        """All-reduce by maximum."""
        return self.total(values, dist.ReduceOp.MAX)

    def from_first(self, value: Any) -> Any:
        """Broadcast from the first process."""
        box = [value]
        if self.size > 1:
            dist.broadcast_object_list(box)
        return box[0]

    def wait(self) -> None:
        """A barrier."""
        self.total(np.zeros(1))


ALONE = Processes()


@contextmanager
def process_group(device: str = "auto") -> Iterator[tuple[Processes, torch.device]]:
    """The processes of this job, and the device of this one; ALONE where torchrun did not start it.
    device: auto and cuda are one GPU a process, by NCCL; else gloo. Raises ConfigError, BadInput.
    """
    processes = processes_of(os.environ)
    if processes.size == 1:
        yield ALONE, pick_device(device)
        return
    here = local_device(pick_device(device), os.environ)
    if here.type == "cuda":
        torch.cuda.set_device(here)
    dist.init_process_group("nccl" if here.type == "cuda" else "gloo", timeout=WAIT)
    yield replace(processes, device=here), here
    dist.destroy_process_group()  # not after an error: it would wait for those who go on


def watch_parent() -> None:
    """In a worker process, on Linux: it ends as soon as its parent does, killed or not."""
    parent = multiprocessing.parent_process()
    if parent is not None and sys.platform == "linux":
        ctypes.CDLL(None).prctl(SET_DEATH_SIGNAL, signal.SIGKILL)
        if not parent.is_alive():  # a fork server stands between the two, and ends with it
            os._exit(1)


def processes_of(environment: Mapping[str, str]) -> Processes:
    """From the variables of torchrun; ALONE where there are none. Raises ConfigError."""
    if "WORLD_SIZE" not in environment:
        return ALONE
    rank, size = environment.get("RANK", "nothing"), environment["WORLD_SIZE"]
    fits = rank.isdecimal() and size.isdecimal() and int(rank) < int(size)
    what = f"RANK={rank} and WORLD_SIZE={size} in the environment"
    expected = "numbers, RANK below WORLD_SIZE, as torchrun sets them"
    require(fits, what, expected=expected, kind=ConfigError)
    return Processes(int(rank), int(size))


def local_device(device: torch.device, environment: Mapping[str, str]) -> torch.device:
    """The device of this process: of several GPUs of a machine, that of its LOCAL_RANK."""
    if device.type != "cuda" or device.index is not None or "LOCAL_RANK" not in environment:
        return device
    number, cards = int(environment["LOCAL_RANK"]), torch.cuda.device_count()
    return torch.device("cuda", number % cards if cards else number)
