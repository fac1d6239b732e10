"""An image with something to say about each of its descriptors: what the overlays draw.

Positions are x, y in [0, 1] of the whole image; an image is shrunk by whole factors before it is
drawn, since a page shows some hundred pixels of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput
from ames_lite.evaluation.views.lattice import MIN_POINTS, find_cells

Floats = npt.NDArray[np.floating]
Box = tuple[float, float, float, float]

MARKS = ("auto", "cells", "circles")
LONGEST = 800  # pixels of a picture's longer side, about


@dataclass(frozen=True, eq=False)
class Marked:
    """One image: image uint8 [H, W, 3]; xy [K, 2] in [0, 1]; values [K], clusters or weights.

    scale [K]: index of the scale of each descriptor, None: all of one. name: its caption. box:
    (x1, y1, x2, y2) in [0, 1], a crop to outline. K may be 0. Raises BadInput where shapes do not
    fit, values are not finite, or positions leave the image.
    """

    image: npt.NDArray[np.uint8]
    xy: Floats
    values: npt.NDArray[np.number]
    scale: npt.NDArray[np.integer] | None = None
    name: str = ""
    box: Box | None = None

    def __post_init__(self) -> None:
        image, k = self.image, len(self.values)
        picture = image.ndim == 3 and image.shape[2] == 3 and image.size > 0
        if not picture or image.dtype != np.uint8:
            raise BadInput(
                f"an image is {image.shape} ({image.dtype})", where=self.name, expected="[H, W, 3]"
            )
        scale = np.zeros(k, np.uint8) if self.scale is None else self.scale
        came = (self.xy.shape, self.values.shape, scale.shape)
        if came != ((k, 2), (k,), (k,)):
            raise BadInput(
                f"xy, values and scale have the shapes {', '.join(map(str, came))}",
                where=self.name,
                expected="[K, 2], [K] and [K]",
            )
        inside = bool(np.isfinite(self.xy).all() and (self.xy >= 0).all() and (self.xy <= 1).all())
        if not inside or not np.isfinite(self.values).all():
            raise BadInput(
                "positions or values are not finite, or leave the image",
                where=self.name,
                expected="x, y in [0, 1] and finite values",
            )
        object.__setattr__(self, "scale", scale)

    def cells(self, marks: str) -> npt.NDArray[np.float64] | None:
        """Sides [K, 2] of the patches, as shares of the image; None: draw circles.

        marks: auto (by the positions), cells or circles. Raises BadInput for another one, and
        where cells are asked for and the positions are on no grid.
        """
        if marks not in MARKS:
            raise BadInput(f"marks are '{marks}'", expected=f"one of {', '.join(MARKS)}")
        if marks == "circles" or len(self.xy) == 0:
            return None
        assert self.scale is not None
        found = find_cells(self.xy, self.scale)
        if found is None and marks == "cells":
            raise BadInput(
                "the descriptors are on no grid of patches",
                where=self.name,
                expected=f"at least {MIN_POINTS} of a dense backbone",
                remedy="marks=circles",
            )
        return found


def shrink(image: npt.NDArray[np.uint8], longest: int = LONGEST) -> npt.NDArray[np.uint8]:
    """An image [H, W, 3] with a longer side near `longest`: means of whole blocks of pixels.

    A small one is returned as it is; the last rows and columns that fill no block are left out.
    """
    factor = max(image.shape[:2]) // longest
    if factor < 2 or min(image.shape[:2]) < factor:
        return image
    height, width = (side // factor for side in image.shape[:2])
    blocks = image[: height * factor, : width * factor].reshape(height, factor, width, factor, 3)
    return blocks.mean(axis=(1, 3)).round().astype(np.uint8)


def dimmed(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The image in grey, dark and with less contrast: a ground that colours show on."""
    grey = image.astype(np.float64) @ [0.299, 0.587, 0.114]
    dark = (25 + 0.42 * grey).round().astype(np.uint8)
    return np.repeat(dark[..., None], 3, axis=2)
