"""The checkpoint that a training run is resumed from: `last.pt`.

It holds the parameters under "state" (as in published files), optimizer, progress, curve, and as
JSON the run's identity: the settings and data under which alone it is resumed.
"""

import json
import math
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from ames_lite.errors import BadInput
from ames_lite.io.json_file import parse_json
from ames_lite.io.provenance import comparable, differences
from ames_lite.io.weights_file import load_weights, write_tensors
from ames_lite.io.writing import replacing

NAME = "last.pt"
EXPECTED = "the checkpoint of a training run"
REMEDY = "resume with the same settings, or begin anew in another output_dir="
KEYS = frozenset({"identity", "step", "seen", "curve", "log_bytes"})  # of every run
OF = ("of descriptors: ", "of ")  # before the keys of provenance in an identity


def write_state(path: Path, identity: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Write the checkpoint, atomically. Raises BadInput where the disk is full."""
    content = {"identity": json.dumps(dict(identity), sort_keys=True), **state}
    write_tensors(path, content)


def read_state(path: Path, identity: Mapping[str, Any], keys: Set[str]) -> dict[str, Any]:
    """The checkpoint, with `keys` beside KEYS. Raises BadInput for another file or identity."""
    content = load_weights(path, EXPECTED)
    if not isinstance(content, dict) or content.keys() != KEYS | keys:
        raise BadInput("holds something else", where=path, expected=EXPECTED)
    found = parse_json(content.pop("identity"), path, EXPECTED)
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
    """Raise BadInput that lists every key whose value differs."""
    differing = [
        f"    {key}: {there!r} there, {here!r} here"
        for key, there, here in differences(_comparable(found), _comparable(wanted))
    ]
    if differing:
        what = "the checkpoint does not match this run:\n" + "\n".join(differing)
        raise BadInput(what, where=path, expected="the same settings and data", remedy=REMEDY)


def _comparable(identity: Mapping[str, Any]) -> dict[str, Any]:
    """With the provenance of descriptors or features, `of <key>`, under the keys of today."""
    prefix = next((p for p in OF if any(key.startswith(p) for key in identity)), OF[-1])
    made = {k.removeprefix(prefix): v for k, v in identity.items() if k.startswith(prefix)}
    rest = {k: v for k, v in identity.items() if not k.startswith(prefix)}
    return {**rest, **{f"{prefix}{key}": value for key, value in comparable(made).items()}}
