"""Pixel values of more than 8 bits, or of floating point, as 8 bits.

Files rarely say which value is white: a 12-bit camera's picture comes in 16 bits, a float picture
in 0..1 or in 0..255. White is the smallest of the usual full scales that holds the largest value;
values that fit none of them are refused, as any choice would show another picture.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput

FULL_SCALES = tuple(float(2**bits - 1) for bits in (8, 10, 12, 14, 16, 24, 31, 32))
CERTAIN = 65535.0  # above, and for floats between 1 and 255, a picture must fill its scale
DIMMEST = 0.25  # to a quarter


def to_eight_bits(
    values: npt.NDArray[Any], *, white: float | None = None, inverted: bool = False
) -> npt.NDArray[np.uint8]:
    """Values of any shape, scaled so that `white` (None: see above) becomes 255.

    inverted: 0 is white. Raises BadInput for values below 0, NaN, infinity, and of unclear scale.
    """
    full = white or full_scale(values)
    scaled = np.clip(values.astype(np.float32) / full, 0, 1)
    return np.round((1 - scaled if inverted else scaled) * 255).astype(np.uint8)


def full_scale(values: npt.NDArray[Any]) -> float:
    """The value of white. Raises BadInput; see `to_eight_bits`.

    >>> full_scale(np.array([0, 3840])), full_scale(np.array([0.1, 0.9]))
    (4095.0, 1.0)
    """
    low, high = float(values.min()), float(values.max())
    floating = np.issubdtype(values.dtype, np.floating)
    scales = (1.0, *FULL_SCALES) if floating else FULL_SCALES
    if low >= 0 and high <= scales[-1]:  # not so for NaN
        full = next(scale for scale in scales if high <= scale)
        doubtful = full > CERTAIN or (floating and full == FULL_SCALES[0])
        if not doubtful or high >= DIMMEST * full:
            return full
    kinds = f"{'0 to 1, ' if floating else ''}0 to 255, 4095, 65535 or another full scale"
    raise BadInput(
        f"the pixels have values from {low:g} to {high:g}, and it is not clear which is white",
        expected=f"values from {kinds}",
    )
