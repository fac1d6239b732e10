"""DINOv2 weights: from the hub's cache, a local folder or an original `.pth` into transformers.

In: a variant and where its weights are. Out: the transformers model, whose every weight came from
the file, and the file's digest. The one owner of transformers and huggingface_hub.

The convention to know: nothing is random by accident. Keys and shapes are checked after loading,
and a missing, surplus or misshapen one is an error (but for mask_token, which only pre-training
uses). The cache is asked first; without a network the answer comes within two seconds.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ames_lite.errors import BadInput, ConfigError, MissingFile
from ames_lite.io.digest import file_digest
from extract.dinov2_variants import Variant, original_shapes, originals_to_transformers
from extract.weights_file import read_state

logger = logging.getLogger(__name__)

UNUSED = "embeddings.mask_token"  # a weight that plays no part in features
CONFIG, WEIGHTS = "config.json", "model.safetensors"
DEFAULTS = {  # of transformers, for what a configuration leaves out
    **{"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "mlp_ratio": 4},
    **{"use_swiglu_ffn": False, "num_register_tokens": 4, "layer_norm_eps": 1e-6},
}
PROBE = "import urllib.request as u; u.urlopen('https://huggingface.co', timeout=1.2)"
PROBE_SECONDS = 1.3


def load_network(variant: Variant, weights: str | Path | None = None) -> tuple[nn.Module, str]:
    """The network in float32 and eval mode, and the SHA-256 of the file that it came from.

    weights: an original `.pth`, a transformers folder, or None for the hub (its cache first).
    Raises MissingFile with what to download and where to put it, and BadInput where the file is
    not of that variant or not all of it.
    """
    if weights is not None and not Path(weights).expanduser().exists():
        raise _missing(variant, Path(weights))
    _require_transformers()
    path = _from_hub(variant) if weights is None else Path(weights).expanduser()
    if path.is_dir():
        return _from_folder(path, variant).float().eval(), file_digest(path / WEIGHTS)
    network = _filled(read_state(path, _expected(variant)), variant, path)
    return network.float().eval(), file_digest(path)


def random_network(variant: Variant, seed: int) -> nn.Module:
    """A network whose weights are drawn from the seed: for tests, it has learned nothing."""
    _require_transformers()
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in sorted(original_shapes(variant).items()):
        noise = torch.randn(shape, generator=generator)
        matrix = name.endswith("weight") and len(shape) > 1
        one = float("norm" in name and name.endswith("weight"))
        state[name] = noise / shape[1] ** 0.5 if matrix else one + 0.1 * noise
    return _filled(state, variant, f"seed {seed}").float().eval()


def _classes(variant: Variant) -> tuple[Any, Any]:
    """The model's and the configuration's class."""
    import transformers

    if variant.registers:
        return transformers.Dinov2WithRegistersModel, transformers.Dinov2WithRegistersConfig
    return transformers.Dinov2Model, transformers.Dinov2Config


def _filled(state: Mapping[str, Tensor], variant: Variant, path: str | Path) -> nn.Module:
    """A model that holds a state under the original names, and nothing else."""
    model_class, config_class = _classes(variant)
    with torch.device("meta"):  # nothing is drawn that the file replaces
        network: nn.Module = model_class(config_class(**variant.config))
    wanted = network.state_dict()
    found = originals_to_transformers(state, wanted)
    if UNUSED in wanted:
        found.setdefault(UNUSED, torch.zeros(wanted[UNUSED].shape))
    _refuse(
        path,
        _expected(variant),
        missing=wanted.keys() - found.keys(),
        unexpected={name for name in found.keys() - wanted.keys() if name != "mask_token"},
        mismatched={n for n in found.keys() & wanted.keys() if found[n].shape != wanted[n].shape},
    )
    network.load_state_dict({name: found[name].clone() for name in wanted}, assign=True)
    assert not any(value.is_meta for value in (*network.parameters(), *network.buffers()))
    return network


def _expected(variant: Variant) -> str:
    return f"the original weights {variant.original}, or a transformers folder of {variant.hub}"


def _from_folder(folder: Path, variant: Variant) -> nn.Module:
    """Load a transformers folder, and check that all of it is what the variant needs."""
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise _missing(variant, folder / name)
    expected = _expected(variant)
    _check_config(folder / CONFIG, variant, expected)
    try:
        network, info = _classes(variant)[0].from_pretrained(
            folder, local_files_only=True, output_loading_info=True, ignore_mismatched_sizes=True
        )
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        said = str(error).strip().split("\n")[0]
        raise BadInput(f"does not load: {said}", where=folder, expected=expected) from error
    kinds = ("missing", "unexpected", "mismatched")
    faults = {kind: _names(info.get(f"{kind}_keys") or ()) for kind in kinds}
    _refuse(folder, expected, **faults, unreadable=map(str, info.get("error_msgs") or ()))
    loaded: nn.Module = network
    return loaded


def _check_config(path: Path, variant: Variant, expected: str) -> None:
    """Raises BadInput where the folder's configuration is of another network."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BadInput("is no JSON", where=path, expected=expected) from error
    kind = "dinov2_with_registers" if variant.registers else "dinov2"
    wanted = {"model_type": kind, **variant.config}
    for key, value in wanted.items():
        came = config.get(key, DEFAULTS.get(key)) if isinstance(config, dict) else None
        if came != value:
            raise BadInput(f"{key} is {came!r}", where=path, expected=f"{value!r}: {expected}")


