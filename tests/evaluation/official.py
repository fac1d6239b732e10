"""ROxford and RParis as they are in ../shared, for tests that need them."""

from __future__ import annotations

from functools import cache

import numpy as np

from ames_lite.datasets.ground_truth import read_ground_truth
from ames_lite.datasets.image_lists import read_image_list
from ames_lite.records import GroundTruth, Neighbors, PairScores
from ames_lite.stores.published.safe_pickle import read_pickle
from tests.helpers import shared_file


@cache
def official_truth(dataset: str) -> GroundTruth:
    path = shared_file(f"ground_truth/gnd_{dataset}.pkl")
    if dataset == "roxford5k":
        query = read_image_list(shared_file("ground_truth/roxford5k_test_query.txt"))
        gallery = read_image_list(shared_file("ground_truth/roxford5k_test_gallery.txt"))
        return read_ground_truth(path, query.names, gallery.names)
    content = read_pickle(path)
    assert isinstance(content, dict)
    names = {key: [f"jpg/{name}.jpg" for name in content[key]] for key in ("qimlist", "imlist")}
    return read_ground_truth(path, names["qimlist"], names["imlist"])


@cache
def official_neighbors(dataset: str) -> Neighbors:
    with np.load(shared_file("fixtures/rerank_inputs.npz")) as inputs:
        ids, sims = inputs[f"{dataset}/nn_inds"], inputs[f"{dataset}/nn_sims"]
    return Neighbors(ids, sims, ids.shape[1])


@cache
def official_scores(dataset: str) -> PairScores:
    """raw[q, k] is the logit of what stood at position k of the original list."""
    with np.load(shared_file("fixtures/rerank_inputs.npz")) as inputs:
        raw = inputs[f"{dataset}/raw"].astype(np.float32)
        ids = inputs[f"{dataset}/nn_inds"][:, : raw.shape[1]]
    query = np.repeat(np.arange(len(ids), dtype=np.int32), ids.shape[1])
    return PairScores(query, ids.ravel().astype(np.int32), raw.ravel())
