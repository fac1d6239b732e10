"""From a decoded image to what a network of square patches sees: resized or centre-cropped views.

In: RGB uint8 [H, W, 3] and a crop box or None. Out: `Prepared`, one `View` a scale, whose sides are
multiples of the patch, and the region of the whole image that it shows.

The convention to know: the factor comes from the whole image, the crop is cut before resizing, and
the two sides are rounded separately, so a view may be stretched by half a patch. Positions are
mapped back through the region, which keeps them right.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from ames_lite.errors import BadInput
from ames_lite.io.images import Box, crop_image

METHODS = ("resize", "center_crop")
Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class View:
    """What the network sees: pixels [h, w, 3] uint8, and the region of the image they show.

    region: (x1, y1, x2, y2) in pixels of the whole image, not rounded.
    """

    pixels: Picture
    region: Box


@dataclass(frozen=True, eq=False)
class Prepared:
    """One image, ready for the network: its (height, width) on disk and a view for each scale."""

    size: tuple[int, int]
    views: tuple[View, ...]

    @property
    def shape(self) -> tuple[tuple[int, int], ...]:
        """(h, w) of every view: images of equal shape make a batch."""
        return tuple((view.pixels.shape[0], view.pixels.shape[1]) for view in self.views)

    @property
    def num_pixels(self) -> int:
        """Pixels of all views."""
        return sum(h * w for h, w in self.shape)


@dataclass(frozen=True)
class Preparation:
    """How images become views; small enough to be sent to a worker process.

    method      resize: stretched to multiples of the patch; center_crop: the centre is cut out
    image_size  longer side of the whole image at scale 1, enlarged too; 0: as on disk; or a pair
                (height, width), to which both sides of the whole image are stretched first
    patch       side of a patch in pixels
    scales      factors on top of image_size, one view each
    """

    method: str = "resize"
    image_size: int | tuple[int, int] = 770
    patch: int = 14
    scales: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise BadInput(f"resize method '{self.method}'", expected=f"one of {METHODS}")
        if self.patch < 1 or not _is_size(self.image_size, self.patch):
            raise BadInput(
                f"image_size is {self.image_size}",
                expected=f"0, or {self.patch} pixels and more, or such a pair [height, width]",
            )
        if not isinstance(self.image_size, int):
            object.__setattr__(self, "image_size", tuple(self.image_size))
        numbers = all(isinstance(s, int | float) and 0 < s < float("inf") for s in self.scales)
        if not numbers or not 1 <= len(self.scales) <= 256:
            raise BadInput(f"scales are {self.scales}", expected="1 to 256 numbers above 0")
        object.__setattr__(self, "scales", tuple(float(scale) for scale in self.scales))

    def __call__(self, image: Picture, box: Box | None = None) -> Prepared:
        """The views of an image [H, W, 3], or of its crop box.

        Raises BadInput where the box leaves nothing of the image, and for center_crop where the
        image is smaller than a patch.
        """
        height, width = image.shape[:2]
        crop, region = crop_image(image, box)
        down, across = self._factors(height, width)
        views = tuple(self._view(crop, region, (down * s, across * s)) for s in self.scales)
        return Prepared((height, width), views)

    def _factors(self, height: int, width: int) -> tuple[float, float]:
        """By what the height and the width of the whole image are multiplied at scale 1."""
        if not isinstance(self.image_size, int):
            return self.image_size[0] / height, self.image_size[1] / width
        factor = self.image_size / max(height, width) if self.image_size else 1.0
        return factor, factor

    def _view(self, crop: Picture, region: Box, factors: tuple[float, float]) -> View:
        height, width = crop.shape[0] * factors[0], crop.shape[1] * factors[1]
        if self.method == "resize":
            size = (_multiple(height, self.patch), _multiple(width, self.patch))
            return View(resize_image(crop, size), region)
        resized = resize_image(crop, (max(1, round(height)), max(1, round(width))))
        return _center_crop(resized, region, self.patch)


def resize_image(image: Picture, size: tuple[int, int]) -> Picture:
    """RGB uint8 [H, W, 3] resized to (height, width): torch's bicubic with antialias.

    In float32 and rounded once: torch's own uint8 path rounds and clips between its two passes,
    which moves pixels by up to 3.
    """
    if image.shape[:2] == size:
        return np.ascontiguousarray(image)
    # a crop is a view of its image, and what a decoder gave may be read-only
    planes = torch.tensor(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
    resized = functional.interpolate(
        planes.float(), size=size, mode="bicubic", align_corners=False, antialias=True
    )
    whole = resized[0].round_().clamp_(0, 255).to(torch.uint8)
    return whole.permute(1, 2, 0).contiguous().numpy()


def patch_centres(rows: int, columns: int) -> npt.NDArray[np.float64]:
    """Centres (x, y) in [0, 1] of a grid of patches, row after row: [rows * columns, 2].

    >>> patch_centres(1, 2).tolist()
    [[0.25, 0.5], [0.75, 0.5]]
    """
    y, x = np.mgrid[0:rows, 0:columns]
    return np.stack([(x.ravel() + 0.5) / columns, (y.ravel() + 0.5) / rows], axis=1)


def to_whole_image(
    xy: npt.NDArray[np.floating], region: npt.ArrayLike, size: tuple[int, int]
) -> npt.NDArray[np.float64]:
    """Positions [..., 2] in [0, 1] of a region, as positions in [0, 1] of its image.

    region: [..., 4], (x1, y1, x2, y2) in pixels; size: (height, width) of the whole image.
    """
    corners = np.asarray(region, np.float64)
    first, last = corners[..., :2], corners[..., 2:]
    return np.clip((xy * (last - first) + first) / [size[1], size[0]], 0.0, 1.0)


def _is_size(given: Any, patch: int) -> bool:
    """Whether it is 0, a side or a pair of sides in whole pixels."""
    pair = isinstance(given, list | tuple)
    sides = list(given) if pair else [given]
    if len(sides) != 1 + pair or not all(type(side) is int for side in sides):
        return False
    return min(sides) >= patch or given == 0


def _multiple(side: float, patch: int) -> int:
    return max(1, round(side / patch)) * patch


def _center_crop(image: Picture, region: Box, patch: int) -> View:
    height, width = image.shape[:2]
    if min(height, width) < patch:
        raise BadInput(
            f"{width} × {height} pixels are left to crop from",
            expected=f"at least one patch, {patch} × {patch} pixels",
        )
    h, w = height - height % patch, width - width % patch
    top, left = (height - h) // 2, (width - w) // 2
    x1, y1, x2, y2 = region
    across, down = (x2 - x1) / width, (y2 - y1) / height
    shown = (x1 + left * across, y1 + top * down)
    covered = (*shown, shown[0] + w * across, shown[1] + h * down)
    return View(np.ascontiguousarray(image[top : top + h, left : left + w]), covered)
