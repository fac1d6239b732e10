"""A VLAD vocabulary on disk: `vlad_{desc}_{domain}.npz`, or AnyLoc's published `c_centers.pt`.

`centroids` float32 [C, D], plain means; in the provenance `distance` (euclidean or cosine) and
`unit` (whether descriptors are brought to unit length first) say how the vocabulary is to be used.
`images` is the full list of what it was built from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput
from ames_lite.io import remedies
from ames_lite.io.provenance import Provenance
from ames_lite.stores.npz import ArrayFile, check_numbers
from ames_lite.stores.published.vocabulary import is_published_vocabulary, read_published_vocabulary

AXES = "[C, D]"
FILE = ArrayFile("vocabulary", {"centroids": AXES}, "images")
REMEDY = remedies.VOCABULARY
DISTANCES = ("euclidean", "cosine")
USE = {"distance": "euclidean", "unit": False}  # of files that do not say


class ImagesOf(NamedTuple):
    """What a vocabulary saw of one data set: every step-th image of its list, by name."""

    dataset: str
    step: int
    names: tuple[str, ...]


def write_vocabulary(
    path: str | Path,
    centroids: npt.NDArray[np.floating[Any]],
    provenance: Mapping[str, Any],
    *,
    images: Sequence[ImagesOf] = (),
    overwrite: bool = False,
) -> Path:
    """Write centroids [C, D] (kept as float32) and what they were built from; returns the path.

    Raises BadInput for NaN, infinity, other shapes, and an existing file unless overwrite.
    """
    check_numbers(centroids, "centroids", AXES, path, REMEDY)
    listed = [part._asdict() for part in images]
    return FILE.write(path, {"centroids": centroids}, provenance, listed, overwrite=overwrite)


def read_vocabulary(
    path: str | Path, *, remedy: str = REMEDY
) -> tuple[npt.NDArray[np.float32], Provenance]:
    """centroids [C, D] float32 and the provenance, in which `distance` and `unit` always stand.

    A `.pt` or `.pth` is AnyLoc's published form. Raises MissingFile or BadInput.
    """
    if is_published_vocabulary(path):
        return read_published_vocabulary(path)
    found, made = FILE.read(path, remedy)
    made = {**USE, **made}
    if made["distance"] not in DISTANCES or not isinstance(made["unit"], bool):
        raise BadInput(
            f"distance is {made['distance']!r} and unit {made['unit']!r}",
            where=path,
            expected=f"{' or '.join(DISTANCES)}; true or false",
            remedy=REMEDY,
        )
    return found["centroids"], made


def read_vocabulary_images(path: str | Path) -> tuple[ImagesOf, ...]:
    """The images that a native vocabulary was built from. Raises MissingFile or BadInput."""
    parts = FILE.read_json(path, REMEDY)
    try:
        return tuple(
            ImagesOf(str(part["dataset"]), int(part["step"]), tuple(map(str, part["names"])))
            for part in parts
        )
    except (ValueError, TypeError, KeyError) as error:
        raise BadInput(
            f"the list of a vocabulary's images cannot be read: {error}",
            where=path,
            expected="JSON bytes, as build_vocabulary writes them",
            remedy=REMEDY,
        ) from error