def _names(keys: Iterable[Any]) -> set[str]:
    """The names in a list of keys; what is misshapen is listed as (name, shape, shape)."""
    names = {key if isinstance(key, str) else str(key[0]) for key in keys}
    return {name for name in names if not name.endswith("mask_token")}


def _refuse(path: str | Path, expected: str, **faults: Iterable[str]) -> None:
    """Raises BadInput that lists what is missing, unexpected or mismatched."""
    listed = [
        f"{len(names)} weights are {word}: {', '.join(names[:3])}{', …' if names[3:] else ''}"
        for word, names in ((word, sorted(names)) for word, names in faults.items())
        if names
    ]
    if listed:
        raise BadInput("; ".join(listed), where=path, expected=expected)


def _require_transformers() -> None:
    if importlib.util.find_spec("transformers") is None:
        raise ConfigError(
            "DINOv2 needs the package transformers, which is not installed",
            remedy="python -m pip install -r requirements.txt",
        )


def _from_hub(variant: Variant) -> Path:
    """The folder in the hub's cache; downloaded where it is absent and the hub answers."""
    from huggingface_hub import constants, errors, snapshot_download, try_to_load_from_cache

    assert variant.hub is not None
    cache = Path(constants.HF_HUB_CACHE)
    cached = [try_to_load_from_cache(variant.hub, name) for name in (CONFIG, WEIGHTS)]
    if all(isinstance(path, str) for path in cached):
        return Path(str(cached[0])).parent
    if not hub_answers():
        raise _missing(variant, cache)
    logger.info("downloading %s from the Hugging Face hub", variant.hub)
    try:
        return Path(snapshot_download(variant.hub, allow_patterns=[CONFIG, WEIGHTS]))
    except (OSError, errors.HfHubHTTPError) as error:
        raise _missing(variant, cache) from error


def hub_answers() -> bool:
    """Whether the hub can be reached, within two seconds: a name server may hang for longer."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return False
    try:
        done = subprocess.run(
            [sys.executable, "-c", PROBE], capture_output=True, timeout=PROBE_SECONDS
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def _missing(variant: Variant, where: Path) -> MissingFile:
    return MissingFile(
        f"the weights of {variant.hub} are missing, and the hub was not reached or not asked",
        where=where,
        expected=f"{CONFIG} and {WEIGHTS} of a transformers folder, or the original .pth",
        remedy=(
            f"on a machine with a network `hf download {variant.hub} {CONFIG} {WEIGHTS} "
            f"--local-dir <folder>`, or download {variant.original}; then give "
            "backbone.arguments.weights=<that folder or file>"
        ),
    )
