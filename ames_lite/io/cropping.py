"""Images as arrays: what is taken for one, and the part of it that a crop box covers.

A box is (x1, y1, x2, y2) in pixels of the whole image. Every backbone takes its image through here.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput
from ames_lite.io.images import Box

Picture = npt.NDArray[np.uint8]
CROPS = {  # how x1, y1 and x2, y2 become whole pixels
    "int": (np.trunc, np.trunc),  # as published: image[int(y1):int(y2), int(x1):int(x2)]
    "cover": (np.floor, np.ceil),  # all pixels that the box touches
}


def check_rgb(image: object) -> Picture:
    """The image itself. Raises BadInput for all but RGB uint8 [H, W, 3]: nothing is guessed."""
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.size:
        if image.ndim == 3 and image.shape[2] == 3:
            return image
    found = type(image).__name__
    if hasattr(image, "dtype") and hasattr(image, "shape"):
        found += f", {image.dtype} {list(image.shape)}"
    raise BadInput(
        f"the image is given as {found}",
        expected="RGB uint8 [H, W, 3]: a NumPy array, values from 0 to 255",
        remedy="load_image of ames_lite.io.images gives it. Floats in [0, 1]: "
        "(255 * x).round().astype('uint8'); grey: np.stack([x] * 3, axis=-1); [3, H, W]: "
        "x.transpose(1, 2, 0); RGBA: x[..., :3]; Pillow: np.asarray(x.convert('RGB'))",
    )


def crop_image(image: Picture, box: Box | None, rounding: str = "cover") -> tuple[Picture, Box]:
    """Cut a box out of an image [H, W, 3]; returns the crop and the box that it really covers.

    A box of None is the whole image; others are clipped to it. rounding: a key of CROPS. Raises
    BadInput for what is no image or no box, and where nothing of the box lies in the image.
    """
    height, width = check_rgb(image).shape[:2]
    if box is None:
        return image, (0.0, 0.0, float(width), float(height))
    edges = _edges(box)
    begin, end = CROPS[rounding]
    x1, y1 = np.clip(begin(edges[:2]), 0, (width, height)).astype(int).tolist()
    x2, y2 = np.clip(end(edges[2:]), 0, (width, height)).astype(int).tolist()
    if x2 <= x1 or y2 <= y1:
        raise BadInput(
            f"the crop box {box} leaves nothing of an image of {width} × {height} pixels",
            expected="(x1, y1, x2, y2) with x1 < x2 and y1 < y2, inside the image",
        )
    return image[y1:y2, x1:x2], (float(x1), float(y1), float(x2), float(y2))


def _edges(box: object) -> npt.NDArray[np.float64]:
    try:
        edges = np.asarray(box, np.float64)
    except (TypeError, ValueError):  # text, ragged
        edges = np.empty(0)
    if edges.shape != (4,) or not np.isfinite(edges).all():
        raise BadInput(f"the crop box is {box}", expected="(x1, y1, x2, y2), four finite numbers")
    return edges
