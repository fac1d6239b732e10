"""What a training run leaves in its folder: `log.jsonl`, `epochs.jsonl`, `last.pt`; and its bar.
The checkpoint `last.pt` holds the parameters under "state" (as in published files), optimizer,
progress, curve, and as JSON the run's identity: settings and data under which alone it is resumed.
"""

import json
import math
import os
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ames_lite.errors import explained, require
from ames_lite.io.json_file import parse_json
from ames_lite.io.provenance import comparable, differences
from ames_lite.io.weights_file import load_weights, write_tensors
from ames_lite.io.writing import explain_write_errors, replacing
from ames_lite.runtime import peak_memory_mib, progress_bar

NAME = "last.pt"
EXPECTED = "the checkpoint of a training run"
REMEDY = "resume with the same settings, or begin anew in another output_dir="
KEYS = frozenset({"identity", "log_bytes"})  # of every run
RECENT = 50  # steps that the progress bar averages
OF_FILE = "file: "  # before what is read, in an identity; checkpoints of older versions have none
OF = ("of descriptors: ", "of ")  # before the keys of provenance in an identity


def write_state(path: Path, identity: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Write the checkpoint, atomically. Raises BadInput where the disk is full."""
    write_tensors(path, {"identity": json.dumps(dict(identity), sort_keys=True), **state})


def read_state(path: Path, identity: Mapping[str, Any], keys: Set[str]) -> dict[str, Any]:
    """The checkpoint, with `keys` beside KEYS. Raises BadInput for another file or identity."""
    content = load_weights(path, EXPECTED)
    fits = isinstance(content, dict) and content.keys() >= KEYS | keys
    require(fits, "holds something else", EXPECTED, where=path)
    found = parse_json(content.pop("identity"), path, EXPECTED)
    require(isinstance(found, dict), "holds something else", EXPECTED, where=path)
    refuse_differences(found, json.loads(json.dumps(dict(identity))), path)
    return content


def write_curve(folder: Path, curve: Sequence[Mapping[str, Any]]) -> Path:
    """Write `epochs.jsonl`, a line an epoch; returns its path."""
    path = folder / "epochs.jsonl"
    with replacing(path, overwrite=True) as partial:
        partial.write_text("".join(f"{json_line(line)}\n" for line in curve), encoding="utf-8")
    return path


def json_line(figures: Mapping[str, Any]) -> str:
    """Figures as one line of JSON, with null for what is not finite.

    >>> json_line({"step": 1, "loss": float("nan")})
    '{"step": 1, "loss": null}'
    """
    odd = {k for k, v in figures.items() if isinstance(v, float) and not math.isfinite(v)}
    return json.dumps({key: None if key in odd else value for key, value in figures.items()})


def refuse_differences(found: Mapping[str, Any], wanted: Mapping[str, Any], path: Path) -> None:
    """Raise BadInput that lists every key whose value differs; of files, those known by both."""
    wanted = {k: v for k, v in wanted.items() if k in found or not k.startswith(OF_FILE)}
    pairs = differences(_comparable(found), _comparable(wanted))
    differing = [f"    {key}: {there!r} there, {here!r} here" for key, there, here in pairs]
    what = "the checkpoint does not match this run:\n" + "\n".join(differing)
    require(not differing, what, "the same settings and data", where=path, remedy=REMEDY)


def _comparable(identity: Mapping[str, Any]) -> dict[str, Any]:
    """With the provenance of descriptors or features, `of <key>`, under the keys of today."""
    prefix = next((p for p in OF if any(key.startswith(p) for key in identity)), OF[-1])
    made = {k.removeprefix(prefix): v for k, v in identity.items() if k.startswith(prefix)}
    rest = {k: v for k, v in identity.items() if not k.startswith(prefix)}
    return {**rest, **{f"{prefix}{key}": value for key, value in comparable(made).items()}}


def memory(device: torch.device) -> dict[str, float]:
    """Peak memory of this process and of its GPU, in MiB."""
    found = {"memory_mib": round(peak_memory_mib(), 1)}
    if device.type == "cuda":
        found["device_memory_mib"] = round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
    return found


class Watch:
    """Writes metrics, but for `writes` off. Raises BadInput where TensorBoard is not installed."""

    def __init__(
        self, folder: Path, step: int, *, writes: bool = True, tensorboard: bool = False
    ) -> None:
        self.writes, self.path = writes, folder / "log.jsonl"
        self._board = _open_tensorboard(folder, step) if writes and tensorboard else None
        path = self.path if writes else os.devnull
        self._file = open(path, "ab", buffering=0)  # nothing is left to be written when it closes

    def line(self, figures: Mapping[str, Any]) -> None:
        """A line of the log."""
        with explain_write_errors(self.path):
            self._file.write(f"{json_line(figures)}\n".encode())
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
        return progress_bar(total, name, "batch", initial=done, shown=self.writes)


def advance(bar: Any, seen: Sequence[Sequence[float]], rate: float | None = None) -> None:
    """One step more. seen: of the epoch's steps, loss and accuracy first; rate: triplets/s."""
    loss, accuracy = np.mean(seen[-RECENT:], axis=0)[:2]
    more = {} if rate is None else {"triplets": f"{rate:.0f}/s"}
    bar.set_postfix(loss=f"{loss:.3f}", accuracy=f"{accuracy:.3f}", **more, refresh=False)
    bar.update()


def _open_tensorboard(folder: Path, step: int) -> Any:
    """A writer of TensorBoard's files; steps from `step` on are written anew."""
    what = "tensorboard=true, and TensorBoard is not installed"
    expected = "the extra: pip install 'ames_lite[tensorboard]'"
    remedy = "tensorboard=false: log.jsonl has every figure"
    with explained(what, ImportError, expected=expected, remedy=remedy):
        from torch.utils.tensorboard import SummaryWriter  # needs the package tensorboard
    return SummaryWriter(str(folder / "tensorboard"), purge_step=step)
