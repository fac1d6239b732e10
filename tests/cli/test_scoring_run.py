"""How a command scores: several processes, resumed runs, and keys that make no sense."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import numpy as np
import pytest

from ames_lite.cli import evaluate, tune
from ames_lite.cli.compose import compose
from ames_lite.errors import BadInput, ConfigError, UserError
from ames_lite.evaluation.tuning import read_tuned
from ames_lite.io.checkpoint import HeadMeta, save_head
from ames_lite.models import AMES
from ames_lite.processes import ALONE, process_group
from ames_lite.reranking import pair_scoring
from ames_lite.reranking.tasks import PairTask
from ames_lite.stores.pair_scores import read_pair_scores
from benchmarks.frontier import command as frontier
from tests.conftest import TinyWorld
from tests.helpers import main_of
from tests.processes import Child

CELL = ["dataset=synthetic", "desc_name=sift", "num_rerank=15", "lamb=0.5", "temp=1.0"]
CELL += ["model=chamfer", "report_queries=0", "device=cpu"]


BOTH = """
import io, json, os, sys
from contextlib import redirect_stdout
from importlib import import_module
from ames_lite.cli import COMMANDS, run

said = []
for port, name, *words in json.loads(sys.argv[1]):
    os.environ["MASTER_PORT"] = port
    with redirect_stdout(io.StringIO()) as out:
        code = run(name, words) if name in COMMANDS else import_module(name).main(words)
    if code != 0:
        sys.exit(code)
    said.append(out.getvalue())
