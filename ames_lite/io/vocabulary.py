"""A VLAD vocabulary on disk: `vlad_{desc}_{domain}.npz`.

`centroids` float32 [C, D] and `provenance`, a flat dict as JSON bytes (uint8), so that reading
needs no pickle. The convention to know: centroids are plain means, not normalised.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput, MissingFile
from ames_lite.io.provenance import Provenance, check_provenance
from ames_lite.io.writing import replacing

REMEDY = "python extract/build_vocabulary.py dataset=<name> desc_name=<name>"
_DAMAGED = (zipfile.BadZipFile, EOFError, OSError, ValueError, KeyError, TypeError)


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
    checked = check_provenance(provenance)
    _check(centroids, path)
    text = json.dumps(checked, sort_keys=True).encode()
    with replacing(path, overwrite) as partial, open(partial, "wb") as file:
        np.savez(
            file,
            centroids=centroids.astype(np.float32),
            provenance=np.frombuffer(text, dtype=np.uint8),
        )
    return Path(path)


def read_vocabulary(
    path: str | Path, *, remedy: str = REMEDY
) -> tuple[npt.NDArray[np.float32], Provenance]:
    """centroids [C, D] float32 and the provenance. Raises MissingFile or BadInput."""
    if not Path(path).is_file():
        raise MissingFile("the vocabulary is missing", where=path, remedy=remedy)
    try:
        with np.load(path, allow_pickle=False) as file:
            centroids = file["centroids"]
            provenance: Provenance = check_provenance(json.loads(bytes(file["provenance"])))
    except _DAMAGED as error:
        raise BadInput(
            f"the vocabulary cannot be read: {error}",
            where=path,
            expected="an .npz file with 'centroids' [C, D] and 'provenance'",
            remedy=remedy,
        ) from error
    _check(centroids, path)
    return centroids.astype(np.float32), provenance


def _check(centroids: npt.NDArray[Any], path: str | Path) -> None:
    fits = centroids.ndim == 2 and centroids.size > 0 and centroids.dtype.kind == "f"
    if not fits or not np.isfinite(centroids).all():
        raise BadInput(
            f"centroids are {list(centroids.shape)} ({centroids.dtype.name})"
            + (", with NaN or infinite entries" if fits else ""),
            where=path,
            expected="[C, D] finite floating-point numbers",
            remedy=REMEDY,
        )
