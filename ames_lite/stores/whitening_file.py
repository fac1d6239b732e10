"""A whitening on disk: `pca_{desc}_{global}_{domain}.npz`.

`mean` [D], `components` [P, D], `variance` [P], all float32, `names`, the images that it was fitted
on, as a JSON list in UTF-8 bytes (uint8), and `provenance`, with `remainder` where it has one
(`ames_lite.retrieval.whitening`). A whitening is identified by the digest of its components.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput
from ames_lite.io import remedies
from ames_lite.io.json_file import parse_json
from ames_lite.io.provenance import Provenance
from ames_lite.retrieval.whitening import Whitening
from ames_lite.stores.npz import read_npz, write_npz

REMEDY = remedies.WHITENING
SHAPES = {"mean": "[D]", "components": "[P, D]", "variance": "[P]"}


def write_whitening(
    path: str | Path,
    whitening: Whitening,
    names: Sequence[str],
    provenance: Mapping[str, Any],
    *,
    overwrite: bool = False,
) -> Path:
    """Write a whitening, the images it was fitted on and what else it was made from.

    Returns the path. Raises BadInput for an existing file unless overwrite.
    """
    arrays: dict[str, npt.NDArray[Any]] = {name: getattr(whitening, name) for name in SHAPES}
    arrays["names"] = np.frombuffer(json.dumps(list(names)).encode(), dtype=np.uint8)
    kept = {} if whitening.remainder is None else {"remainder": whitening.remainder}
    return write_npz(path, arrays, {**provenance, **kept}, overwrite=overwrite)


def read_whitening(
    path: str | Path, *, remedy: str = REMEDY
) -> tuple[Whitening, tuple[str, ...], Provenance]:
    """The whitening, the images it was fitted on, the provenance. MissingFile or BadInput."""
    found: dict[str, Any] = {}
    made = Provenance()
    for name, shape in SHAPES.items():
        values, made = read_npz(path, name, "whitening", shape, remedy)
        if values.dtype.kind != "f":
            what = f"'{name}' is {values.dtype}"
            raise BadInput(what, where=path, expected="floating-point numbers", remedy=remedy)
        found[name] = values.astype(np.float32)
    remainder = made.get("remainder")
    if remainder is not None and not isinstance(remainder, float):
        what = f"remainder is {remainder!r}"
        raise BadInput(what, where=path, expected="a variance, above 0", remedy=remedy)
    try:
        whitening = Whitening(**found, remainder=remainder)
    except BadInput as error:
        raise BadInput(str(error), where=path, remedy=remedy) from error
    return whitening, _names(path, remedy), made


def _names(path: str | Path, remedy: str) -> tuple[str, ...]:
    encoded, _ = read_npz(path, "names", "whitening", "[bytes]", remedy)
    names = parse_json(bytes(encoded), path, "'names' as a JSON list", remedy)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise BadInput("'names' is no list of names", where=path, remedy=remedy)
    return tuple(names)
