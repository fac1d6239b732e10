"""The measurement itself, on a world small enough for a test: no law about time."""

from __future__ import annotations

import json

import numpy as np

from ames_lite.evaluation.protocols import evaluate_ranking
from benchmarks.metrics import MetricSpeed, made_up_world, measure_metrics
from tests.evaluation import referee


def test_every_work_is_measured_once() -> None:
    options = MetricSpeed(
        queries=3, gallery=400, grid_gallery=90, num_rerank=100, lambs=2, temps=3, repeats=1
    )
    cells = measure_metrics(options)
    assert [(c["work"], c["gallery"], c["num_rerank"], c["settings"]) for c in cells] == [
        ("ranking", 400, None, 0),
        ("reranked", 400, 100, 1),
        ("grid", 90, 90, 6),
    ]
    assert all(cell["seconds"] > 0 for cell in cells)
    json.dumps(cells, allow_nan=False)


def test_the_world_that_is_measured_is_one_that_counts() -> None:
    neighbors, truth = made_up_world(3, 600, seed=0)
    again = made_up_world(3, 600, seed=0)[0]
    np.testing.assert_array_equal(neighbors.ids, again.ids)
    found = evaluate_ranking(neighbors, truth, "revisitop")
    for setting in ("easy", "medium", "hard"):
        rows = [
            referee.average_precision(row, *referee.lists_of(truth, setting, q))
            for q, row in enumerate(neighbors.ids.tolist())
        ]
        np.testing.assert_allclose(found.ap[setting], rows, atol=1e-12)
