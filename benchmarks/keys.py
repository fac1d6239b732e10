"""What suites of benchmarks share: their keys, read and checked.

Input: values of a configuration. Output: lists and numbers. Raises ConfigError that says what
exists.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import torch

from ames_lite.cli.shell import as_list
from ames_lite.errors import BadInput, ConfigError
from ames_lite.runtime import pick_device

PRECISIONS = {"cpu": ("fp32", "bf16"), "cuda": ("fp32", "bf16", "fp16")}


def chosen(key: str, value: object, known: Sequence[str]) -> list[str]:
    """The names that a key lists; all where it is null. Raises ConfigError that lists them."""
    names = list(known) if value is None else as_list(value)
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        what = f"{key} names '{unknown[0]}'" if unknown else f"{key} is empty"
        raise ConfigError(what, expected=f"some of {', '.join(known)}")
    return list(dict.fromkeys(names))


def count_of(key: str, value: object) -> int:
    """A whole number of at least 1. Raises ConfigError."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError(f"{key}={value}", expected="a whole number of at least 1")
    return value


def devices_of(name: str) -> list[torch.device]:
    """`device=`; all: the CPU, and CUDA where there is one. Raises BadInput."""
    if name != "all":
        return [pick_device(name)]
    return [torch.device("cpu"), *([pick_device("cuda")] if torch.cuda.is_available() else [])]


def precisions_of(value: object, devices: Sequence[torch.device]) -> list[str]:
    """`precisions=`; null: all that the devices have. Raises ConfigError."""
    for device in devices:
        if device.type not in PRECISIONS:
            raise ConfigError(f"device={device}", expected=f"one of {', '.join(PRECISIONS)}")
    known = dict.fromkeys(name for device in devices for name in PRECISIONS[device.type])
    return chosen("precisions", value, list(known))


def scratch_of(value: Path | None) -> Path | None:
    """The folder `scratch=`; None where it is null. Raises BadInput where there is none."""
    if value is None:
        return None
    if not value.is_dir():
        raise BadInput(f"scratch is {value}", expected="a folder that exists")
    return value.absolute()


def parse_size(text: object) -> tuple[int, int]:
    """Two numbers with an x between.

    >>> parse_size("600x50")
    (600, 50)
    """
    found = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", str(text))
    if not found:
        raise ConfigError(f"'{text}' is no size", expected="two numbers, such as 600x50")
    return int(found[1]), int(found[2])
