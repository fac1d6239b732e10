"""The published detector: which patches of a feature map are worth keeping, and their descriptors.
One trained here has a `meta.json` beside it, which says what features it is for.
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from ames_lite.errors import require
from ames_lite.io import remedies
from ames_lite.io.digest import file_digest
from ames_lite.io.json_file import read_json_file, write_json_file
from ames_lite.io.provenance import Made, compare_provenance
from ames_lite.io.weights_file import fill_network, read_state, write_tensors

EXPECTED = "the state of SpatialAttention2d: conv1, bn and conv2, plain or under 'state'"
EMPTY: Made = {}
KIND = "SpatialAttention2d"
SAME_FEATURES = ("backbone", "variant", "weights", "facet", "layer")  # what a detector is for


class SpatialAttention2d(nn.Module):
    """1×1 convolution → BatchNorm: the descriptor; → ReLU → 1×1 convolution → softplus: weight."""

    def __init__(self, dim_in: int, dim: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(dim_in, dim, 1)
        self.bn = nn.BatchNorm2d(dim, eps=1e-5)
        self.conv2 = nn.Conv2d(dim, 1, 1)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """features [B, C, h, w]; returns unit descriptors [B, D, h, w] and weights [B, 1, h, w]."""
        hidden = self.bn(self.conv1(features))
        weight = functional.softplus(self.conv2(functional.relu(hidden)))
        return functional.normalize(hidden, dim=1), weight


def load_detector(path: str | Path, dim_in: int, made: Made = EMPTY) -> SpatialAttention2d:
    """The detector of a file, in eval mode, for features of width dim_in. MissingFile, BadInput."""
    state = read_state(path, EXPECTED)
    check_detector(path, made)
    dim = state["bn.weight"].numel() if "bn.weight" in state else 1
    with torch.device("meta"):
        detector = SpatialAttention2d(dim_in, max(1, dim))
    return fill_network(detector, state, path, f"{EXPECTED}, for features of width {dim_in}")


def save_detector(path: str | Path, detector: SpatialAttention2d | None, meta: Made) -> Path:
    """Write or replace a detector as {"state": …}, and its meta.json; None: the meta alone."""
    path = Path(path)
    if detector is not None:
        path.with_name("meta.json").unlink(missing_ok=True)  # never beside a file of others
        state = {name: value.detach().cpu() for name, value in detector.state_dict().items()}
        write_tensors(path, {"state": state})
    record = {"schema": 1, "kind": KIND, **meta, "detector_sha256": file_digest(path)}
    write_json_file(path.with_name("meta.json"), record)
    return path


def check_detector(path: str | Path, made: Made) -> None:
    """Raises BadInput where the meta.json beside a detector says that it is for other features. A
    file without meta, or that the meta does not know, passes, but for a `last.pt`.
    """
    path = Path(path)
    beside = path.with_name("meta.json")
    meta = read_json_file(beside, "the meta of a detector") if beside.is_file() else None
    if not isinstance(meta, dict) or meta.get("kind") != KIND:  # none, or JSON of something else
        return
    known = meta.get("detector_sha256") == file_digest(path)
    what = "detector.pt is not the file that meta.json was written with"
    remedy = "resume its training, or remove a meta.json of another file"
    fits = known or path.name != "detector.pt"
    require(fits, what, f"sha256 {meta.get('detector_sha256')}", where=path, remedy=remedy)
    if not known and path.name != "last.pt":
        return
    fine = isinstance(meta.get("backbone"), dict)
    require(fine, "has no 'backbone'", "the meta of a detector", where=beside)
    keys = [key for key in SAME_FEATURES if key in made]
    remedy = "the backbone= and arguments that the detector was trained with, or a detector "
    remedy += f"trained for these ({remedies.DETECTOR})"
    files = (beside, "the backbone that is to use it")
    compare_provenance(meta["backbone"], made, keys, files=files, remedy=remedy)
