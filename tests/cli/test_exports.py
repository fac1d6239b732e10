"""Exports of an evaluation: the files say what results.json says."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ames_lite.cli import evaluate
from ames_lite.cli.compose import compose
from ames_lite.datasets.ground_truth import read_ground_truth
from ames_lite.datasets.image_lists import read_image_list
from ames_lite.errors import BadInput, ConfigError
from ames_lite.evaluation.protocols import evaluate_ranking
from ames_lite.stores.neighbor_lists import read_neighbors
from tests.conftest import TinyWorld
from tests.evaluation.trec import read_trec_run

FLOOR = ["model=mutual_nn", "num_rerank=10", "lamb=0.3", "temp=0.1", "report_queries=0"]
ALL = "exports=[trec,json,json_scores,csv,pairs]"

SETTINGS = {"config.yaml", "overrides.yaml", "run.log"}


def names_of(folder: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    queries, gallery = (read_image_list(folder / f"{s}.txt").names for s in ("query", "gallery"))
    return queries, gallery


@pytest.fixture
def ungraded(tiny_world: TinyWorld, tmp_path: Path) -> Path:
    """The tiny world with one list of positives a query: a data root with the set `mine`."""
    source, folder = tiny_world.folder(), tmp_path / "data" / "mine"
    folder.mkdir(parents=True)
    for path in source.iterdir():
        (folder / path.name).symlink_to(path)
    graded = json.loads((source / "gnd_synthetic.json").read_text())["queries"]
    queries = [{"name": q["name"], "positives": q["easy"] + q["hard"]} for q in graded]
    (folder / "gnd_mine.json").write_text(json.dumps({"queries": queries}))
    return folder


def run_ungraded(ungraded: Path, output: Path, *more: str) -> dict[str, Any]:
    given = ["dataset=folder", "name=mine", "desc_name=sift", f"data_root={ungraded.parent}"]
    given += ["dataset.protocol=instance", "neighbors=vlad"]
    return evaluate.run(compose("evaluate", [*given, *FLOOR, f"output_dir={output}", *more]))


def test_a_run_read_back_gives_the_metrics_of_the_results(ungraded: Path, tmp_path: Path) -> None:
    results = run_ungraded(ungraded, tmp_path / "run", "exports=[trec]")
    queries, gallery = names_of(ungraded)
    ranking = read_trec_run(tmp_path / "run" / "run.trec", queries, gallery)
    truth = read_ground_truth(ungraded / "gnd_mine.json", queries, gallery)
    found = evaluate_ranking(ranking, truth, "instance").metrics
    assert found == pytest.approx(results["rows"][0]["metrics"], abs=1e-15)
    assert found != pytest.approx(results["global"])  # else it would show nothing


def test_all_forms_hold_the_same_ranking(ungraded: Path, tmp_path: Path) -> None:
    results = run_ungraded(ungraded, tmp_path / "run", ALL, "lamb=[0.3,0.9]", "export_top=15")
    queries, gallery = names_of(ungraded)
    run = read_trec_run(tmp_path / "run" / "run.trec", queries, gallery)
    assert run.ids.shape == (len(queries), 15)
    names = {q: [gallery[i] for i in run.ids[row]] for row, q in enumerate(queries)}
    assert json.loads((tmp_path / "run" / "retrieval_results.json").read_text()) == names
    scored = json.loads((tmp_path / "run" / "retrieval_results_scores.json").read_text())
    assert {q: [name for name, _ in rows] for q, rows in scored.items()} == names
    for name in ("ranking.csv", "pairs.csv"):
        with open(tmp_path / "run" / name, newline="") as file:
            rows = list(csv.DictReader(file))
        read = {q: [row["gallery"] for row in rows if row["query"] == q] for q in queries}
        assert read == names
    reranked = [row for row in rows if row["logit"]]
    assert len(reranked) == 10 * len(queries) and len(rows) == 15 * len(queries)
    first = results["rows"][0]
    sim, logit, score = (
        np.array([row[key] for row in reranked], np.float64) for key in ("sim", "logit", "score")
    )
    made = first["lamb"] * sim + (1 - first["lamb"]) / (1 + np.exp(-first["temp"] * logit))
    np.testing.assert_allclose(made, score, atol=1e-6)
    neighbors = read_neighbors(ungraded / "nn_sift_vlad.hdf5", queries, gallery)
    for row in rows:
        q, image = queries.index(row["query"]), gallery.index(row["gallery"])
        at = int(np.flatnonzero(neighbors.ids[q] == image)[0])
        assert np.float32(row["sim"]) == neighbors.sims[q, at]


@pytest.mark.parametrize("setting", [None, "easy", "medium", "hard"])
def test_a_graded_set_exports_the_ranking_of_one_pass_and_says_which(
    setting: str | None, tiny_world: TinyWorld, tmp_path: Path
) -> None:
    given = ["dataset=synthetic", "desc_name=sift", f"data_root={tiny_world.root}", *FLOOR, ALL]
    given += [f"output_dir={tmp_path / 'run'}"] + ([f"export_setting={setting}"] if setting else [])
    results = evaluate.run(compose("evaluate", given))
    name = setting or "medium"
    written = {path.name for path in (tmp_path / "run").iterdir()}
    stems = ("run{}.trec", "retrieval_results{}.json", "retrieval_results{}_scores.json")
    expected = {one.format(f"_{name}") for one in (*stems, "ranking{}.csv", "pairs{}.csv")}
    assert written == expected | {*SETTINGS, "scores.hdf5", "results.json"}
    queries, gallery = names_of(tiny_world.folder())
    path = tmp_path / "run" / f"run_{name}.trec"
    assert path.read_text().split("\n")[0].endswith(f" mutual_nn-{name}")
    truth = read_ground_truth(tiny_world.folder() / "gnd_synthetic.json", queries, gallery)
    found = evaluate_ranking(read_trec_run(path, queries, gallery), truth, "revisitop").metrics
    assert found[f"map_{name}"] == pytest.approx(
        results["rows"][0]["metrics"][f"map_{name}"], abs=1e-15
    )


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("exports=[trec,pdf]", "trec, json"),
        ("exports=[csv,csv]", "each once"),
        ("export_setting=hard", "no setting 'hard'"),
        ("export_top=0", "first 0"),
        ("export_top=many", "many"),
    ],
)
def test_wrong_exports_are_refused_before_the_run(
    wrong: str, words: str, ungraded: Path, tmp_path: Path
) -> None:
    with pytest.raises((BadInput, ConfigError), match=words):
        run_ungraded(ungraded, tmp_path / "run", wrong)
    assert not (tmp_path / "run").exists()


def test_without_exports_nothing_is_exported(ungraded: Path, tmp_path: Path) -> None:
    run_ungraded(ungraded, tmp_path / "run")
    written = {path.name for path in (tmp_path / "run").iterdir()}
    assert written == {*SETTINGS, "scores.hdf5", "results.json"}
    run_ungraded(ungraded, tmp_path / "one", "exports=trec")  # one form needs no brackets
    assert (tmp_path / "one" / "run.trec").is_file()
