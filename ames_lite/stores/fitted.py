"""What is fitted on descriptors, on disk: a VLAD vocabulary, a projection to bits, a whitening.

vocabulary    `vlad_{desc}_{domain}.npz`: `centroids` float32 [C, D], and `images`, what it was
              built from; in the provenance `distance` (euclidean or cosine) and `unit` (whether
              descriptors are brought to unit length first). Or AnyLoc's published `c_centers.pt`, a
              tensor [C, D], for descriptors of unit length and assignment by cosine
binarization  `itq_{desc}_{domain}.npz`: `projection` float32 [Din, D]; descriptors are
              L2-normalised, then projected; a bit is 1 where the projection is above 0
whitening     `pca_{desc}_{global}_{domain}.npz`: `mean` [D], `components` [P, D], `variance` [P],
              all float32, and `names`, the images that it was fitted on; in the provenance
              `remainder` where it has one (`ames_lite.retrieval.whitening`)

The provenance, a flat dict, and lists of names are JSON bytes, arrays of uint8.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from ames_lite.errors import existing_file, explained, require
from ames_lite.io import remedies
from ames_lite.io.arrays import read_npz
from ames_lite.io.json_file import parse_json
from ames_lite.io.provenance import Made, Provenance, check_provenance
from ames_lite.io.weights_file import load_weights
from ames_lite.io.writing import replacing
from ames_lite.retrieval.rows import Floats
from ames_lite.retrieval.whitening import Whitening

Names = Sequence[str]
Array = npt.NDArray[Any]
Arrays = Mapping[str, Array]


class ArrayFile(NamedTuple):
    """A kind of file: what it is called, its arrays of numbers with their axes, its JSON."""

    what: str
    arrays: Mapping[str, str]
    json: str = ""

    def write(
        self, path: str | Path, given: Arrays, made: Made, said: Any = None, overwrite: bool = False
    ) -> Path:
        """Write the arrays as float32, and what is said as the JSON; returns the path."""
        stored: dict[str, Array] = {n: given[n].astype(np.float32) for n in self.arrays}
        texts = {self.json: json.dumps(said)} if self.json else {}
        texts["provenance"] = json.dumps(check_provenance(made), sort_keys=True)
        stored |= {name: np.frombuffer(text.encode(), np.uint8) for name, text in texts.items()}
        with replacing(path, overwrite) as partial, open(partial, "wb") as file:
            np.savez(file, **stored)  # type: ignore[arg-type]  # the stub takes a name for a flag
        return Path(path)

    def read(self, path: str | Path, remedy: str) -> tuple[dict[str, Any], Provenance]:
        """The arrays, float32, and the provenance. Raises MissingFile or BadInput."""
        found, made = self._load(path, tuple(self.arrays), remedy)
        for name, values in found.items():
            check_numbers(values, name, self.arrays[name], path, remedy)
        return {name: values.astype(np.float32) for name, values in found.items()}, made

    def read_json(self, path: str | Path, remedy: str) -> Any:
        """The value of the JSON. Raises MissingFile or BadInput."""
        found, _ = self._load(path, (self.json,), remedy)
        return parse_json(found[self.json].tobytes(), path, f"'{self.json}' as JSON bytes", remedy)

    def _load(
        self, path: str | Path, names: tuple[str, ...], remedy: str
    ) -> tuple[dict[str, Array], Provenance]:
        path = existing_file(path, f"the {self.what} is missing", remedy=remedy)
        wanted = ", ".join(f"'{name}' {self.arrays.get(name, '[bytes]')}" for name in names)
        what = f"the {self.what} cannot be read: {{}}"
        expected = f"an .npz file with {wanted} and 'provenance'"
        with explained(what, Exception, where=path, expected=expected, remedy=remedy):
            found = read_npz(path, (*names, "provenance"))
            return found, check_provenance(json.loads(found.pop("provenance").tobytes()))


def check_numbers(values: Array, name: str, axes: str, path: str | Path, remedy: str) -> None:
    """Raise BadInput for anything but finite floating-point numbers with these axes: "[C, D]"."""
    fits = values.ndim == axes.count(",") + 1 and values.size > 0 and values.dtype.kind == "f"
    what = f"{name} are {list(values.shape)} ({values.dtype.name})"
    what += ", with NaN or infinite entries" if fits else ""
    finite, expected = fits and np.isfinite(values).all(), f"{axes} finite floating-point numbers"
    require(finite, what, where=path, expected=expected, remedy=remedy)


VOCABULARY = ArrayFile("vocabulary", {"centroids": "[C, D]"}, "images")
BINARIZATION = ArrayFile("binarization", {"projection": "[Din, D]"})
OF_WHITENING = {"mean": "[D]", "components": "[P, D]", "variance": "[P]"}
WHITENING = ArrayFile("whitening", OF_WHITENING, "names")
DISTANCES = ("euclidean", "cosine")
ANYLOC = "AnyLoc's c_centers.pt: one tensor [clusters, width]"
ANYLOC_SHAPE = (32, 1536)  # of the one for DINOv2 ViT-g/14 without registers
ANYLOC_BACKBONE = {"backbone": "dinov2", "variant": "vitg14", "facet": "value", "layer": 31}
USE = {"distance": "euclidean", "unit": False}  # of vocabularies that do not say


class ImagesOf(NamedTuple):
    """What a vocabulary saw of one data set: every step-th image of its list, by name."""

    dataset: str
    step: int
    names: tuple[str, ...]


def write_vocabulary(
    path: str | Path,
    centroids: Floats,
    provenance: Made,
    *,
    images: Sequence[ImagesOf] = (),
    overwrite: bool = False,
) -> Path:
    """Write centroids [C, D] and what they were built from; returns the path. Raises BadInput."""
    check_numbers(centroids, "centroids", "[C, D]", path, remedies.VOCABULARY)
    listed = [part._asdict() for part in images]
    return VOCABULARY.write(path, {"centroids": centroids}, provenance, listed, overwrite)


def read_vocabulary(path: str | Path) -> tuple[npt.NDArray[np.float32], Provenance]:
    """centroids [C, D] and provenance, with `distance` and `unit`. MissingFile or BadInput."""
    if Path(path).suffix in (".pt", ".pth"):
        return _read_anyloc(path)
    found, made = VOCABULARY.read(path, remedies.VOCABULARY)
    made = {**USE, **made}
    fine = made["distance"] in DISTANCES and isinstance(made["unit"], bool)
    what = f"distance is {made['distance']!r} and unit {made['unit']!r}"
    expected = f"{' or '.join(DISTANCES)}; true or false"
    require(fine, what, where=path, expected=expected, remedy=remedies.VOCABULARY)
    return found["centroids"], made


def _read_anyloc(path: str | Path) -> tuple[npt.NDArray[np.float32], Provenance]:
    content = load_weights(path, ANYLOC)
    fine, what = isinstance(content, torch.Tensor), f"the file holds a {type(content).__name__}"
    require(fine, what, where=path, expected=ANYLOC)
    floating = content.detach().to(torch.float32) if content.is_floating_point() else content
    centroids = floating.numpy()
    check_numbers(centroids, "centroids", "[C, D]", path, ANYLOC)
    known = ANYLOC_BACKBONE if centroids.shape == ANYLOC_SHAPE else {}
    made = {"origin": "published", "num_clusters": len(centroids)}
    return centroids, {**made, "distance": "cosine", "unit": True, **known}


def read_vocabulary_images(path: str | Path) -> tuple[ImagesOf, ...]:
    """The images that a native vocabulary was built from. Raises MissingFile or BadInput."""
    parts = VOCABULARY.read_json(path, remedies.VOCABULARY)
    what, kinds = "a vocabulary's images cannot be read: {}", (ValueError, TypeError, KeyError)
    expected = "JSON bytes, as build_vocabulary writes them"
    with explained(what, kinds, where=path, expected=expected, remedy=remedies.VOCABULARY):
        said = ((part["dataset"], part["step"], part["names"]) for part in parts)
        return tuple(ImagesOf(str(of), int(n), tuple(map(str, names))) for of, n, names in said)


def write_binarization(
    path: str | Path, projection: Floats, provenance: Made, *, overwrite: bool = False
) -> Path:
    """Write a projection [Din, D], D a multiple of 8, and what it was fitted on."""
    _check_projection(projection, path)
    return BINARIZATION.write(path, {"projection": projection}, provenance, overwrite=overwrite)


def read_binarization(path: str | Path) -> tuple[npt.NDArray[np.float32], Provenance]:
    """projection [Din, D] float32 and the provenance. Raises MissingFile or BadInput."""
    found, made = BINARIZATION.read(path, remedies.BINARIZATION)
    _check_projection(found["projection"], path)
    return found["projection"], made


def _check_projection(projection: Array, path: str | Path) -> None:
    remedy, bits = remedies.BINARIZATION, projection.shape[-1]
    check_numbers(projection, "projections", "[Din, D]", path, remedy)
    what, expected = f"the projection has {bits} bits", "a multiple of 8: bits are packed"
    require(bits % 8 == 0, what, where=path, expected=expected, remedy=remedy)


def write_whitening(
    path: str | Path, whitening: Whitening, names: Names, made: Made, *, overwrite: bool = False
) -> Path:
    """Write a whitening, the images it was fitted on and what it was made from."""
    arrays = {name: getattr(whitening, name) for name in WHITENING.arrays}
    kept = {} if whitening.remainder is None else {"remainder": whitening.remainder}
    return WHITENING.write(path, arrays, {**made, **kept}, list(names), overwrite=overwrite)


def read_whitening(
    path: str | Path, *, remedy: str = remedies.WHITENING
) -> tuple[Whitening, tuple[str, ...], Provenance]:
    """The whitening, the images it was fitted on, the provenance. MissingFile or BadInput."""
    found, made = WHITENING.read(path, remedy)
    remainder = made.get("remainder")
    fine, what = isinstance(remainder, float | None), f"remainder is {remainder!r}"
    require(fine, what, where=path, expected="a variance, above 0", remedy=remedy)
    with explained(where=path, remedy=remedy):
        whitening = Whitening(**found, remainder=remainder)
    names = WHITENING.read_json(path, remedy)
    fine = isinstance(names, list) and all(isinstance(name, str) for name in names)
    require(fine, "'names' is no list of names", where=path, remedy=remedy)
    return whitening, tuple(names), made
