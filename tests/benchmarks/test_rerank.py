"""suite=rerank: what it counts and refuses. Never how fast anything is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ames_lite.cli.compose import compose
from ames_lite.errors import ConfigError
from ames_lite.evaluation.passes import pairs_to_score
from ames_lite.io.images import load_image
from ames_lite.records import PairScores
from benchmarks import command as benchmark
from benchmarks import rerank as speed
from benchmarks.made_stores import GRADED, make_lists, make_stores

TINY = ["suite=rerank", "device=cpu", "dim_in=16", "repeats=2", "threads=1", "precisions=[fp32]"]
TINY += ["rerank.queries=3", "rerank.num_rerank=16", "rerank.descriptors=6", "rerank.gallery=60"]
TINY += ["rerank.pool=40", "rerank.grow.num_rerank=[8,16]", "rerank.grow.descriptors=[]"]
TINY += ["rerank.grow.queries=[2,3]", "rerank.grow.gallery=[50,70]"]


def results_of(folder: Path, *overrides: str) -> dict[str, Any]:
    return benchmark.run(compose("benchmark", [*TINY, f"output_dir={folder}", *overrides]))


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("benchmark") / "run"
    found = results_of(folder)
    assert found == json.loads((folder / "benchmark.json").read_text())
    assert load_image(folder / "rerank.png").ndim == 3
    assert sorted(path.name for path in folder.iterdir()) == [
        "benchmark.json",
        "config.yaml",
        "overrides.yaml",
        "rerank.png",
        "run.log",
    ]
    return found


@pytest.mark.slow
def test_the_plain_loop_of_the_same_run_is_what_a_target_is_a_ratio_to(
    results: dict[str, Any],
) -> None:
    (cell,) = [cell for cell in results["cells"] if cell["work"] == "target"]
    assert cell["ratio"] == pytest.approx(cell["plain_seconds"] / cell["seconds"])
    assert cell["plain_forwards"] == 2 * 3 * 16  # both passes, every query, every candidate
    assert cell["pairs"] < cell["plain_forwards"]
    assert cell["logit_difference"] < 1e-4 and cell["same_ranking"]
    assert cell["map"] == cell["plain_map"]


def test_counters_say_that_everything_is_read_and_encoded_once(results: dict[str, Any]) -> None:
    for cell in results["cells"]:
        if cell["work"] != "exponent":
            assert cell["bytes_over_unique"] <= 1.05
            assert cell["encoded"] == cell["unique_images"] > 0
            assert cell["seconds"] > 0 and cell["peak_memory_mib"] > 0


def test_a_larger_gallery_asks_for_no_more_images(results: dict[str, Any]) -> None:
    cells = results["cells"]
    grown = [c for c in cells if c["work"] == "growth" and c["axis"] == "gallery"]
    assert [cell["gallery"] for cell in grown] == [50, 70]
    assert len({(cell["pairs"], cell["bytes_read"] > 0) for cell in grown}) == 1
    slopes = {(cell["axis"], cell["of"]) for cell in cells if cell["work"] == "exponent"}
    assert slopes == {
        ("num_rerank", "num_rerank"),
        ("num_rerank", "pairs"),
        ("queries", "queries"),
        ("queries", "pairs"),
        ("gallery", "gallery"),
    }


def test_the_exponent_is_the_slope_of_logarithms() -> None:
    cells = [{"value": n, "pairs": 2 * n, "seconds": 0.1 * n**1.5} for n in (5, 10, 40)]
    found = speed._exponents("queries", cells)
    assert [cell["exponent"] for cell in found] == pytest.approx([1.5, 1.5])
    assert speed._exponents("queries", cells[:1]) == []


def test_without_the_plain_loop_and_growth_there_is_neither(tmp_path: Path) -> None:
    none = [f"rerank.grow.{axis}=[]" for axis in speed.AXES]
    found = results_of(tmp_path / "run", "rerank.plain=false", *none)
    (cell,) = found["cells"]
    assert "plain_seconds" not in cell and not (tmp_path / "run" / "rerank.png").exists()


def test_the_made_lists_have_their_grades_among_those_reranked(tmp_path: Path) -> None:
    made = make_stores(tmp_path, 3, 50, 4, 8, seed=0)
    neighbors, truth = make_lists(made, 2, 40, 30, 20, seed=1)
    assert neighbors.ids.shape == (2, 30) and neighbors.num_gallery == 40
    for q in range(2):
        grades = [truth.easy[q], truth.hard[q], truth.junk[q]]
        assert [len(rows) for rows in grades] == [GRADED] * 3
        assert set(np.concatenate(grades)) <= set(neighbors.ids[q, :20].tolist())
    again = make_lists(made, 2, 40, 30, 20, seed=1)[0]
    np.testing.assert_array_equal(neighbors.ids, again.ids)
    lengths = np.linalg.norm(made.gallery.read(7).descriptors.astype(np.float32), axis=1)
    np.testing.assert_allclose(lengths, 1, atol=1e-3)


def test_a_swap_of_images_that_do_not_tie_is_another_ranking(tmp_path: Path) -> None:
    made = make_stores(tmp_path, 2, 50, 4, 8, seed=0)
    world = speed.judged(*make_lists(made, 2, 50, 40, 20, seed=1))
    query, gallery = pairs_to_score(world, 20)
    logit = np.random.default_rng(0).standard_normal(len(query)).astype(np.float32)
    plain = PairScores(query, gallery, logit)
    near = PairScores(query, gallery, logit + np.float32(1e-6))
    assert speed.same_order(world, near, plain, "medium", 20)
    assert not speed.same_order(world, PairScores(query, gallery, -logit), plain, "medium", 20)


@pytest.mark.parametrize(
    "override, message",
    [
        ("rerank.queries=0", "rerank.queries=0.*at least 1"),
        ("rerank.pool=10", "num_rerank=16 is more than the pool"),
        ("rerank.grow.gallery=[5]", "num_rerank=16 is more than the pool or the gallery"),
        ("rerank.grow.queries=[1,0]", "rerank.grow.queries=0.*at least 1"),
        ("rerank.grow.queries=4", r"a list, each a whole number: rerank.grow.queries=\[4\]"),
    ],
)
def test_what_cannot_be_measured_is_refused(override: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        results_of(tmp_path / "run", override)
    assert not (tmp_path / "run").exists()
