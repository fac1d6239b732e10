"""Whether descriptors stand on a grid of patches, and how large a patch then is.

A store has only the strongest patches of a grid. Its spacing is found from the positions alone,
scale by scale, so that crops, several scales and published files need nothing more; fewer than
MIN_POINTS different positions of a scale say nothing.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

MIN_POINTS = 8
SAME = 1e-3  # coordinates that differ by less are one: float16 files are that coarse
MISFIT = 0.08  # of a spacing: how far from the grid a coordinate may lie


def find_cells(xy: npt.NDArray[np.floating], scale: npt.NDArray[np.integer]) -> Floats | None:
    """Sides [K, 2] of the patches around xy [K, 2] in [0, 1], as shares of the image.

    scale [K]: index of each descriptor's scale; one with too few positions borrows the spacing of
    the next that has one. None where the positions are on no grid.

    >>> xy = np.array([[x, y] for x in (0.1, 0.3, 0.9) for y in (0.25, 0.75, 1.0)])
    >>> cells = find_cells(xy, np.zeros(9, np.uint8))
    >>> cells.round(6).tolist()[0]
    [0.2, 0.25]
    """
    spacing: dict[int, tuple[float, float]] = {}
    for level in np.unique(scale).tolist():
        of_level = xy[scale == level].astype(np.float64)
        if len(np.unique(of_level, axis=0)) >= MIN_POINTS:
            across, down = (_spacing(values) for values in of_level.T)
            if across is None or down is None:
                return None
            spacing[level] = across, down
    if not spacing:
        return None
    nearest = [min(spacing, key=lambda known: abs(known - level)) for level in scale.tolist()]
    return np.array([spacing[level] for level in nearest])


def _spacing(values: Floats) -> float | None:
    """The spacing of the grid that coordinates [K] lie on; None where they lie on none."""
    ordered = np.sort(values)
    group = np.cumsum(np.diff(ordered, prepend=ordered[0]) > SAME)
    distinct = np.bincount(group, ordered) / np.bincount(group)
    gaps = np.diff(distinct)
    if not len(gaps):
        return None
    step = float(gaps[gaps < 1.5 * gaps.min()].mean())
    place = np.append(0, np.cumsum(np.round(gaps / step)))
    slope, start = np.polyfit(place, distinct, 1)
    misfit = np.abs(distinct - (start + slope * place)).max()
    return float(slope) if misfit < MISFIT * slope else None
