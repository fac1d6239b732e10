"""Pair scores on disk: `scores.hdf5`, what the network said once about every pair.

`query`, `gallery` int32 [P] and `logit` float32 [P] (raw, before λ and γ), with digests of all that
determines them: weights, stores, neighbours, settings. A file is reused only where all agree.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ames_lite.errors import BadInput
from ames_lite.io import remedies
from ames_lite.io.provenance import ABSENT
from ames_lite.records import PairScores
from ames_lite.stores import hdf5

SCHEMA = "ames_lite/pair_scores/1"
REMEDY = remedies.SCORES
Digests = Mapping[str, str]


def write_pair_scores(
    path: str | Path,
    scores: PairScores,
    digests: Digests,
    provenance: Mapping[str, Any] | None = None,
    *,
    overwrite: bool = False,
) -> Path:
    """Write the scores and what they depend on (key -> digest or other text); returns the path.

    Raises BadInput for digests that are not text, and for an existing file unless overwrite.
    """
    for key, value in digests.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise BadInput(f"digest {key!r} is {value!r}", where=path, expected="text")
    with hdf5.new_file(path, SCHEMA, provenance or {}, overwrite=overwrite) as file:
        file["query"] = scores.query.astype(np.int32, copy=False)
        file["gallery"] = scores.gallery.astype(np.int32, copy=False)
        file["logit"] = scores.logit.astype(np.float32, copy=False)
        hdf5.write_json(file, "digests", digests)
    return Path(path)


def read_pair_scores(path: str | Path, digests: Digests, *, remedy: str = REMEDY) -> PairScores:
    """The scores, if they were made from exactly what this run has.

    Raises MissingFile; BadInput where the file is damaged or a digest differs, naming the key and
    both values.
    """
    with hdf5.open_complete(path, SCHEMA, remedy=remedy) as file:
        check_digests(file, digests, "the scores were made", remedy)
        query = hdf5.dataset(file, "query", (None,), ("int32",))
        gallery = hdf5.dataset(file, "gallery", query.shape, ("int32",))
        logit = hdf5.dataset(file, "logit", query.shape, ("float32",))
        parts = query[:], gallery[:], logit[:]
    try:
        return PairScores(*parts)
    except BadInput as error:
        raise BadInput(str(error), where=path, remedy=remedy) from error


def check_digests(file: hdf5.File, digests: Digests, made: str, remedy: str) -> None:
    """Raise BadInput where a file was made from something else. made: in words, when."""
    stored = hdf5.read_json(file, "digests")
    for key in sorted(stored.keys() | digests.keys()):
        there, here = stored.get(key, ABSENT), digests.get(key, ABSENT)
        if there != here:
            raise BadInput(
                f"{made} with another {key}: {there} there, {here} here",
                where=file.path,
                expected=f"the same {key}",
                remedy=remedy,
            )


def read_provenance(path: str | Path, *, remedy: str = REMEDY) -> dict[str, Any]:
    """What is known of the run that made the scores of a file; nothing of older files."""
    return hdf5.read_provenance(path, SCHEMA, remedy=remedy)
