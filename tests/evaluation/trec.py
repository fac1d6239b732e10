"""A TREC run, read as evaluation programs read it: by falling score."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote

import numpy as np

from ames_lite.records import Neighbors
from ames_lite.stores.candidates.texts import ODD_NAMES


def read_trec_run(
    path: Path, query_names: Sequence[str], gallery_names: Sequence[str]
) -> Neighbors:
    """The ranking; equal scores in the order of the lines, equally many images a query."""
    row_of = {name: row for row, name in enumerate(gallery_names)}
    listed: dict[str, list[tuple[float, int]]] = {name: [] for name in query_names}
    for line in path.read_text(encoding="utf-8").splitlines():
        query, _, image, _, score, _ = line.split()
        row = row_of[unquote(image, errors=ODD_NAMES)]
        listed[unquote(query, errors=ODD_NAMES)].append((float(score), row))
    in_order = [sorted(rows, key=lambda row: -row[0]) for rows in listed.values()]
    array = np.array(in_order, np.float64).reshape(len(in_order), -1, 2)
    scores = array[..., 0].astype(np.float32)
    return Neighbors(array[..., 1].astype(np.int32), scores, len(gallery_names))
