"""Progress of a training: `log.jsonl` (a line a step and an epoch), a bar, TensorBoard."""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from ames_lite.errors import BadInput
from ames_lite.io.writing import explain_write_errors
from ames_lite.runtime import peak_memory_mib
from ames_lite.training.state import json_line

RECENT = 50  # steps that the progress bar averages


def memory(device: torch.device) -> dict[str, float]:
    """Peak memory of this process and of its GPU, in MiB."""
    found = {"memory_mib": round(peak_memory_mib(), 1)}
    if device.type == "cuda":
        found["device_memory_mib"] = round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
    return found


class Watch:
    """Writes metrics; writes: False in all processes but the first. Raises BadInput where
    TensorBoard is not installed.
    """

    def __init__(
        self, folder: Path, step: int, *, writes: bool = True, tensorboard: bool = False
    ) -> None:
        self.writes, self.path = writes, folder / "log.jsonl"
        self._board = _open_tensorboard(folder, step) if writes and tensorboard else None
        path = self.path if writes else os.devnull
        self._file = open(path, "a", encoding="utf-8", buffering=1)

    def line(self, figures: Mapping[str, Any]) -> None:
        """A line of the log."""
        with explain_write_errors(self.path):
            self._file.write(json_line(figures) + "\n")
        if self._board is not None and "step" in figures:
            for key, value in figures.items():
                if isinstance(value, float) and math.isfinite(value):
                    self._board.add_scalar(key, value, figures["step"])

    def close(self) -> None:
        self._file.close()
        if self._board is not None:
            self._board.close()

    def bar(self, name: str, total: int, done: int) -> Any:
        """A progress bar of an epoch, for `advance`."""
        return tqdm(total=total, initial=done, desc=name, unit="batch", disable=not self.writes)


def advance(bar: Any, seen: Sequence[Sequence[float]], rate: float | None = None) -> None:
    """One step more. seen: of the epoch's steps, loss and accuracy first; rate: triplets/s."""
    loss, accuracy = np.mean(seen[-RECENT:], axis=0)[:2]
    more = {} if rate is None else {"triplets": f"{rate:.0f}/s"}
    bar.set_postfix(loss=f"{loss:.3f}", accuracy=f"{accuracy:.3f}", **more, refresh=False)
    bar.update()


def _open_tensorboard(folder: Path, step: int) -> Any:
    """A writer of TensorBoard's files; steps from `step` on are written anew."""
    try:
        from torch.utils.tensorboard import SummaryWriter  # needs the package tensorboard
    except ImportError as error:
        raise BadInput(
            "tensorboard=true, and TensorBoard is not installed",
            expected="the extra: pip install 'ames_lite[tensorboard]'",
            remedy="tensorboard=false: log.jsonl has every figure",
        ) from error
    return SummaryWriter(str(folder / "tensorboard"), purge_step=step)
