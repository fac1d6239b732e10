"""A VLAD vocabulary on disk: `vlad_{desc}_{domain}.npz`, or AnyLoc's published `c_centers.pt`.

`centroids` float32 [C, D] and `provenance`, a flat dict as JSON bytes (uint8), so that reading
needs no pickle; in it `distance` (euclidean or cosine) and `unit` (whether descriptors are brought
to unit length first) say how the vocabulary is to be used. `images` is the full list of what it was
built from, as JSON bytes. Centroids are plain means, not normalised.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput
from ames_lite.io import remedies
from ames_lite.io.json_file import parse_json
from ames_lite.io.provenance import Provenance
from ames_lite.stores.npz import check_matrix, read_npz, write_npz
from ames_lite.stores.published.vocabulary import is_published_vocabulary, read_published_vocabulary

SHAPE = "[C, D]"
REMEDY = remedies.VOCABULARY
DISTANCES = ("euclidean", "cosine")
USE = {"distance": "euclidean", "unit": False}  # of files that do not say


class ImagesOf(NamedTuple):
    """What a vocabulary saw of one data set: every step-th image of its list, by name."""

    dataset: str
    step: int
    names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """centroids float32 [C, D]; distance, unit: how it is to be used; provenance."""

    centroids: npt.NDArray[np.float32]
    distance: str
    unit: bool
    provenance: Provenance


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
    check_matrix(centroids, "centroids", SHAPE, path, REMEDY)
    text = json.dumps([part._asdict() for part in images])
    arrays: dict[str, npt.NDArray[Any]] = {
        "centroids": centroids.astype(np.float32),
        "images": np.frombuffer(text.encode("ascii"), dtype=np.uint8),
    }
    return write_npz(path, arrays, provenance, overwrite=overwrite)


def read_vocabulary(
    path: str | Path, *, remedy: str = REMEDY
) -> tuple[npt.NDArray[np.float32], Provenance]:
    """centroids [C, D] float32 and the provenance, in which `distance` and `unit` always stand.

    A `.pt` or `.pth` is AnyLoc's published form. Raises MissingFile or BadInput.
    """
    if is_published_vocabulary(path):
        return read_published_vocabulary(path)
    centroids, provenance = read_npz(path, "centroids", "vocabulary", SHAPE, remedy)
    check_matrix(centroids, "centroids", SHAPE, path, REMEDY)
    provenance = {**USE, **provenance}
    if provenance["distance"] not in DISTANCES or not isinstance(provenance["unit"], bool):
        raise BadInput(
            f"distance is {provenance['distance']!r} and unit {provenance['unit']!r}",
            where=path,
            expected=f"{' or '.join(DISTANCES)}; true or false",
            remedy=REMEDY,
        )
    return centroids.astype(np.float32), provenance


def read_vocabulary_images(path: str | Path) -> tuple[ImagesOf, ...]:
    """The images that a native vocabulary was built from. Raises MissingFile or BadInput."""
    with_list, _ = read_npz(path, "images", "list of a vocabulary's images", "[bytes]", REMEDY)
    expected = "JSON bytes, as build_vocabulary writes them"
    parts = parse_json(bytes(with_list), path, expected, REMEDY)
    try:
        return tuple(
            ImagesOf(str(part["dataset"]), int(part["step"]), tuple(map(str, part["names"])))
            for part in parts
        )
    except (ValueError, TypeError, KeyError) as error:
        raise BadInput(
            f"the list of a vocabulary's images cannot be read: {error}",
            where=path,
            expected=expected,
            remedy=REMEDY,
        ) from error
