"""The global ranking alone, evaluated: neighbour lists and ground truth in, metrics out.

No descriptor is opened. What came of it is a dict like that of results.json, without rows.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from ames_lite import __version__
from ames_lite.datasets.ground_truth import read_ground_truth
from ames_lite.datasets.image_lists import read_image_list
from ames_lite.datasets.layout import DatasetFiles, find_all
from ames_lite.evaluation.protocols import Protocol, evaluate_ranking
from ames_lite.io.digest import file_digest, names_digest
from ames_lite.io.provenance import Provenance
from ames_lite.stores import hdf5
from ames_lite.stores.neighbor_lists import SCHEMA, is_pickle, read_neighbors
from ames_lite.stores.neighbor_rows import say_rising
from ames_lite.stores.published.store import ORIGIN


def evaluate_lists(
    files: DatasetFiles, protocol: Protocol, neighbors: str, config: dict[str, Any]
) -> dict[str, Any]:
    """Metrics of the lists; config: kept as it is. Raises MissingFile that names all that is
    missing, and BadInput where lists, names and ground truth do not fit.
    """
    paths = find_all(
        {
            "query": lambda: files.image_list("query"),
            "gallery": lambda: files.image_list("gallery"),
            "ground truth": files.ground_truth,
            "neighbors": lambda: files.neighbors(neighbors),
        }
    )
    queries, gallery = (read_image_list(paths[side]).names for side in ("query", "gallery"))
    skipped = files.skipped(paths["ground truth"])
    truth = read_ground_truth(paths["ground truth"], queries, gallery, skip_last=skipped)
    ranking = read_neighbors(
        paths["neighbors"], queries, gallery, remedy=files.make_neighbors(neighbors, overwrite=True)
    )
    say_rising(ranking.rising, len(ranking.ids), paths["neighbors"])
    found = evaluate_ranking(ranking, truth, protocol)
    return {
        "dataset": files.name,
        "desc_name": files.desc_name,
        "config": config,
        "counted": protocol.counted,
        "counts": {"query": len(queries), "gallery": len(gallery)},
        "global": {
            name: None if math.isnan(value) else float(value)
            for name, value in found.metrics.items()
        },
        "versions": {"ames_lite": __version__},
        "digests": {
            "query_names": names_digest(queries),
            "gallery_names": names_digest(gallery),
            "neighbors": file_digest(paths["neighbors"]),
            "neighbors_made": json.dumps(neighbors_made(paths["neighbors"]), sort_keys=True),
        },
    }


def neighbors_made(path: Path) -> Provenance:
    """What lists say of what made them; those of the published form say nothing."""
    return {"origin": ORIGIN} if is_pickle(path) else hdf5.read_provenance(path, SCHEMA)
