"""Named arrays with provenance in one `.npz` file, written whole and read without pickle.

The provenance is a flat dict as JSON bytes, an array `provenance` (uint8).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput, MissingFile
from ames_lite.io.provenance import Provenance, check_provenance
from ames_lite.io.writing import replacing


def write_npz(
    path: str | Path,
    arrays: Mapping[str, npt.NDArray[Any]],
    provenance: Mapping[str, Any],
    *,
    overwrite: bool = False,
) -> Path:
    """Write the arrays; returns the path. Raises BadInput for an existing file unless overwrite."""
    text = json.dumps(check_provenance(provenance), sort_keys=True).encode()
    stored: dict[str, Any] = {**arrays, "provenance": np.frombuffer(text, dtype=np.uint8)}
    with replacing(path, overwrite) as partial, open(partial, "wb") as file:
        np.savez(file, **stored)
    return Path(path)


def read_npz(
    path: str | Path, name: str, what: str, shape: str, remedy: str
) -> tuple[npt.NDArray[Any], Provenance]:
    """The array `name` and the provenance; what, shape: for messages. MissingFile or BadInput."""
    if not Path(path).is_file():
        raise MissingFile(f"the {what} is missing", where=path, remedy=remedy)
    try:
        with np.load(path, allow_pickle=False) as file:
            made = check_provenance(json.loads(bytes(array_of(file, "provenance"))))
            return array_of(file, name), made
    except Exception as error:  # of a damaged archive nearly anything is raised
        raise BadInput(
            f"the {what} cannot be read: {error or type(error).__name__}",
            where=path,
            expected=f"an .npz file with '{name}' {shape} and 'provenance'",
            remedy=remedy,
        ) from error


def array_of(file: Mapping[str, Any], name: str) -> npt.NDArray[Any]:
    """An array of an open archive, which gives other content as bytes. Raises ValueError."""
    array = file[name]
    if not isinstance(array, np.ndarray):
        raise ValueError(f"'{name}' is no array")
    return array


def check_matrix(
    values: npt.NDArray[Any], name: str, shape: str, path: str | Path, remedy: str
) -> None:
    """Raise BadInput for anything but a matrix of finite floating-point numbers."""
    fits = values.ndim == 2 and values.size > 0 and values.dtype.kind == "f"
    if not fits or not np.isfinite(values).all():
        raise BadInput(
            f"{name} are {list(values.shape)} ({values.dtype.name})"
            + (", with NaN or infinite entries" if fits else ""),
            where=path,
            expected=f"{shape} finite floating-point numbers",
            remedy=remedy,
        )
