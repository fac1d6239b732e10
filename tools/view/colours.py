"""The colours of clusters and labels.

The colour of a cluster depends on its number alone, never on the picture or on how many clusters
there are, so that pictures can be compared.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from matplotlib.colors import hsv_to_rgb, to_rgb
from scipy.spatial.distance import cdist

from ames_lite.errors import BadInput
from ames_lite.evaluation.figures import HUES

Float64 = npt.NDArray[np.float64]

DISTINCT = 256  # colours; above, they repeat
DARKEST, PALEST = 0.4, 0.3  # value and saturation: neither lost on the dark ground nor grey
RED_GREEN_BLUE = (2, 4, 3)  # how much a difference counts, about


def cluster_colours(count: int) -> Float64:
    """The colours [count, 3] of clusters 0 to count - 1; the first 256 are distinct.

    The first seven can be told apart by colour-blind readers too; each further one is as far as can
    be from all before it. Raises BadInput for a count below 1.
    """
    if count < 1:
        raise BadInput(f"{count} clusters", expected="at least 1")
    colours: Float64 = _palette()[np.arange(count) % DISTINCT]
    return colours


@lru_cache(maxsize=1)
def _palette() -> Float64:
    axes = np.linspace(0, 1, 60), np.linspace(PALEST, 1, 6), np.linspace(DARKEST, 1, 6)
    hues_and_shades = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 3)
    offered, chosen = hsv_to_rgb(hues_and_shades), [np.array(to_rgb(hue)) for hue in HUES]
    nearest = cdist(offered, chosen, "sqeuclidean", w=RED_GREEN_BLUE).min(axis=1)
    while len(chosen) < DISTINCT:
        chosen.append(offered[nearest.argmax()])
        away = cdist(offered, chosen[-1:], "sqeuclidean", w=RED_GREEN_BLUE)[:, 0]
        nearest = np.minimum(nearest, away)
    return np.array(chosen)
