"""Whole files in one call: what the project itself writes and reads in parts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from ames_lite.io.provenance import Provenance
from ames_lite.stores import hdf5, pair_scores
from ames_lite.stores.checksums import row_checksums
from ames_lite.stores.fitted import read_vocabulary
from ames_lite.stores.global_store import GlobalStore
from ames_lite.stores.row_layout import BY_ROW, GLOBAL_SCHEMA, HEAD, checksum_table

OLDER = hdf5.Schema(GLOBAL_SCHEMA.older)


def write_globals(
    path: str | Path,
    names: Sequence[str],
    descriptors: np.ndarray,
    provenance: Mapping[str, Any],
    *,
    overwrite: bool = False,
) -> Path:
    """Global descriptors as older runs wrote them: without status and checksums, unchecked."""
    with hdf5.new_file(path, OLDER, provenance, overwrite=overwrite) as file:
        file["name"] = hdf5.encode_names(names)
        file["descriptors"] = descriptors
    return Path(path)


@contextmanager
def rewritten(path: str | Path) -> Iterator[h5py.File]:
    """A file to be changed; afterwards it has the checksums of what is then in it."""
    with h5py.File(path, "r+") as plain:
        yield plain
    with hdf5.open_foreign(path, "r+") as file:
        if file.attribute("schema") is None or not hdf5.is_complete(file):
            return
        if "ids" in file:
            file["checksum"][:] = row_checksums(file["ids"][:], file["sims"][:])
        elif "checksum" in file:
            rows = {name: file[name][:] for name in (*HEAD, *BY_ROW) if name in file}
            file["checksum"][:] = checksum_table(rows)
        small = [name for name in ("name", *HEAD, *pair_scores.PARTS) if name in file]
        hdf5.mark_complete(file, small)


def read_globals(path: str | Path, **more: Any) -> tuple[tuple[str, ...], np.ndarray, Provenance]:
    """Names, descriptors [N, D] as stored, and the provenance; more: as GlobalStore takes it."""
    with GlobalStore(path, **more) as store:
        return store.names, store.read(0, len(store)), store.provenance


def read_digests(path: str | Path) -> dict[str, Any]:
    """What the scores of a file were made from, key by key."""
    with hdf5.open_complete(path, pair_scores.SCHEMA, remedy=pair_scores.REMEDY) as file:
        return hdf5.read_json(file, "digests")


class Vocabulary(NamedTuple):
    """How a vocabulary is to be used."""

    centroids: np.ndarray
    distance: str
    unit: bool
    provenance: Provenance


def open_vocabulary(path: str | Path) -> Vocabulary:
    """A vocabulary with how it is to be used."""
    centroids, provenance = read_vocabulary(path)
    return Vocabulary(centroids, provenance["distance"], provenance["unit"], provenance)
