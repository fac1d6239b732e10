"""The state of a run that can go on: `last.pt`, and interruptions that wait for the end of a step.

In and out: the detector under "state", as in published files (so `last.pt` is a detector that
loads), criterion, optimizer, counters, curve, and as JSON what the run was made by and on. Read as
weights alone, nothing of the file is run.
"""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from ames_lite.errors import BadInput
from ames_lite.extraction.backbones.detector import as_bytes
from ames_lite.io.checkpoint import UNREADABLE
from ames_lite.io.json_file import parse_json
from ames_lite.io.provenance import comparable, compare_provenance
from ames_lite.io.writing import replacing

EXPECTED = "the state of a detector's training"
KEYS = {
    *("identity", "state", "criterion", "optim", "epoch", "step", "seen", "curve"),
    *("baselines", "log_bytes"),
}


def write_last(path: Path, identity: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Write the state whole; one that is there is replaced at the end."""
    text = json.dumps(dict(identity), sort_keys=True)
    with replacing(path, overwrite=True) as partial:
        partial.write_bytes(as_bytes({"identity": text, **state}))


def read_last(path: Path, identity: Mapping[str, Any]) -> dict[str, Any]:
    """The state. Raises BadInput where it is none, or of another recipe, data set or backbone."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        said = str(error).strip().split("\n")[0]
        raise BadInput(f"does not load: {said}", where=path, expected=EXPECTED) from error
    if not isinstance(content, dict) or content.keys() != KEYS:
        raise BadInput("holds something else", where=path, expected=EXPECTED)
    found = _comparable(parse_json(content.pop("identity"), path, EXPECTED))
    wanted = _comparable(json.loads(json.dumps(dict(identity))))
    remedy = "go on with the same settings, or give another output_dir="
    compare_provenance(found, wanted, files=(path, "this run"), remedy=remedy)
    return content


def _comparable(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Its provenance of the backbone, `of <key>`, under the keys of today."""
    made = {key[3:]: value for key, value in identity.items() if key.startswith("of ")}
    rest = {key: value for key, value in identity.items() if not key.startswith("of ")}
    return {**rest, **{f"of {key}": value for key, value in comparable(made).items()}}


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Within: the first SIGINT is only noted, for the end of a step; a second one interrupts.

    Yields a function that tells whether one came. Outside of the main thread signals are not seen.
    """
    noted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield noted.is_set
        return
    before = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: FrameType | None) -> None:
        if noted.is_set():
            raise KeyboardInterrupt
        noted.set()

    signal.signal(signal.SIGINT, note)
    try:
        yield noted.is_set
    finally:
        signal.signal(signal.SIGINT, before)