print(json.dumps(said))
"""
Said = dict[str, list[str]]


def start(rank: int, size: int, commands: list[list[str]]) -> Child:
    """One of the processes that torchrun would start; it runs the commands one by one."""
    env = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size)}
    return Child(BOTH, json.dumps(commands), **env, MASTER_ADDR="127.0.0.1")


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


TUNE = ["dataset=synthetic-val", "desc_name=sift", "model=chamfer", "device=cpu"]
TUNE += ["num_rerank=[3,900]", "lamb=[0.2,0.8]", "temp=[0.5,1.0]"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("processes")


@pytest.fixture(scope="module")
def given(tiny_world: TinyWorld, root: Path) -> dict[str, list[str]]:
    """The words of each command, but where it writes."""
    head = AMES(dim_in=128, dim=32, num_layers=1, dim_feedforward=32)
    save_head(root / "head", head, HeadMeta("sift", lamb=0.5, temp=1.0))
    where = [f"data_root={tiny_world.root}"]
    some = ["dataset=synthetic", "desc_name=sift", "device=cpu", f"weights={root / 'head'}"]
    some += ["num_rerank=[5,12]", "descriptors=[8,20]"]
    return {"evaluate": [*CELL, *where], "tune": [*TUNE, *where], "frontier": [*some, *where]}


@pytest.fixture(scope="module")
def said(given: dict[str, list[str]], root: Path) -> Said:
    """Standard output of each command in both of two processes."""
    words = {name: [*words, f"output_dir={root / name}"] for name, words in given.items()}
    words["frontier"].append(f"cache={root / 'cache'}")
    modules = {"frontier": "benchmarks.frontier.command"}
    commands = [[str(free_port()), modules.get(name, name), *words[name]] for name in words]
    both = [start(rank, 2, commands) for rank in range(2)]
    ended = [process.communicate(timeout=240) for process in both]
    assert [process.returncode for process in both] == [0, 0], ended
    found = [json.loads(out) for out, _ in ended]
    return {name: [one[i] for one in found] for i, name in enumerate(words)}


def test_two_processes_give_the_result_of_one(
    given: dict[str, list[str]], said: Said, root: Path, tmp_path: Path
) -> None:
    folder, printed = root / "evaluate", said["evaluate"]
    assert "results:" in printed[0] and printed[1] == ""
    one = evaluate.run(compose("evaluate", [*given["evaluate"], f"output_dir={tmp_path / 'one'}"]))
    two = json.loads((folder / "results.json").read_text())
    for key in ("rows", "global", "per_query", "digests"):
        assert two[key] == json.loads(json.dumps(one[key]))
    scores = [
        read_pair_scores(f / "scores.hdf5", one["digests"]) for f in (folder, tmp_path / "one")
    ]
    assert np.abs(scores[0].logit - scores[1].logit).max() < 1e-6
    assert two["cost"]["processes"] == 2
    for counter in ("pairs", "encoded_gallery", "unique_images"):
        assert two["cost"][counter] == one["cost"][counter]  # no duplicates
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.yaml",
        "overrides.yaml",
        "results.json",
        "run.log",
        "scores.hdf5",
    ]


def test_two_processes_tune_as_one_and_speak_once(
    given: dict[str, list[str]], said: Said, root: Path, tmp_path: Path
) -> None:
    folder, printed = root / "tune", said["tune"]
    assert printed[0].count("frozen in") == printed[0].count("more than the gallery") == 1
    assert printed[1] == ""
    tune.run(compose("tune", [*given["tune"], f"output_dir={tmp_path / 'one'}"]))
    assert read_tuned(folder) == read_tuned(tmp_path / "one")
    left = [sorted(path.name for path in f.iterdir()) for f in (folder, tmp_path / "one")]
    assert left == [["config.yaml", "overrides.yaml", "run.log", "scores.hdf5", "tuned.json"]] * 2


def test_two_processes_make_one_frontier(
    given: dict[str, list[str]], said: Said, root: Path, tmp_path: Path
) -> None:
    folder, printed = root / "frontier", said["frontier"]
    assert printed[0].count("results:") == 1 and printed[1] == ""
    two = json.loads((folder / "frontier.json").read_text())
    words = [f"output_dir={tmp_path / 'one'}", f"cache={tmp_path / 'fresh'}"]
    one = frontier.run(compose("frontier", [*given["frontier"], *words]))
    assert [row["metrics"] for row in two["rows"]] == [row["metrics"] for row in one["rows"]]
    assert all("2 processes" in row["timed_on"] for row in two["rows"])
    assert len(list((root / "cache").iterdir())) == 2


def test_tuning_that_was_interrupted_goes_on(
    tiny_world: TinyWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = [*TUNE, f"data_root={tiny_world.root}", f"output_dir={tmp_path / 'run'}"]

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(tune, "grid", interrupted)
        tune.run(compose("tune", given))
    scored = (tmp_path / "run" / "scores.hdf5").stat().st_mtime_ns
    tune.run(compose("tune", [*given, "resume=true"]))
    assert (tmp_path / "run" / "scores.hdf5").stat().st_mtime_ns == scored
    with pytest.raises(BadInput, match="the run has ended"):
        tune.run(compose("tune", [*given, "resume=true"]))


def test_counters_of_a_run_are_in_its_results(tiny_world: TinyWorld, tmp_path: Path) -> None:
    given = [*CELL, f"data_root={tiny_world.root}", f"output_dir={tmp_path / 'run'}"]
    cost = evaluate.run(compose("evaluate", given))["cost"]
    assert cost["encoded_queries"] + cost["encoded_gallery"] == cost["unique_images"] > 0
    assert 0 < cost["bytes_read"] <= 1.05 * cost["unique_bytes"]
    assert cost["bytes_over_unique"] == cost["bytes_read"] / cost["unique_bytes"]
    assert cost["processes"] == 1 and cost["pairs_kept"] == 0


@pytest.mark.parametrize(
    "override, kind, message",
    [
        ("max_memory=0", ConfigError, "max_memory=0.*above 0"),
        ("max_memory=0.1", BadInput, "max_memory=0.1 GiB.*at least"),
        ("max_memory=much", ConfigError, "max_memory=much.*a number"),
        ("threads=0", ConfigError, "threads=0.*at least 1"),
        ("threads=two", ConfigError, "threads=two.*a whole number or null"),
        ("compile=1", ConfigError, "compile=1.*true or false"),
        ("resume=true", ConfigError, "resume=true without output_dir="),
    ],
)
def test_what_makes_no_sense_is_refused(
    override: str, kind: type[UserError], message: str, tiny_world: TinyWorld, tmp_path: Path
) -> None:
    given = [*CELL, f"data_root={tiny_world.root}", override]
    given += [] if "resume" in override else [f"output_dir={tmp_path / 'run'}"]
    with pytest.raises(kind, match=f"(?s){message}"):
        evaluate.run(compose("evaluate", given))


def test_a_run_that_was_never_begun_is_not_resumed(tiny_world: TinyWorld, tmp_path: Path) -> None:
    given = [*CELL, f"data_root={tiny_world.root}", "resume=true", f"output_dir={tmp_path / 'no'}"]
    with pytest.raises(BadInput, match="no run was begun here"):
        evaluate.run(compose("evaluate", given))


def test_one_process_is_alone_and_a_wrong_environment_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with process_group("cpu") as (processes, device):
        assert processes is ALONE and processes.first and str(device) == "cpu"
        assert processes.from_first("as it is") == "as it is"
    monkeypatch.setenv("WORLD_SIZE", "many")
    with pytest.raises(ConfigError, match="WORLD_SIZE=many in the environment"):
        with process_group("cpu"):
            pass


def test_an_interrupt_is_said_and_what_was_finished_is_kept(
    tiny_world: TinyWorld,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As Ctrl-C does it: exit code 130, no results, nothing scored twice afterwards."""
    given = [*CELL, f"data_root={tiny_world.root}", f"output_dir={tmp_path / 'run'}"]
    monkeypatch.setattr(pair_scoring, "MOST_IMAGES", 4)
    real, left = PairTask.put, [3]

    def put(self: PairTask, *rest: object) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        real(self, *rest)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(PairTask, "put", put)
        assert main_of("evaluate")(given) == 130
    assert "interrupted" in capsys.readouterr().err
    names = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert names == ["config.yaml", "overrides.yaml", "run.log", "scores.partial.hdf5"]
    other = [word if not word.startswith("lamb=") else "lamb=0.9" for word in given]
    with pytest.raises(BadInput, match="in use"):
        evaluate.run(compose("evaluate", [*other, "num_rerank=3"]))
    resumed = evaluate.run(compose("evaluate", given))  # the same command
    assert resumed["cost"]["pairs_kept"] > 0
    assert not list((tmp_path / "run").glob("*partial*"))
    with pytest.raises(BadInput, match=r"(?s)has ended.*compare\.py results="):
        evaluate.run(compose("evaluate", given))
