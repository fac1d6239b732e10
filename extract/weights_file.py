"""Published weights: a file of named tensors, read without trust.

In: a `.pth`, `.pyth` or `.pt` whose content is a state, plain or under "state" or "model_state".
Out: the state. Nothing of the file is run: it is read as weights alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ames_lite.errors import BadInput, MissingFile
from ames_lite.io.checkpoint import UNREADABLE

STATE_KEYS = ("state", "model_state")


def read_state(path: str | Path, expected: str) -> dict[str, Tensor]:
    """The tensors by name. Raises MissingFile, or BadInput where the file holds something else.

    expected: what the file should be, for messages.
    """
    if not Path(path).is_file():
        raise MissingFile("a file of weights is missing", where=path, expected=expected)
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        said = str(error).strip().split("\n")[0]
        what = f"cannot be read as weights alone: {type(error).__name__}: {said}"
        raise BadInput(what, where=path, expected=expected) from error
    state = _inner(content)
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise BadInput("holds something else than named tensors", where=path, expected=expected)
    return {str(name): value for name, value in state.items()}


def _inner(content: Any) -> Any:
    """What may be the state: below the first of the keys that there is, else all of it."""
    for key in STATE_KEYS if isinstance(content, Mapping) else ():
        if key in content:
            return content[key]
    return content
