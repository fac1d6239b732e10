"""CVNet as a backbone: local features of stage 3 at three scales, and the GeM descriptor.

No hub has the weights: their path must be given.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ames_lite.errors import MissingFile, require
from ames_lite.extraction.backbones.cvnet_network import STRIDE, CvnetNetwork, Shape
from ames_lite.extraction.backbones.map_backbone import MapBackbone, MapOptions, require_text
from ames_lite.io.digest import file_digest
from ames_lite.io.images import Box
from ames_lite.io.resizing import Prepared, View
from ames_lite.io.weights_file import fill_network, read_state

logger = logging.getLogger(__name__)

EXPECTED = "the state of CVNet's ResNet, plain or under 'state' or 'model_state'"
WRAPPED = "module."  # what DataParallel puts before every name
ENCODER = "encoder_q."  # in the published file, which holds CVNet's reranking network too
RESNETS: dict[tuple[int, ...], str] = {
    (3, 4, 6, 3): "ResNet-50",
    (3, 4, 23, 3): "ResNet-101",
    (3, 8, 36, 3): "ResNet-152",
}


class Cvnet(MapBackbone):
    """Stage 3 of CVNet's ResNet, chosen by a detector or by the norm; weights load on first use."""

    name = "cvnet"
    facet = "stage 3 before its ReLU"
    layer = None

    defaults = MapOptions(scales=(0.7071, 1.0, 1.4142))

    def __init__(
        self,
        weights: str | None = None,  # the published .pyth, or a state under its names; required
        depths: Sequence[int] = (3, 4, 23, 3),  # blocks of the four stages: ResNet-101
        width: int = 64,  # channels of the stem; other than published: for tests
        global_dim: int = 2048,
        channels: str = "bgr",  # the order that the network sees; or rgb
        **options: Any,  # of MapOptions
    ) -> None:
        require_text(weights=weights)
        require(channels in ("bgr", "rgb"), f"channels is {channels!r}", expected="bgr or rgb")
        self.weights, self.channels = weights, channels
        self.shape = Shape(tuple(depths), width, global_dim)
        self.variant = RESNETS.get(self.shape.depths, f"ResNet {list(self.shape.depths)}")
        super().__init__(
            self.shape.local_dim,
            patch=1,  # any size
            global_kind="gem",
            global_dim=self.shape.dim,
            **options,
        )

    @property
    def provenance(self) -> dict[str, Any]:
        return {**super().provenance, "channels": self.channels}

    def _network(self) -> tuple[nn.Module, str]:
        return load_cvnet(self.weights, self.shape)

    def _pixels(self, batch: Sequence[Prepared]) -> list[Tensor]:
        pixels = super()._pixels(batch)
        return [planes.flip(1) for planes in pixels] if self.channels == "bgr" else pixels

    def _region(self, view: View) -> Box:
        """The grid of cells reaches half a cell over the image's edges."""
        x1, y1, x2, y2 = view.region
        height, width = view.pixels.shape[:2]
        left, right = _covered(width)
        top, bottom = _covered(height)
        across, down = x2 - x1, y2 - y1
        return (x1 + left * across, y1 + top * down, x1 + right * across, y1 + bottom * down)


def load_cvnet(weights: str | Path | None, shape: Shape) -> tuple[nn.Module, str]:
    """The network in float32 and eval mode, and the SHA-256 of its file.

    Names may begin with `module.`; where some begin with `encoder_q.`, only those are used. Raises
    MissingFile, and BadInput where the file is not the whole of that network.
    """
    if weights is None or not Path(weights).expanduser().is_file():
        raise MissingFile(
            "the weights of CVNet are missing" if weights else "CVNet needs weights",
            where=weights,
            expected=f"{EXPECTED}, such as CVPR2022_CVNet_R101.pyth",
            remedy="download them from the page of CVNet (github.com/sungonce/CVNet), then give "
            "backbone.arguments.weights=<that file>",
        )
    path = Path(weights).expanduser()
    state = _encoder(read_state(path, EXPECTED), path)
    with torch.device("meta"):  # nothing is drawn that the file replaces
        network = CvnetNetwork(shape)
    expected = f"{EXPECTED}, {RESNETS.get(shape.depths, 'of the given depths')}"
    return fill_network(network, state, path, expected), file_digest(path)


def _encoder(state: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    plain = {name.removeprefix(WRAPPED): value for name, value in state.items()}
    own = {n.removeprefix(ENCODER): v for n, v in plain.items() if n.startswith(ENCODER)}
    if own and len(own) < len(plain):
        logger.info("%s: %d weights beside %s* are not used", path, len(plain) - len(own), ENCODER)
    return own or plain


def _covered(side: int) -> tuple[float, float]:
    """Where the row of cells begins and ends, as fractions of a side of so many pixels.

    Cell i is centred on pixel 16·i of the resized image, whose own centre is 16·i + 1/2.
    """
    cells = -(-side // STRIDE)
    first = 0.5 - STRIDE / 2
    return first / side, (first + STRIDE * cells) / side
