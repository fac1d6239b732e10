"""A whitening on disk: `pca_{desc}_{global}_{domain}.npz`.

`mean` [D], `components` [P, D], `variance` [P], all float32, `names`, the images that it was fitted
on, and in the provenance `remainder` where it has one (`ames_lite.retrieval.whitening`). A
whitening is identified by the digest of its components.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ames_lite.errors import BadInput
from ames_lite.io import remedies
from ames_lite.io.provenance import Provenance
from ames_lite.retrieval.whitening import Whitening
from ames_lite.stores.npz import ArrayFile

REMEDY = remedies.WHITENING
AXES = {"mean": "[D]", "components": "[P, D]", "variance": "[P]"}
FILE = ArrayFile("whitening", AXES, "names")


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
    arrays = {name: getattr(whitening, name) for name in AXES}
    kept = {} if whitening.remainder is None else {"remainder": whitening.remainder}
    return FILE.write(path, arrays, {**provenance, **kept}, list(names), overwrite=overwrite)


def read_whitening(
    path: str | Path, *, remedy: str = REMEDY
) -> tuple[Whitening, tuple[str, ...], Provenance]:
    """The whitening, the images it was fitted on, the provenance. MissingFile or BadInput."""
    found, made = FILE.read(path, remedy)
    remainder = made.get("remainder")
    if remainder is not None and not isinstance(remainder, float):
        what = f"remainder is {remainder!r}"
        raise BadInput(what, where=path, expected="a variance, above 0", remedy=remedy)
    try:
        whitening = Whitening(**found, remainder=remainder)
    except BadInput as error:
        raise BadInput(str(error), where=path, remedy=remedy) from error
    names = FILE.read_json(path, remedy)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise BadInput("'names' is no list of names", where=path, remedy=remedy)
    return whitening, tuple(names), made
