"""A VLAD vocabulary on disk: `vlad_{desc}_{domain}.npz`.

`centroids` float32 [C, D] and `provenance`, a flat dict as JSON bytes (uint8), so that reading
needs no pickle. The convention to know: centroids are plain means, not normalised.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ames_lite.io.npz import check_matrix, read_npz, write_npz
from ames_lite.io.provenance import Provenance

SHAPE = "[C, D]"
REMEDY = "python extract/build_vocabulary.py dataset=<name> desc_name=<name>"


def write_vocabulary(
    path: str | Path,
    centroids: npt.NDArray[np.floating[Any]],
    provenance: Mapping[str, Any],
    *,
    overwrite: bool = False,
) -> Path:
    """Write centroids [C, D] (kept as float32) and what they were built from; returns the path.

    Raises BadInput for NaN, infinity, other shapes, and an existing file unless overwrite.
    """
    check_matrix(centroids, "centroids", SHAPE, path, REMEDY)
    arrays = {"centroids": centroids.astype(np.float32)}
    return write_npz(path, arrays, provenance, overwrite=overwrite)


def read_vocabulary(
    path: str | Path, *, remedy: str = REMEDY
) -> tuple[npt.NDArray[np.float32], Provenance]:
    """centroids [C, D] float32 and the provenance. Raises MissingFile or BadInput."""
    centroids, provenance = read_npz(path, "centroids", "vocabulary", SHAPE, remedy)
    check_matrix(centroids, "centroids", SHAPE, path, REMEDY)
    return centroids.astype(np.float32), provenance
