"""Global descriptors on disk: `{desc}_{split}_{cls,gem,vlad}.hdf5`, one row per image of a list.

In: `descriptors` float16 or float32 [N, D] and the N names; out: the same, names with rows.
The convention to know: descriptors are stored as they are given; this file normalises nothing.
Published files have one data set `features` [N, D] and neither names nor provenance: they are read
with the image list that they were made from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput
from ames_lite.io import hdf5, virtual
from ames_lite.io.provenance import Provenance
from ames_lite.io.published_store import DATA_SET, ORIGIN, is_published

SCHEMA = "ames_lite/global_descriptors/1"
BLOCK_ROWS = 1 << 15  # checked at a time: the check needs no copy of a large array
KINDS = ("float16", "float32")
REMEDY = "python extract/extract_descriptors.py dataset=<name> desc_name=<name>"


def write_globals(
    path: str | Path,
    names: Sequence[str],
    descriptors: npt.NDArray[np.floating[Any]],
    provenance: Mapping[str, Any],
    *,
    overwrite: bool = False,
) -> Path:
    """Write descriptors [N, D] float16 or float32 of N unique names; returns the path.

    Raises BadInput for NaN, infinity, a row of zeros, repeated names, other shapes or dtypes, and
    for an existing file unless overwrite.
    """
    path, names = Path(path), hdf5.check_names(names, "the image list")
    _check(descriptors, names, path)
    with hdf5.new_file(path, SCHEMA, provenance, overwrite=overwrite) as file:
        file["name"] = hdf5.encode_names(names)
        file["descriptors"] = descriptors
    return path


def read_globals(
    path: str | Path, *, names: Sequence[str] | None = None, remedy: str = REMEDY
) -> tuple[tuple[str, ...], npt.NDArray[np.floating[Any]], Provenance]:
    """names (N), descriptors [N, D] float16 or float32 as stored, and the provenance.

    names: the image list, for a published file; a native one brings its own. Raises MissingFile,
    or BadInput where the file is damaged, breaks `write_globals`' rules, or needs names.
    """
    if is_published(path, remedy):
        return _read_published(path, names, remedy)
    with hdf5.open_complete(path, SCHEMA, remedy=remedy) as file:
        stored = hdf5.dataset(file, "descriptors", (None, None), KINDS)
        encoded = hdf5.dataset(file, "name", (len(stored),), ("text",))[:]
        descriptors: npt.NDArray[np.floating[Any]] = stored[:]
        provenance = hdf5.read_json(file, "provenance")
    stored_names = hdf5.check_names(hdf5.decode_names(encoded), f"the name list of {path}")
    _check(descriptors, stored_names, Path(path))
    return stored_names, descriptors, provenance


def _read_published(
    path: str | Path, names: Sequence[str] | None, remedy: str
) -> tuple[tuple[str, ...], npt.NDArray[np.floating[Any]], Provenance]:
    if names is None:
        raise BadInput(
            "the file is of the published form, without names",
            where=path,
            expected="a native file, or the image list beside it",
            remedy=remedy,
        )
    with hdf5.open_foreign(path, remedy=remedy) as file:
        stored = hdf5.dataset(file, DATA_SET, (len(names), None), KINDS)
        virtual.check_sources(stored, path)
        descriptors: npt.NDArray[np.floating[Any]] = stored[:]
    listed = hdf5.check_names(names, "the image list")
    _check(descriptors, listed, Path(path))
    return listed, descriptors, {"origin": ORIGIN}


def _check(descriptors: npt.NDArray[Any], names: tuple[str, ...], path: Path) -> None:
    shape, kind = descriptors.shape, descriptors.dtype.name
    fits = descriptors.ndim == 2 and shape[0] == len(names) and shape[1] > 0
    if not fits or kind not in KINDS:
        raise BadInput(
            f"descriptors are {list(shape)} ({kind}) for {len(names)} names",
            where=path,
            expected=f"[{len(names)}, D] {' or '.join(KINDS)}",
            remedy="give one row per name, in the order of the names",
        )
    for start in range(0, len(descriptors), BLOCK_ROWS):
        block = descriptors[start : start + BLOCK_ROWS]
        finite = np.isfinite(block).all(axis=1)
        bad = ~finite | ~block.any(axis=1)
        if bad.any():
            row = start + int(bad.argmax())
            what = "is all zeros" if finite[row - start] else "has NaN or infinite entries"
            raise BadInput(
                f"the descriptor of '{names[row]}' (row {row}) {what}",
                where=path,
                expected="finite numbers that are not all zero",
                remedy="extract that image again, or drop it from the list",
            )
