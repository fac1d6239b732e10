"""The state of a run that can go on: `last.pt`.

In and out: the head's parameters under "state" (as in published files), optimizer, scaler, where
the run stands, its curve, and as JSON what the run was made by and on (its identity). Read as
weights alone, nothing of the file is run. It appears whole, in place of the one before it.

The convention to know: a state goes on only under the identity that it was written with; where they
differ, every difference is listed.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

try:
    import fcntl
except ImportError:  # Windows: nothing is locked there
    fcntl = None  # type: ignore[assignment]

from ames_lite.errors import BadInput
from ames_lite.io.checkpoint import UNREADABLE
from ames_lite.io.json_file import parse_json
from ames_lite.io.writing import replacing

NAME = "last.pt"
LOCK = ".lock"  # of the process that trains in the folder
EXPECTED = "the state of a head's training"
REMEDY = "go on with the same settings, or begin anew in another output_dir="
KEYS = {
    *("identity", "state", "optim", "scaler", "sampler", "step", "seen", "curve", "log_bytes"),
}
ABSENT = "absent"


def write_state(path: Path, identity: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Write the state whole; one that is there stays intact until the new one is.

    Raises BadInput where there is no room.
    """
    content = {"identity": json.dumps(dict(identity), sort_keys=True), **state}
    assert content.keys() == KEYS, content.keys() ^ KEYS
    stream = io.BytesIO()  # written in one go, no file name in it
    torch.save(content, stream)
    with replacing(path, overwrite=True) as partial:
        partial.write_bytes(stream.getbuffer())


def read_state(path: Path, identity: Mapping[str, Any]) -> dict[str, Any]:
    """The state. Raises BadInput where it is none, or of another identity."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        said = str(error).strip().split("\n")[0]
        raise BadInput(f"does not load: {said}", where=path, expected=EXPECTED) from error
    if not isinstance(content, dict) or content.keys() != KEYS:
        raise BadInput("holds something else", where=path, expected=EXPECTED)
    found = parse_json(content.pop("identity"), path, EXPECTED)
    refuse_differences(found, json.loads(json.dumps(dict(identity))), path)
    return content


def write_curve(folder: Path, curve: Sequence[Mapping[str, Any]]) -> Path:
    """`epochs.jsonl`: a line an epoch; returns its path. What is not a number is null."""
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
    """Raise BadInput that lists every key whose value differs."""
    differing = [
        f"    {key}: {found.get(key, ABSENT)!r} there, {wanted.get(key, ABSENT)!r} here"
        for key in sorted(found.keys() | wanted.keys())
        if found.get(key, ABSENT) != wanted.get(key, ABSENT)
    ]
    if differing:
        what = "the run to go on with was made otherwise:\n" + "\n".join(differing)
        raise BadInput(what, where=path, expected="the same settings and data", remedy=REMEDY)


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Within: no other process trains in a run directory. Raises BadInput where one does.

    The system lets go of it when a process ends, however it ends.
    """
    if fcntl is None:
        yield
        return
    with (folder / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            what = "another process trains in this run directory"
            raise BadInput(what, where=folder, expected="another output_dir=") from error
        yield


def is_held(folder: Path) -> bool:
    """Whether a process trains in a run directory."""
    try:
        with held(folder):
            return False
    except BadInput:
        return True
