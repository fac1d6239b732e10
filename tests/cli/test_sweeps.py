"""Hydra's flags: sweeps with their launchers and table, run directories, users' configurations."""

import json
from pathlib import Path

import pytest

from ames_lite.cli import run
from ames_lite.cli.compose import CONFIG_DIR, compose, sweep_values
from tests.conftest import TinyWorld

GIVEN = ["dataset=synthetic", "desc_name=sift", "lamb=0.3", "temp=0.1", "report_queries=0"]
JOBLIB = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]


@pytest.fixture
def words(tiny_world: TinyWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(CONFIG_DIR, "")  # what a test sets is undone
    return [*GIVEN, f"data_root={tiny_world.root}"]


@pytest.mark.parametrize("launcher", [[], pytest.param(JOBLIB, marks=pytest.mark.slow)])
def test_a_sweep_runs_every_combination_and_ends_with_one_table(
    words: list[str], launcher: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("joblib")
    swept = ["-m", "model=chamfer,mutual_nn", "num_rerank=2,4"]
    assert run("evaluate", [*swept, *words, *launcher, "hydra.sweep.dir=swept"]) == 0
    rows = {
        (result["model"], result["rows"][0]["num_rerank"])
        for path in Path("swept").glob("*/results.json")
        for result in [json.loads(path.read_text())]
    }
    assert rows == {(m, n) for m in ("chamfer", "mutual_nn") for n in (2, 4)}
    assert all((Path("swept") / str(i) / ".hydra/overrides.yaml").is_file() for i in range(4))
    table = capsys.readouterr().out.rpartition("\nname ")[2].splitlines()
    assert [line.split()[:3] for line in table[3:7]] == [
        [str(i), model, n]
        for i, (model, n) in enumerate(
            [("chamfer", "2"), ("chamfer", "4"), ("mutual_nn", "2"), ("mutual_nn", "4")]
        )
    ]


@pytest.mark.slow
def test_the_local_executor_of_submitit_runs_every_job_and_ends_with_one_table(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The launcher of Slurm, whose jobs are processes of this machine."""
    why = "pip install hydra-submitit-launcher"
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason=why)
    swept = ["-m", "model=chamfer,mutual_nn", "num_rerank=2", "hydra/launcher=submitit_local"]
    assert run("evaluate", [*swept, *words, "hydra.sweep.dir=swept"]) == 0
    table = capsys.readouterr().out.rpartition("\nname ")[2].splitlines()
    assert [line.split()[:2] for line in table[3:5]] == [["0", "chamfer"], ["1", "mutual_nn"]]
    for job in ("0", "1"):
        names = {path.name for path in (Path("swept") / job).iterdir()}
        assert {"config.yaml", "overrides.yaml", "run.log", "results.json", ".hydra"} <= names


@pytest.mark.slow
def test_the_log_of_a_job_of_submitit_that_fails_is_named(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    swept = ["-m", "model=chamfer", "neighbors=none.hdf5", "hydra/launcher=submitit_local"]
    with pytest.raises(SystemExit):
        run("evaluate", [*swept, *words, "hydra.sweep.dir=swept"])
    said = capsys.readouterr().err
    assert "below swept/.submitit" in said and "Traceback" not in said


def test_a_sweep_is_the_single_runs(words: list[str]) -> None:
    assert run("evaluate", ["-m", "model=chamfer", *words, "hydra.sweep.dir=swept"]) == 0
    assert run("evaluate", ["model=chamfer", *words, "output_dir=single"]) == 0
    swept, single = (
        json.loads(Path(p).read_text()) for p in ("swept/0/results.json", "single/results.json")
    )
    assert swept["rows"] == single["rows"]


def test_a_run_directory_is_given_as_hydra_does(words: list[str]) -> None:
    assert run("evaluate", ["model=chamfer", *words, "hydra.run.dir=mine"]) == 0
    assert {"results.json", ".hydra", "evaluate.log"} <= {p.name for p in Path("mine").iterdir()}


def test_a_word_that_one_job_refuses_is_refused_before_any_job(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("evaluate", ["-m", "num_rerank=2,x", *words]) == 1
    assert "num_rerank=x\n" in capsys.readouterr().err
    assert not Path("runs").exists()


def test_a_job_that_fails_fails_the_sweep(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        run("evaluate", ["-m", "model=chamfer", "neighbors=none.hdf5", *words])
    assert stop.value.code == 1
    said = capsys.readouterr().err
    assert "none.hdf5" in said and "Traceback" not in said


def test_an_interrupt_ends_the_sweep(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    begun = []

    def interrupted(name: str, given: list[str]) -> int:
        begun.append(given)
        return 130

    monkeypatch.setattr("ames_lite.cli.sweeps.run", interrupted)
    assert run("evaluate", ["-m", "model=chamfer,mutual_nn", *words]) == 130
    assert len(begun) == 1


def test_a_sweep_directory_with_a_blank_has_its_table(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    swept = ["-m", "model=chamfer", "num_rerank=2,3", "hydra.sweep.dir='my sweep'"]
    assert run("evaluate", [*swept, *words]) == 0
    assert "\nname " in capsys.readouterr().out


def test_several_values_need_the_flag(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("evaluate", ["num_rerank=2,4", "hydra.run.dir=x", *words]) == 1
    assert "-m" in capsys.readouterr().err


def test_ones_own_configurations(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "own" / "model").mkdir(parents=True)
    (tmp_path / "own" / "mine.yaml").write_text("defaults: [evaluate, _self_]\nnum_rerank: 3\n")
    (tmp_path / "own" / "model" / "loose.yaml").write_text(
        "name: mutual_nn\narguments: {threshold: 0.5}\n"
    )
    given = ["--config-dir", "own", "-cn", "mine", "model=loose", *words]
    assert run("evaluate", [*given, "output_dir=out"]) == 0
    assert run("evaluate", ["-m", *given, "hydra.sweep.dir=swept"]) == 0
    for path in ("out/results.json", "swept/0/results.json"):
        result = json.loads(Path(path).read_text())
        assert result["config"]["model"]["arguments"] == {"threshold": 0.5}
        assert result["rows"][0]["num_rerank"] == 3


@pytest.mark.parametrize(
    "given, said",
    [
        (["-cn", "nothing"], "there is no configuration 'nothing'"),
        (["--config-dir", "nowhere"], "the folder of --config-dir= does not exist"),
        (["--config-dir"], "there are no options with dashes"),
    ],
)
def test_configurations_that_are_missing_are_said(
    words: list[str], given: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("evaluate", [*words, *given]) == 1
    assert said in capsys.readouterr().err


def test_cfg_prints_what_a_job_gets(capsys: pytest.CaptureFixture[str]) -> None:
    run("evaluate", ["--cfg", "job", "dataset=rparis", "num_rerank=7"])
    printed = capsys.readouterr().out
    assert "num_rerank: 7" in printed and "folder: rparis6k" in printed


def test_values_of_a_sweep() -> None:
    assert sweep_values("lamb=0.1,0.2") == ["lamb=0.1", "lamb=0.2"]
    assert sweep_values("seed=range(3)") == ["seed=0", "seed=1", "seed=2"]
    assert sweep_values("num_rerank=[50,100]") == ["num_rerank=[50,100]"]
    texts = sweep_values("images=my photos (1)")
    assert compose("evaluate", texts).images == Path("my photos (1)")


def test_the_shell_completes_groups_and_keys(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for typed, offered in (("dataset=rox", "dataset=roxford"), ("query_desc", "query_desc_num=")):
        line = f"evaluate.py {typed}"
        monkeypatch.setattr("sys.argv", ["evaluate.py", "-sc", "query=bash"])
        monkeypatch.setenv("COMP_LINE", line)
        monkeypatch.setenv("COMP_POINT", str(len(line)))
        assert run("evaluate", ["-sc", "query=bash"]) == 0
        assert offered in capfd.readouterr().out


@pytest.mark.parametrize(
    "defaults, message",
    [
        ("[schema/evalaute, _self_]", "schema/evalaute"),
        ("[dataset: synthetic]", "defaults: [evaluate"),
    ],
)
def test_a_configuration_of_ones_own_that_cannot_be_is_refused(
    defaults: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(CONFIG_DIR, "")  # what a test sets is undone
    (tmp_path / "mine.yaml").write_text(f"defaults: {defaults}\nnum_rerank: 5\n")
    assert run("evaluate", ["--config-dir", str(tmp_path), "-cn", "mine"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ") and message in said
