"""Networks of transformers, from the hub or a local folder, checked key by key: the one owner of
transformers and huggingface_hub.
"""

import contextlib
import logging
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ames_lite.errors import BadInput, ConfigError, MissingFile, explained
from ames_lite.io.digest import file_digest
from ames_lite.io.json_file import read_json_file
from ames_lite.io.weights_file import refuse_keys

logger = logging.getLogger(__name__)

CONFIG, WEIGHTS = "config.json", "model.safetensors"
HOW = {"local_files_only": True, "output_loading_info": True, "ignore_mismatched_sizes": True}
PROBE = "import urllib.request as u; u.urlopen('https://huggingface.co', timeout=1.2)"
PROBE_SECONDS = 1.3


@dataclass(frozen=True)
class Checkpoint:
    """A published vision transformer: its shape, and what its transformers folder must hold."""

    title: str  # for messages
    model: str  # the class in transformers
    model_type: str  # what config.json must say
    dim: int  # width of the tokens
    depth: int  # number of blocks
    heads: int
    patch: int  # pixels a side
    more: Mapping[str, Any]  # of `config`
    section: str | None = None  # the key of config.json that may hold the network's part
    hub: str | None = None  # the repository
    gated: bool = False  # whether access has to be requested
    original: str | None = None  # URL of the original file, which may be given instead
    unused: tuple[str, ...] = ()  # endings of names of weights that features do without
    beside: tuple[str, ...] = ()  # beginnings of those of other networks

    @property
    def config(self) -> dict[str, Any]:
        """What config.json must say, or leave to transformers' defaults."""
        sizes = {"hidden_size": self.dim, "num_hidden_layers": self.depth}
        sizes |= {"num_attention_heads": self.heads, "patch_size": self.patch}
        return {**sizes, **self.more}

    @property
    def registers(self) -> int:
        """Tokens between CLS and the patches."""
        return int(self.more.get("num_register_tokens", 0))

    @property
    def config_class(self) -> str:
        return f"{self.model.removesuffix('Model')}Config"

    @property
    def expected(self) -> str:
        """In words, for messages."""
        folder = f"a transformers folder of {self.hub}"
        return f"the original weights {self.original}, or {folder}" if self.original else folder


def load_pretrained(checkpoint: Checkpoint, weights: str | Path | None) -> tuple[nn.Module, str]:
    """The network in float32 and eval mode, and the SHA-256 of its file of weights. weights: a
    transformers folder, or None for the hub (its cache first). Raises MissingFile with what to
    download, BadInput.
    """
    folder = from_hub(checkpoint) if weights is None else Path(weights).expanduser()
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise missing(checkpoint, folder / name if folder.is_dir() else folder)
    expected = checkpoint.expected
    _check_config(folder / CONFIG, checkpoint)
    model = transformers_class(checkpoint.model)
    with explained("does not load: {}", Exception, where=folder, expected=expected), _quiet():
        _check_sizes(model, folder)
        network, info = model.from_pretrained(folder, **HOW)
    kinds = ("missing", "unexpected", "mismatched")
    faults = {kind: _names(info.get(f"{kind}_keys") or (), checkpoint) for kind in kinds}
    refuse_keys(folder, expected, **faults, unreadable=map(str, info.get("error_msgs") or ()))
    return network.float().eval(), file_digest(folder / WEIGHTS)


def save_pretrained(network: Any, folder: Path) -> Path:
    """Write a transformers folder that `load_pretrained` takes; returns the file of weights."""
    with _quiet():
        network.save_pretrained(folder)
    return folder / WEIGHTS


def transformers_class(name: str) -> Any:
    """A class of transformers. Raises ConfigError where it is not installed or has none."""
    remedy = "python -m pip install -r requirements.txt"
    try:
        import transformers
    except ImportError as error:
        raise ConfigError("the package transformers is not installed", remedy=remedy) from error
    found = getattr(transformers, name, None)
    if found is None:
        raise ConfigError(f"transformers {transformers.__version__} has no {name}", remedy=remedy)
    return found


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' table of keys: what it lists is checked here, and refused by name."""
    talker = logging.getLogger("transformers")
    before = talker.level
    talker.setLevel(logging.ERROR)
    try:
        yield
    finally:
        talker.setLevel(before)


