"""The measurement itself, on a world small enough for a test: no law about time."""

from __future__ import annotations

import json

import numpy as np

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
    world, again = (made_up_world(3, 600, seed=0) for _ in range(2))
    np.testing.assert_array_equal(world.neighbors.ids, again.neighbors.ids)
    found, truth = world.evaluate(), world.ground_truth
    for setting in ("easy", "medium", "hard"):
        rows = [
            referee.average_precision(row, *referee.lists_of(truth, setting, q))
            for q, row in enumerate(world.neighbors.ids.tolist())
        ]
        np.testing.assert_allclose(found.ap[setting], rows, atol=1e-12)
