"""The global ranking of neighbour lists alone, without any descriptor."""

from __future__ import annotations

import json
from typing import Any

from ames_lite import __version__
from ames_lite.datasets.layout import DatasetFiles
from ames_lite.evaluation.data import find_files, list_digests, long_lists, read_digests, read_lists
from ames_lite.evaluation.evaluator import heading
from ames_lite.evaluation.protocols import Protocol, evaluate_ranking
from ames_lite.stores.neighbor_lists import read_provenance


def evaluate_lists(
    files: DatasetFiles, protocol: Protocol, neighbors: str, config: dict[str, Any]
) -> dict[str, Any]:
    """The global ranking alone: a dict like that of results.json, without rows; config: kept as it
    is. No descriptor is opened. Raises MissingFile that names all that is missing, and BadInput
    where lists, names and ground truth do not fit.
    """
    paths = find_files(files, neighbors, stores=False)
    lists = queries, gallery = read_lists(paths)
    maker = files.make_neighbors(neighbors, overwrite=True)
    truth, path = files.read_truth(*(images.names for images in lists)), paths["neighbors"]
    ranking = long_lists(path, truth, 0, maker, most=None)
    return {
        **heading(files, protocol, config, evaluate_ranking(ranking, truth, protocol)),
        "counts": {"query": len(queries.names), "gallery": len(gallery.names)},
        "versions": {"ames_lite": __version__},
        "read": read_digests(truth, path),
        "digests": {
            **list_digests(queries.names, gallery.names),
            "neighbors_made": json.dumps(read_provenance(path), sort_keys=True),
        },
    }
