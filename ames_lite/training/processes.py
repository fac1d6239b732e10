"""A model that several processes train as one.

Input: the `Processes` of the job. Output: the model, with gradients averaged. A batch is the same
whatever their number: each computes its share of its triplets, none twice, and the gradients of all
shares are added up, each with its weight. What the first process must do alone it does while the
others wait in the next exchange.
"""

from __future__ import annotations

from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ames_lite.processes import Processes


def shared_model(model: nn.Module, processes: Processes) -> nn.Module:
    """The model with gradients averaged over all processes after each backward pass."""
    if processes.size == 1:
        return model
    return DistributedDataParallel(model, broadcast_buffers=False)
