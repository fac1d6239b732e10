"""Colours that colour-blind readers can tell apart, and shapes for where colours run out.

A colour is three numbers in [0, 1] (red, green, blue of sRGB). The colour of a cluster depends on
its number alone, never on the picture or on how many clusters there are, so that pictures can be
compared.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput

Float64 = npt.NDArray[np.float64]

# Okabe and Ito, "Color universal design", 2008; their black is left out: it would not be seen
HUES = np.array(
    [
        [0.902, 0.624, 0.000],  # orange
        [0.337, 0.706, 0.914],  # sky blue
        [0.000, 0.620, 0.451],  # green
        [0.941, 0.894, 0.259],  # yellow
        [0.000, 0.447, 0.698],  # blue
        [0.835, 0.369, 0.000],  # vermilion
        [0.800, 0.475, 0.655],  # purple
    ]
)
GREY, PALE = (0.55, 0.55, 0.55), (0.82, 0.82, 0.82)
MARKERS = ("o", "s", "^")  # of labels that share a hue
HEAT = "viridis"  # its lightness rises evenly, and no part of it is grey as the ground is
DISTINCT = 256  # colours; above, they repeat
STEPS = 15  # of red, green and blue, of the colours to choose from
DARKEST, LEAST_CHROMA = 0.45, 0.06  # in Oklab: neither lost on the dark ground nor grey

# Ottosson, "A perceptual color space for image processing" (Oklab), 2020
TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
TO_OKLAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)
# how deuteranopes, the most frequent of the colour-blind, see linear red, green and blue:
# Machado, Oliveira and Fernandes, IEEE TVCG 2009, severity 1
DEUTERANOPE = np.array(
    [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ]
)


def cluster_colours(count: int) -> Float64:
    """The colours [count, 3] of clusters 0 to count - 1; the first 256 are distinct.

    The first seven are those of Okabe and Ito; each further one is as far as can be from all before
    it, to eyes with and without red-green blindness. Raises BadInput for a count below 1.

    >>> bool((cluster_colours(20)[:7] == HUES).all())
    True
    """
    if count < 1:
        raise BadInput(f"{count} clusters", expected="at least 1")
    colours: Float64 = _palette()[np.arange(count) % DISTINCT]
    return colours


@lru_cache(maxsize=1)
def _palette() -> Float64:
    steps = np.linspace(0, 1, STEPS)
    grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    lightness, a, b = _oklab(_linear(grid)).T
    offered = grid[(lightness >= DARKEST) & (np.hypot(a, b) >= LEAST_CHROMA)]
    seen, chosen = _seen(offered), list(HUES)
    nearest = np.full(len(offered), np.inf)
    for place in range(DISTINCT):
        if place >= len(chosen):
            chosen.append(offered[nearest.argmax()])
        away = np.linalg.norm(seen - _seen(chosen[place][None]), axis=2).min(axis=0)
        nearest = np.minimum(nearest, away)
    return np.array(chosen)


def _seen(colours: Float64) -> Float64:
    """Oklab [2, N, 3] of colours [N, 3]: to full colour vision, to deuteranopes."""
    linear = _linear(colours)
    return np.stack([_oklab(linear), _oklab(np.clip(linear @ DEUTERANOPE.T, 0, 1))])


def _linear(colours: Float64) -> Float64:
    """Linear light of sRGB."""
    return np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)


def _oklab(linear: Float64) -> Float64:
    found: Float64 = np.cbrt(linear @ TO_CONES.T) @ TO_OKLAB.T
    return found


def label_styles(count: int) -> list[tuple[tuple[float, float, float], str]]:
    """(colour, marker) of the first `count` labels, all different; at most `num_styles()`."""
    hues = [(red, green, blue) for red, green, blue in HUES.tolist()]
    return [(hues[i % len(hues)], MARKERS[i // len(hues)]) for i in range(count)]


def num_styles() -> int:
    """How many labels can be told apart."""
    return len(HUES) * len(MARKERS)
