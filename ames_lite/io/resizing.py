"""From a decoded image to what a network of square patches sees: resized or centre-cropped views.

The factor comes from the whole image, the crop is cut before resizing, and the sides are rounded
separately: a view may be stretched by half a patch; positions are mapped back through its region.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from ames_lite.errors import BadInput, require
from ames_lite.io.images import Box, Picture

CROPS = {  # how x1, y1 and x2, y2 become whole pixels
    "int": (np.trunc, np.trunc),  # as published: image[int(y1):int(y2), int(x1):int(x2)]
    "cover": (np.floor, np.ceil),  # all pixels that the box touches
}
# the first pixel of a centre crop, from half of what is cut off; published: half to even
CROP_ROUNDINGS: dict[str, Callable[[float], int]] = {"even": round, "floor": int}
RESIZES = ("area", "bicubic_float", "bicubic")
CHOICES = {"method": ("resize", "center_crop"), "resize": RESIZES}
CHOICES |= {"query_crop": tuple(CROPS), "crop_rounding": tuple(CROP_ROUNDINGS)}
Pixels = npt.NDArray[Any]  # uint8, or float32


def check_rgb(image: object) -> Picture:
    """The image itself. Raises BadInput for all but RGB uint8 [H, W, 3]: nothing is guessed."""
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.size:
        if image.ndim == 3 and image.shape[2] == 3:
            return image
    what = f"the image is given as {type(image).__name__}"
    if hasattr(image, "dtype") and hasattr(image, "shape"):
        what += f", {image.dtype} {list(image.shape)}"
    expected = "RGB uint8 [H, W, 3]: a NumPy array, values from 0 to 255"
    remedy = "as_image of ames_lite.io.images makes it of paths, Pillow images, grey and floats"
    raise BadInput(what, expected=expected, remedy=remedy)


def crop_image(image: Picture, box: Box | None, rounding: str = "cover") -> tuple[Picture, Box]:
    """Cut a box (None: all) out of an image [H, W, 3]; returns the crop and the box that it covers.
    rounding: a key of CROPS. Raises BadInput where nothing is left.
    """
    height, width = check_rgb(image).shape[:2]
    if box is None:
        return image, (0.0, 0.0, float(width), float(height))
    edges = _edges(box)
    begin, end = CROPS[rounding]
    x1, y1 = np.clip(begin(edges[:2]), 0, (width, height)).astype(int).tolist()
    x2, y2 = np.clip(end(edges[2:]), 0, (width, height)).astype(int).tolist()
    if x2 <= x1 or y2 <= y1:
        what = f"the crop box {box} leaves nothing of an image of {width} × {height} pixels"
        raise BadInput(what, expected="(x1, y1, x2, y2) with x1 < x2 and y1 < y2, inside the image")
    return image[y1:y2, x1:x2], (float(x1), float(y1), float(x2), float(y2))


def _edges(box: object) -> npt.NDArray[np.float64]:
    try:
        edges = np.asarray(box, np.float64)
    except (TypeError, ValueError):  # text, ragged
        edges = np.empty(0)
    if edges.shape != (4,) or not np.isfinite(edges).all():
        raise BadInput(f"the crop box is {box}", expected="(x1, y1, x2, y2), four finite numbers")
    return edges


@dataclass(frozen=True, eq=False)
class View:
    """What the network sees."""

    pixels: Pixels  # [h, w, 3], 0 to 255; floats (bicubic_float) may lie a little beyond
    region: Box  # that they show, in pixels of the whole image, not rounded


@dataclass(frozen=True, eq=False)
class Prepared:
    """One image, ready for the network: its (height, width) on disk and a view for each scale."""

    size: tuple[int, int]
    views: tuple[View, ...]

    @property
    def shape(self) -> tuple[tuple[int, int], ...]:
        """(h, w) of every view: images of equal shape make a batch."""
        return tuple(view.pixels.shape[:2] for view in self.views)

    def mirrored(self) -> "Prepared":
        """Left and right exchanged in what the network sees; the regions stay."""
        return Prepared(self.size, tuple(View(v.pixels[:, ::-1], v.region) for v in self.views))

    @property
    def num_pixels(self) -> int:
        return sum(h * w for h, w in self.shape)


@dataclass(frozen=True)
class Preparation:
    """How images become views; small enough to be sent to a worker process."""

    method: str = "resize"  # stretched to multiples of the patch; center_crop: the centre is cut
    # longer side of the whole image at scale 1; 0: as on disk; or both sides: it is stretched first
    image_size: int | Sequence[int] = 770
    patch: int = 14  # side of a patch in pixels
    scales: Sequence[float] = (1.0,)  # factors on top of image_size, one view each
    resize: str = "area"  # of RESIZES: AMES' and CVNet's; ELViS' is bicubic_float
    query_crop: str = "int"  # of CROPS
    crop_rounding: str = "even"  # of CROP_ROUNDINGS, where center_crop cuts an odd number of pixels
    enlarge: bool = True  # to image_size

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            fine, what = getattr(self, name) in allowed, f"{name} is {getattr(self, name)!r}"
            require(fine, what, expected=f"one of {', '.join(allowed)}")
        fine = self.patch > 0 and _is_size(self.image_size, self.patch)
        expected = f"0, or {self.patch} pixels and more, or such a pair [height, width]"
        require(fine, f"image_size is {self.image_size}", expected=expected)
        if not isinstance(self.image_size, int):
            object.__setattr__(self, "image_size", tuple(self.image_size))
        fine = all(isinstance(s, int | float) and 0 < s < float("inf") for s in self.scales)
        fine, what = fine and 1 <= len(self.scales) <= 256, f"scales are {self.scales}"
        require(fine, what, expected="1 to 256 numbers above 0")
        object.__setattr__(self, "scales", tuple(float(scale) for scale in self.scales))

    def __call__(self, image: Picture, box: Box | None = None) -> Prepared:
        """The views of an image [H, W, 3], or of its crop box. BadInput where none is left."""
        crop, region = crop_image(image, box, self.query_crop)
        height, width = image.shape[:2]
        down, across = self._factors(height, width)
        views = tuple(self._view(crop, region, (down * s, across * s)) for s in self.scales)
        return Prepared((height, width), views)

    def _factors(self, height: int, width: int) -> tuple[float, float]:
        if not isinstance(self.image_size, int):
            return self.image_size[0] / height, self.image_size[1] / width
        factor = self.image_size / max(height, width) if self.image_size else 1.0
        return (factor if self.enlarge else min(1.0, factor),) * 2

    def _view(self, crop: Picture, region: Box, factors: tuple[float, float]) -> View:
        height, width = crop.shape[0] * factors[0], crop.shape[1] * factors[1]
        shrinks = factors[0] * factors[1] < 1
        if self.method == "resize":
            size = (_multiple(height, self.patch), _multiple(width, self.patch))
            return View(resize_image(crop, size, self.resize, shrinks), region)
        size = (max(1, round(height)), max(1, round(width)))
        return self._center_crop(resize_image(crop, size, self.resize, shrinks), region)

    def _center_crop(self, image: Pixels, region: Box) -> View:
        height, width = image.shape[:2]
        what = f"{width} × {height} pixels are left to crop from"
        expected = f"at least one patch, {self.patch} × {self.patch} pixels"
        require(min(height, width) >= self.patch, what, expected=expected)
        h, w = height - height % self.patch, width - width % self.patch
        first = CROP_ROUNDINGS[self.crop_rounding]
        top, left = first((height - h) / 2), first((width - w) / 2)
        x1, y1, x2, y2 = region
        across, down = (x2 - x1) / width, (y2 - y1) / height
        shown = (x1 + left * across, y1 + top * down)
        covered = (*shown, shown[0] + w * across, shown[1] + h * down)
        return View(np.ascontiguousarray(image[top : top + h, left : left + w]), covered)


def resize_image(image: Picture, size: tuple[int, int], resize: str, shrinks: bool) -> Pixels:
    """RGB uint8 [H, W, 3] resized to (height, width); one of that size already is given back.

    area           OpenCV on uint8, by area where the image shrinks, else linear. shrinks: by the
                   factor of the whole image; its sides, rounded to patches, may go the other way
    bicubic_float  torch's, with antialias, in float32, not clamped: torchvision's on float tensors
    bicubic        the same, rounded once to uint8: torch's own uint8 path rounds and clips between
                   its two passes, which moves pixels by up to 3
    """
    image = np.ascontiguousarray(image)  # a crop is a view
    if image.shape[:2] == size:
        return image
    if resize == "area":
        how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        return cv2.resize(image, size[::-1], interpolation=how)
    # a copy: what a decoder gave may be read-only
    planes = torch.tensor(image).permute(2, 0, 1)[None].float()
    smooth: Any = {"mode": "bicubic", "align_corners": False, "antialias": True}
    resized = functional.interpolate(planes, size, **smooth)
    floats = resized[0].permute(1, 2, 0).contiguous().numpy()
    return floats.round().clip(0, 255).astype(np.uint8) if resize == "bicubic" else floats


def patch_centres(rows: int, columns: int) -> npt.NDArray[np.float64]:
    """Centres (x, y) in [0, 1] of a grid of patches, row after row: [rows * columns, 2]."""
    y, x = np.mgrid[0:rows, 0:columns]
    return np.stack([(x.ravel() + 0.5) / columns, (y.ravel() + 0.5) / rows], axis=1)


def to_whole_image(
    xy: npt.NDArray[np.floating], region: npt.ArrayLike, size: tuple[int, int]
) -> npt.NDArray[np.float64]:
    """Positions [..., 2] in [0, 1] of a region [..., 4], as positions in [0, 1] of its image."""
    corners = np.asarray(region, np.float64)
    first, last = corners[..., :2], corners[..., 2:]
    return np.clip((xy * (last - first) + first) / [size[1], size[0]], 0.0, 1.0)


def _is_size(given: Any, patch: int) -> bool:
    sides = given if isinstance(given, list | tuple) and len(given) == 2 else [given]
    return all(type(side) is int and (side >= patch or given == 0) for side in sides)


def _multiple(side: float, patch: int) -> int:
    return max(1, round(side / patch)) * patch
