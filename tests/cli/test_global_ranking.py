"""`model=none`: lists as they are, in both directions of AmsterTime, and of class folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ames_lite.cli import compare, evaluate, failures, plot, prepare_dataset, prepare_set
from ames_lite.cli.compose import compose
from ames_lite.cli.shell import dataset_files
from ames_lite.datasets.image_lists import read_image_list
from ames_lite.errors import BadInput, ConfigError
from ames_lite.records import Neighbors
from ames_lite.stores.candidates import read_candidates
from ames_lite.stores.neighbor_lists import write_neighbors
from tests.datasets.vpr.miniatures import MINIATURES, draw
from tests.pages import Page


def planted(words: list[str], ids: list[list[int]], sims: list[list[float]]) -> None:
    """Neighbour lists of a prepared set; no descriptor is anywhere."""
    files = dataset_files(compose("evaluate", words))
    names = [read_image_list(files.image_list(side)).names for side in ("query", "gallery")]
    lists = np.array(ids, np.int32), np.array(sims, np.float32)
    write_neighbors(files.neighbors_path("cls"), Neighbors(*lists, len(names[1])), *names, {})


@pytest.fixture
def amstertime(tmp_path: Path) -> list[str]:
    """Both directions: a query finds its partner first, second, third."""
    MINIATURES["amstertime"].write(tmp_path, side=48)
    root = f"data_root={tmp_path}"
    for swap in ("false", "true"):
        words = ["dataset=amstertime", f"swap={swap}", root]
        prepare_set.run(compose("prepare_set", words))
        ids = [[0, 1, 2], [0, 1, 2], [1, 0, 2]]
        planted(words, ids, [[0.9, 0.5, 0.1], [0.8, 0.6, 0.2], [0.7, 0.6, 0.3]])
    return ["dataset=amstertime", root, "model=none"]


def run(words: list[str], output: Path, *more: str) -> dict[str, Any]:
    return evaluate.run(compose("evaluate", [*words, f"output_dir={output}", *more]))


@pytest.mark.parametrize("swap", ["false", "true"])
def test_a_ranking_is_evaluated_without_any_descriptor(
    amstertime: list[str], swap: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = run(amstertime, tmp_path / "run", f"swap={swap}", "exports=[json]")
    assert found["global"]["recall@1"] == pytest.approx(1 / 3) and found["model"] == "none"
    assert found["global"]["recall@5"] == 1
    (row,) = found["rows"]
    assert row["num_rerank"] == 0 and row["metrics"] == found["global"]
    said = capsys.readouterr().out
    assert "recall@5" in said and "first row against global" not in said
    written = json.loads((tmp_path / "run" / "results.json").read_text())
    assert written.items() >= json.loads(json.dumps(found)).items()
    assert not list(tmp_path.rglob("scores.hdf5"))
    lists = read_candidates(tmp_path / "run" / "retrieval_results.json")
    assert [len(names) for names in lists.found] == [3, 3, 3]


def test_its_report_shows_successes_and_the_furthest_failures(
    amstertime: list[str], tmp_path: Path
) -> None:
    """The third query's partner is at 0.3, the second's at 0.6: the third is the worse."""
    names = [entry["name"] for entry in run(amstertime, tmp_path / "run")["per_query"]]
    page = Page((tmp_path / "run" / "report.html").read_text("utf-8"))
    assert [view["name"] for view in page.views] == [names[0], names[2], names[1]]
    marks = [view["marks"][-1] for view in page.views]
    assert marks == ["success", "worst by distance", "worst by distance"]
    assert len(page.views[0]["lists"]) == 1
    ranking, best = page.views[1]["lists"]
    assert (ranking[0]["tag"], best[0]["tag"], best[0]["rank"]) == ("wrong", "right", 3)
    assert "global ranking" in page.text and "Reranked" not in page.source
    again = failures.run(
        compose(
            "failures",
            [f"results={tmp_path / 'run'}", "num_rows=1", f"output_dir={tmp_path / 'again'}"],
        )
    )
    views = Page(again.read_text("utf-8")).views
    assert [view["name"] for view in views] == [names[0], names[2]]


def test_other_commands_take_its_results(
    amstertime: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(amstertime, tmp_path / "run", "report_queries=0")
    given = f"results=[{tmp_path / 'run'}]"
    compare.run(compose("compare", [given]))
    table = capsys.readouterr().out.split("amstertime")[1]
    assert "not reranked" in table and " none " not in table
    words = [f"results={tmp_path / 'run'}", f"output_dir={tmp_path / 'plots'}"]
    drawn = plot.run(compose("plot", words))
    assert [path.stem for path in drawn] == ["precision_recall", "recall"]


@pytest.mark.parametrize("word", ["num_rerank=10", "lamb=0.5", "weights=somewhere", "scores=run"])
def test_a_key_of_reranking_is_refused(amstertime: list[str], word: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"{word.partition('=')[0]} given with model=none"):
        run(amstertime, tmp_path / "run", word)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["tune", "train", "search", "rerank"])
def test_no_other_command_takes_it(name: str) -> None:
    with pytest.raises(ConfigError, match="model=none is not one of"):
        compose(name, ["model=none"])


def class_folders(root: Path, *, flat: bool) -> list[str]:
    """train/<class>, test/query and test/gallery, with classes or flat."""
    for at, name in enumerate(
        ["train/a/0", "query/a/1", "query/b/2", "gallery/a/3", "gallery/b/4"]
    ):
        side, label, file = name.split("/")
        parts = [side] if side == "train" else ["test", side]
        parts += [] if flat and side != "train" else [label]
        draw(root.joinpath("photos", *parts, f"{file}.png"), at)
    images = [f"images={root / 'photos'}", "labels=folders", "name=own", f"data_root={root}"]
    prepare_dataset.run(compose("prepare_dataset", images))
    words = ["dataset=folder", "name=own", f"data_root={root}", "neighbors=cls", "model=none"]
    planted(words, [[0, 1], [0, 1]], [[0.9, 0.5], [0.9, 0.6]])
    return words


def test_a_layout_with_classes_has_the_metrics_of_any_k(tmp_path: Path) -> None:
    words = class_folders(tmp_path, flat=False)
    found = run(words, tmp_path / "run", "k=[1,2]")["global"]
    assert (found["map@1"], found["map@2"]) == (0.5, 0.75)
    assert (found["precision@1"], found["precision@2"]) == (0.5, 0.5)
    assert (found["accuracy@1"], found["recall@2"]) == (0.5, 1.0)
    page = tmp_path / "failures"
    failures.run(compose("failures", [f"results={tmp_path / 'run'}", f"output_dir={page}"]))
    with pytest.raises(ConfigError, match="k=0"):
        run(words, tmp_path / "b", "k=0")


def test_a_flat_layout_has_ranked_lists_and_no_metric(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = class_folders(tmp_path, flat=True)
    with pytest.raises(BadInput, match="no query has a positive"):
        run(words, tmp_path / "a")
    found = run(words, tmp_path / "b", "exports=[json]")
    assert "nothing is measured" in capsys.readouterr().out
    assert set(found["global"].values()) == {None}
    lists = json.loads((tmp_path / "b" / "retrieval_results.json").read_text())
    assert {query: len(names) for query, names in lists.items()} == {
        "query/1.png": 2,
        "query/2.png": 2,
    }
