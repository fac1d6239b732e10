"""A rendered route goes through the commands of any place recognition set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ames_lite.cli import (
    build_vocabulary,
    evaluate,
    extract_descriptors,
    extract_globals,
    prepare_set,
    prepare_topk_global,
    tune,
)
from ames_lite.cli.compose import compose
from ames_lite.datasets.image_lists import read_image_list
from ames_lite.errors import BadInput, ConfigError
from ames_lite.stores.neighbor_lists import read_neighbors
from tools.route import command as render_route

LENGTHS = ("length=120", "gallery_step=10", "query_begin=40", "query_end=80", "query_step=10")
RADIUS = 25.0


def metres(name: str, origin: str) -> float:
    """Metres between two frames, from the names alone."""
    here, there = ([float(x) for x in text.split("@")[1:3]] for text in (name, origin))
    return float(np.hypot(here[0] - there[0], here[1] - there[1]))


@pytest.mark.slow
def test_a_route_goes_from_pixels_to_recall(tmp_path: Path) -> None:
    """recall@k of the global ranking is counted again from the names of the neighbours."""
    given = [*LENGTHS, f"data_root={tmp_path}", "workers=1"]
    folder = render_route.run(compose("render_route", given))
    assert folder == tmp_path / "synthetic-route"
    chosen = ["dataset=synthetic-route", f"data_root={tmp_path}"]
    prepared = prepare_set.run(compose("prepare_set", chosen))
    assert prepared.counts() == {"query": 4, "gallery": 12}
    chosen.append("desc_name=sift")
    extract_descriptors.run(
        compose("extract_descriptors", [*chosen, "workers=1", "backbone.arguments.top_k=100"])
    )
    build_vocabulary.run(compose("build_vocabulary", [*chosen, "split=gallery", "num_clusters=8"]))
    extract_globals.run(compose("extract_globals", chosen))
    prepare_topk_global.run(compose("prepare_topk_global", chosen))
    near = _near(folder)
    options = ["model=ransac", "num_rerank=12", "lamb=0.2", "temp=0.1", "report_queries=1"]
    config = compose("evaluate", [*chosen, *options, f"output_dir={tmp_path / 'run'}"])
    results = evaluate.run(config)
    for k in (1, 5, 10):
        by_hand = near[:, :k].any(axis=1).mean()
        assert results["global"][f"recall@{k}"] == pytest.approx(by_hand)
    assert 0 < near.mean() < 0.5  # most of the street is another place
    reranked = results["rows"][0]["metrics"]["recall@1"]
    assert reranked >= 0.75  # the same reliefs, matched by geometry


def _near(folder: Path) -> np.ndarray:
    """Whether neighbour k of query q stands within the radius: [Q, K]."""
    lists = [read_image_list(folder / f"{side}.txt").names for side in ("query", "gallery")]
    ids = read_neighbors(folder / "nn_sift_vlad.hdf5", *lists).ids
    return np.array(
        [
            [metres(lists[1][row], query) <= RADIUS for row in rows]
            for query, rows in zip(lists[0], ids, strict=True)
        ]
    )


def test_lambda_and_gamma_are_chosen_on_another_street(tmp_path: Path) -> None:
    assert compose("tune", ["dataset=synthetic-route-val"]).dataset.role == "val"
    given = ["dataset=synthetic-route", "model=ransac", f"data_root={tmp_path}"]
    with pytest.raises(ConfigError, match="role 'test'"):
        tune.run(compose("tune", given))


def test_wrong_routes_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    def run(*given: str) -> None:
        render_route.run(compose("render_route", [f"data_root={tmp_path}", *given]))

    with pytest.raises(ConfigError, match="role=train(.|\n)*test or val"):
        run("role=train")
    with pytest.raises(ConfigError, match=r"seed=x\s+expected: a whole number"):
        run("seed=x")
    with pytest.raises(BadInput, match="query_begin < query_end"):
        run("query_end=400.0")
    assert not list(tmp_path.iterdir())


def test_a_route_that_was_not_rendered_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"python scripts/render_route\.py"):
        prepare_set.run(
            compose("prepare_set", ["dataset=synthetic-route", f"data_root={tmp_path}"])
        )
