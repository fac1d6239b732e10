"""Published weights: a file of named tensors, read without trust.

In: a `.pth` or `.pt` whose content is a state, plain or under "state". Out: the state. Nothing of
the file is run: it is read as weights alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ames_lite.errors import BadInput, MissingFile
from ames_lite.io.checkpoint import UNREADABLE


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
    state = content.get("state", content) if isinstance(content, Mapping) else content
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise BadInput("holds something else than named tensors", where=path, expected=expected)
    return {str(name): value for name, value in state.items()}
