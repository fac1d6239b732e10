"""One training on several processes: who they are, what each computes, what they agree on.

In: the environment that torchrun makes (RANK, WORLD_SIZE, LOCAL_RANK, ...). Out: `Processes`. A
batch is the same whatever their number: each computes its share of its triplets, none twice, and
the gradients of all shares are added up, each with its weight. The conventions to know: only the
first process writes; what one must do alone it does while the others wait in the next `total`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from ames_lite.errors import BadInput

PATIENCE = timedelta(hours=6)  # how long processes wait for one that validates


@dataclass(frozen=True)
class Processes:
    """Which of how many processes this is."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def share(self, num: int) -> slice:
        """Which of `num` things this process does: as many as the others, or one more or less.

        >>> [Processes(rank, 2).share(5) for rank in range(2)]
        [slice(0, 2, None), slice(2, 5, None)]
        """
        return slice(self.rank * num // self.size, (self.rank + 1) * num // self.size)

    def total(self, values: Tensor) -> Tensor:
        """The sum over all processes."""
        if self.size > 1:
            distributed.all_reduce(values)
        return values

    def from_first(self, value: Any) -> Any:
        """What the first process gave."""
        if self.size == 1:
            return value
        box = [value]
        distributed.broadcast_object_list(box)
        return box[0]

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model with gradients averaged over all processes after each backward pass."""
        if self.size == 1:
            return model
        return DistributedDataParallel(model, broadcast_buffers=False)


def processes_of(environment: Mapping[str, str]) -> Processes:
    """As torchrun says; alone where it says nothing. Raises BadInput for what makes no sense."""
    if "WORLD_SIZE" not in environment:
        return Processes()
    given = {key: environment.get(key, "") for key in ("RANK", "WORLD_SIZE")}
    if not all(value.isdecimal() for value in given.values()):
        raise BadInput(f"the environment has {given}", expected="what torchrun sets")
    rank, size = int(given["RANK"]), int(given["WORLD_SIZE"])
    if rank >= size:
        raise BadInput(f"the environment has {given}", expected="RANK below WORLD_SIZE")
    return Processes(rank, size)


def local_device(device: torch.device) -> torch.device:
    """The device of this process: of several GPUs of a machine, that of its LOCAL_RANK."""
    if device.type != "cuda" or device.index is not None or "LOCAL_RANK" not in os.environ:
        return device
    return torch.device("cuda", int(os.environ["LOCAL_RANK"]))


@contextmanager
def process_group(device: torch.device) -> Iterator[Processes]:
    """Within: the processes that torchrun started, joined (NCCL on GPUs, gloo on CPUs)."""
    processes = processes_of(os.environ)
    if processes.size == 1:
        yield processes
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, timeout=PATIENCE)
    try:
        yield processes
    finally:
        distributed.destroy_process_group()
