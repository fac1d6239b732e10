"""Results as an evaluation writes them, made up from a seed."""

from __future__ import annotations

from typing import Any

import numpy as np


def make_results(
    seed: int = 0,
    *,
    dataset: str = "roxford",
    queries: int = 12,
    rows: int = 1,
    gain: float = 0.1,
    tuned_on: str | None = None,
    graded: bool = True,
    **config: Any,
) -> dict[str, Any]:
    """The global ranking is the same for every seed; query 0 has no positive."""
    names = [f"jpg/q{q}.jpg" for q in range(queries)]
    before = np.random.default_rng(99).random(queries) * 0.5
    after = before + gain + 0.05 * np.random.default_rng(seed).standard_normal(queries)
    per_query = [
        {"name": name, "global_ap": float(b), "ap": float(a)}
        for name, b, a in zip(names, before, after, strict=True)
    ]
    per_query[0] |= {"global_ap": None, "ap": None}

    def metrics(ap: float) -> dict[str, float]:
        if not graded:
            return {"map@100": ap, "recall@1": ap / 2}
        return {"map_medium": ap + 0.1, "mp@1_medium": 0.5, "map_hard": ap - 0.1, "map": ap}

    mean = float(after[1:].mean())
    return {
        "schema": 1,
        "dataset": dataset,
        "desc_name": "sift",
        "model": "ames",
        "config": {
            "dataset": {"option": dataset, "role": "test"},
            "neighbors": "vlad",
            "num_rerank": 100,
            "seed": seed,
            "weights": f"runs/train_{seed}",
            **config,
        },
        "global": metrics(float(before[1:].mean())),
        "rows": [
            {
                "num_rerank": 100,
                "lamb": 0.3 + i / 10,
                "temp": 0.1,
                "query_desc_num": 600,
                "gallery_desc_num": 600,
                "tuned_on": tuned_on,
                "metrics": metrics(mean - i / 100),
            }
            for i in range(rows)
        ],
        "per_query": per_query,
        "cost": {},
        "versions": {},
        "digests": {"query_names": "q", "gallery_names": "g", "weights": f"w{seed}"},
    }
