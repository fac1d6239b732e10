"""Low-rank adapters (LoRA: Hu et al., ICLR 2022) by peft; its one owner."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from ames_lite.errors import BadInput

SCALE = 2  # alpha over rank: the factor of what the adapters add


def add_adapters(network: nn.Module, names: list[str], rank: int, seed: int) -> None:
    """Add adapters to parts of a network, in place: they alone are trained, and add 0 at first."""
    with _installed() as peft, torch.random.fork_rng():
        torch.manual_seed(seed)
        config = peft.LoraConfig(r=rank, lora_alpha=SCALE * rank, target_modules=names)
        peft.inject_adapter_in_model(config, network)


def merged(network: Any) -> Any:
    """A copy of a network whose adapters, if any, have become part of its weights."""
    found = copy.deepcopy(network)
    for name, module in list(found.named_modules()):
        if hasattr(module, "get_base_layer"):
            module.merge()
            parent, _, own = name.rpartition(".")
            setattr(found.get_submodule(parent), own, module.get_base_layer())
    return found


@contextmanager
def _installed() -> Iterator[Any]:
    try:
        import peft
    except ImportError as error:
        what = "lora_rank is above 0, and the package peft is not installed"
        raise BadInput(what, remedy="pip install 'ames_lite[finetune]'") from error
    yield peft
