"""The comparison as a command: files and run directories in, tables out, wrong input too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ames_lite.cli import compare, evaluate
from ames_lite.cli.compose import compose
from ames_lite.errors import BadInput, ConfigError, MissingFile
from ames_lite.evaluation.results_file import read_results
from tests.conftest import TinyWorld
from tests.evaluation.results_toy import make_results
from tests.helpers import in_process


def write(folder: Path, results: Any) -> Path:
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps(results))
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for seed in range(3):
        write(tmp_path / f"train_{seed}" / "test", make_results(seed))
    write(tmp_path / "grid", make_results(5, rows=3))
    write(tmp_path / "paris", make_results(0, dataset="rparis"))
    return tmp_path


def run(*given: str) -> Any:
    return compare.run(compose("compare", given))


def test_real_results_are_compared(tiny_world: TinyWorld, tmp_path: Path) -> None:
    for model in ("mutual_nn", "ransac"):
        given = ["dataset=synthetic", "desc_name=sift", f"data_root={tiny_world.root}"]
        given += [f"model={model}", "num_rerank=10", "lamb=0.5", "temp=0.1", "report_queries=0"]
        evaluate.run(compose("evaluate", [*given, f"output_dir={tmp_path / model}"]))
    given = [f"results=[{tmp_path / 'mutual_nn'},{tmp_path / 'ransac' / 'results.json'}]"]
    (block,) = run(*given, f"baseline={tmp_path / 'mutual_nn'}")
    assert [line.name for line in block.lines] == ["global", "mutual_nn", "ransac"]
    assert block.baseline == "mutual_nn" and block.metric == "map"
    difference = block.lines[2].difference
    assert difference is not None and difference.p is not None


def test_the_command_prints_what_the_results_say(runs: Path) -> None:
    given = [f"results=[[{runs}/train_0/test,{runs}/train_1/test],{runs}/grid,{runs}/paris]"]
    done = in_process(runs, "scripts/compare.py", *given, "names=[mine,grid,paris]")
    assert done.returncode == 0, done.stderr
    for word in ("roxford\n", "rparis\n", "oracle", "as given", "±", "trapezoid", "sign-flip"):
        assert word in done.stdout, word
    done = in_process(runs, "scripts/compare.py", *given, "form=csv")
    assert done.returncode == 0 and len(done.stdout.strip().split("\n")) == 1 + 1 + 1 + 3 + 1 + 1
    done = in_process(runs, "scripts/compare.py", "--help")
    assert done.returncode == 0 and "baseline" in done.stdout


def test_names_are_as_much_of_a_folder_as_tells_it_from_the_others(runs: Path) -> None:
    (block,) = run(f"results=[{runs}/train_0/test,{runs}/train_1/test,{runs}/grid]")
    named = list(dict.fromkeys(line.name for line in block.lines[1:]))
    assert named == ["train_0/test", "train_1/test", f"{runs.name}/grid"]
    (block,) = run(f"results=[[{runs}/train_0/test,{runs}/train_1/test],{runs}/grid]")
    assert [line.name for line in block.lines[1:3]] == ["test (+1 runs)", "grid"]


def test_a_baseline_is_a_name_a_file_among_the_results_or_a_further_one(runs: Path) -> None:
    given = f"results=[{runs}/train_0/test,{runs}/train_1/test]"
    for baseline in ("train_1/test", f"{runs}/train_1/test", f"{runs}/train_1/test/results.json"):
        (block,) = run(given, f"baseline={baseline}")
        assert block.baseline == "train_1/test" and len(block.lines) == 3
    (block,) = run(given, f"baseline={runs}/grid")
    assert block.baseline == "grid" and block.lines[1].difference is None
    assert [line.name for line in block.lines[4:]] == ["train_0/test", "train_1/test"]
    (block,) = run(given, "baseline=global")
    assert block.baseline == "global"


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        (["results=[]"], BadInput, "not given"),
        (["results=[{r}/grid,{r}/grid/results.json]"], BadInput, "twice"),
        (["results=[{r}/nowhere]"], MissingFile, "evaluate to write results"),
        (["results=[{r}/grid]", "form=pdf"], ConfigError, "markdown"),
        (["results=[{r}/grid]", "names=[a,b]"], ConfigError, "2 names for 1"),
        (["results=[{r}/grid]", "metric=map@5"], BadInput, "map_medium"),
        (["results=[{r}/grid]", "columns=[map@5]"], BadInput, "map_medium"),
        (["results=[{r}/grid]", "baseline={r}/paris"], BadInput, "not among the results of rox"),
        (["results=[[{r}/grid,{r}/paris]]"], BadInput, "differ in dataset: 'roxford' in .*grid"),
        (["results=[[]]"], ConfigError, "the entry"),
        (["results=[3]"], MissingFile, "no results here"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    given: list[str], error: type[Exception], words: str, runs: Path
) -> None:
    with pytest.raises(error, match=words):
        run(*(text.format(r=runs) for text in given))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema": 2}, "schema is 2"),
        ({"rows": []}, "absent, empty or of a wrong type: rows"),
        ({"rows": [{"lamb": 1}]}, "each with num_rerank"),
        ({"per_query": [3]}, "each with name"),
        ({"config": None}, "config"),
    ],
)
def test_results_of_another_form_are_refused_by_name(
    change: dict[str, Any], words: str, tmp_path: Path
) -> None:
    folder = write(tmp_path / "odd", make_results(0) | change)
    with pytest.raises(BadInput, match=words) as error:
        read_results(folder)
    assert "odd/results.json" in str(error.value)


@pytest.mark.parametrize("text", ["", "[1]", "{", "\xff"])
def test_a_file_that_is_no_json_object_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(BadInput, match="not JSON|schema is None"):
        read_results(tmp_path)