def _check_config(path: Path, checkpoint: Checkpoint) -> None:
    expected = checkpoint.expected
    config = read_json_file(path, expected)
    config = config if isinstance(config, dict) else {}
    part = config.get(checkpoint.section, config) if checkpoint.section else config
    silent = transformers_class(checkpoint.config_class)()  # what it takes for what is left out
    for key, value in {"model_type": checkpoint.model_type, **checkpoint.config}.items():
        came = part.get(key, getattr(silent, key, None)) if isinstance(part, dict) else None
        if came != value:
            raise BadInput(f"{key} is {came!r}", where=path, expected=f"{value!r}: {expected}")


def _check_sizes(model: Any, folder: Path) -> None:
    """Raise ValueError where the network of config.json has more numbers than the weights bytes."""
    config = model.config_class.from_pretrained(folder)
    with torch.device("meta"):
        network = model(config)
    numbers = sum(part.numel() for part in (*network.parameters(), *network.buffers()))
    if numbers > (folder / WEIGHTS).stat().st_size:
        raise ValueError(f"{CONFIG} is of a network of {numbers} numbers, more than the weights")


def _names(keys: Iterable[Any], checkpoint: Checkpoint) -> set[str]:
    """Names of weights that matter; mismatched ones are listed as (name, shape, shape)."""
    names = {key if isinstance(key, str) else str(key[0]) for key in keys}
    kept = {name for name in names if not name.endswith(checkpoint.unused)}
    return {name for name in kept if not name.startswith(checkpoint.beside)}


def from_hub(checkpoint: Checkpoint) -> Path:
    """The folder in the hub's cache; downloaded where it is absent and the hub answers."""
    from huggingface_hub import constants, errors, snapshot_download, try_to_load_from_cache

    assert checkpoint.hub is not None
    cache = Path(constants.HF_HUB_CACHE)
    cached = [try_to_load_from_cache(checkpoint.hub, name) for name in (CONFIG, WEIGHTS)]
    if all(isinstance(path, str) for path in cached):
        return Path(str(cached[0])).parent
    if not hub_answers():
        raise missing(checkpoint, cache)
    logger.info("downloading %s from the Hugging Face hub", checkpoint.hub)
    try:
        return Path(snapshot_download(checkpoint.hub, allow_patterns=[CONFIG, WEIGHTS]))
    except (OSError, errors.HfHubHTTPError) as error:
        raise missing(checkpoint, cache) from error


def hub_answers() -> bool:
    """Whether the hub can be reached, within two seconds: a name server may hang for longer."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return False
    probe = [sys.executable, "-c", PROBE]
    try:
        return not subprocess.run(probe, capture_output=True, timeout=PROBE_SECONDS).returncode
    except subprocess.TimeoutExpired:
        return False


def missing(checkpoint: Checkpoint, where: str | Path) -> MissingFile:
    """The error that says what to download and where to put it."""
    hub, original = checkpoint.hub, checkpoint.original
    what = f"the weights of {hub} are missing, and the hub was not reached or not asked"
    expected, given = f"{CONFIG} and {WEIGHTS} of a transformers folder", "<that folder>"
    download = f"`hf download {hub} {CONFIG} {WEIGHTS} --local-dir <folder>`"
    if original:
        expected, given = f"{expected}, or the original .pth", "<that folder or file>"
        download += f", or download {original}"
    remedy = f"on a machine with a network {download}; then give backbone.arguments.weights={given}"
    if checkpoint.gated:
        page = f"https://huggingface.co/{hub}"
        remedy = f"access has to be requested first at {page} (`hf auth login`); then {remedy}"
    return MissingFile(what, where=where, expected=expected, remedy=remedy)
