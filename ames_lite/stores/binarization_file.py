"""A binarization on disk: `itq_{desc}_{domain}.npz`, which turns float descriptors into bits.

`projection` float32 [Din, D]: descriptors are L2-normalised, then projected; a bit is 1 where the
projection is above 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput
from ames_lite.io import remedies
from ames_lite.io.provenance import Provenance
from ames_lite.stores.npz import ArrayFile, check_numbers

AXES = "[Din, D]"
FILE = ArrayFile("binarization", {"projection": AXES})
REMEDY = remedies.BINARIZATION


def write_binarization(
    path: str | Path,
    projection: npt.NDArray[np.floating[Any]],
    provenance: Mapping[str, Any],
    *,
    overwrite: bool = False,
) -> Path:
    """Write a projection [Din, D] and what it was fitted on; returns the path.

    Raises BadInput for NaN, infinity, a D that is no multiple of 8, and an existing file unless
    overwrite.
    """
    _check(projection, path, REMEDY)
    return FILE.write(path, {"projection": projection}, provenance, overwrite=overwrite)


def read_binarization(
    path: str | Path, *, remedy: str = REMEDY
) -> tuple[npt.NDArray[np.float32], Provenance]:
    """projection [Din, D] float32 and the provenance. Raises MissingFile or BadInput."""
    found, made = FILE.read(path, remedy)
    _check(found["projection"], path, remedy)
    return found["projection"], made


def _check(projection: npt.NDArray[Any], path: str | Path, remedy: str) -> None:
    check_numbers(projection, "projections", AXES, path, remedy)
    if projection.shape[1] % 8:
        what = f"the projection has {projection.shape[1]} bits"
        raise BadInput(what, where=path, expected="a multiple of 8: bits are packed", remedy=remedy)
