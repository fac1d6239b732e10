"""`scripts/plot.py`: what is drawn of what is given, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from ames_lite.cli import evaluate, plot
from ames_lite.cli.compose import compose
from ames_lite.errors import BadInput, ConfigError, MissingFile, UserError
from ames_lite.io.checkpoint import HeadMeta, save_head
from ames_lite.models import build_head
from tests.conftest import TinyWorld

PNG, SVG = b"\x89PNG", b"<?xml"


def evaluated(world: TinyWorld, output: Path, model: str, *more: str) -> Path:
    given = ["dataset=synthetic", "desc_name=sift", f"model={model}", "report_queries=0", *more]
    evaluate.run(compose("evaluate", [*given, f"data_root={world.root}", f"output_dir={output}"]))
    return output


@pytest.fixture(scope="module")
def runs(tiny_world: TinyWorld, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One with a grid, one without."""
    folder = tmp_path_factory.mktemp("runs")
    grid = ["num_rerank=[5,10]", "lamb=[0.0,0.5]", "temp=[0.5,1.0]"]
    cell = ["num_rerank=10", "lamb=0.5", "temp=1.0"]
    return [
        evaluated(tiny_world, folder / "grid", "mutual_nn", *grid),
        evaluated(tiny_world, folder / "one", "chamfer", *cell),
    ]


def drawn(tmp_path: Path, *words: str) -> list[Path]:
    return plot.run(compose("plot", [*words, f"output_dir={tmp_path}"]))


@pytest.mark.slow
def test_all_that_a_run_allows_is_drawn(runs: list[Path], tmp_path: Path) -> None:
    paths = drawn(tmp_path / "a", f"results={runs[0]}")
    assert [path.stem for path in paths] == list(plot.KINDS[:5])
    assert all(path.read_bytes().startswith(PNG) for path in paths)
    again = drawn(tmp_path / "b", f"results={runs[0]}")
    assert [path.read_bytes() for path in paths] == [path.read_bytes() for path in again]
    alone = drawn(tmp_path / "c", f"results={runs[1]}", f"against={runs[0]}", "form=svg")
    assert [path.name for path in alone] == [
        *(f"{kind}.svg" for kind in plot.KINDS[:3]),
        "scatter.svg",
    ]
    assert all(path.read_bytes().startswith(SVG) for path in alone)


def test_a_training_and_a_calibration_are_drawn(tmp_path: Path) -> None:
    training = tmp_path / "run"
    training.mkdir()
    steps = [
        f'{{"epoch": {n // 4}, "step": {n}, "loss": {1 / (n + 1)}, "accuracy": 0.5}}'
        for n in range(8)
    ]
    (training / "log.jsonl").write_text("\n".join(steps) + "\n")
    (training / "epochs.jsonl").write_text('{"epoch": 1, "loss": 0.5, "accuracy": 1, "val": 0.3}\n')
    words = [f"training={training}", "weights=photo_elvis"]
    paths = drawn(tmp_path / "a", *words, "kinds=[reliability,training]")
    assert [path.stem for path in paths] == ["reliability", "training"]
    (training / "epochs.jsonl").unlink()  # the first epoch has not ended
    assert len(drawn(tmp_path / "c", f"training={training}")) == 1
    for line in ("{", "3", "{}"):
        (training / "log.jsonl").write_text(f"{line}\n")
        with pytest.raises(BadInput, match="a line is damaged"):
            drawn(tmp_path / "b", f"training={training}")
    with pytest.raises(MissingFile, match="no training run"):
        drawn(tmp_path / "b", f"training={tmp_path}")
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    "words, message",
    [
        ([], "nothing to plot is given"),
        (["against=x"], "against= is given alone"),
        (["results={0}", "kinds=[pie]"], "kinds= has pie"),
        (["results={1}", "kinds=[ensemble]"], "kinds= has ensemble, for which something is"),
        (["results={1}", "kinds=[scatter]"], "against=<another run>"),
        (["results={0}", "setting=tough"], "setting"),
        (["results={0}", "row=99"], "row=99"),
        (["results=/nowhere"], "no results here"),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    runs: list[Path], tmp_path: Path, words: list[str], message: str
) -> None:
    given = [word.replace("{0}", str(runs[0])).replace("{1}", str(runs[1])) for word in words]
    with pytest.raises(UserError, match=message):
        drawn(tmp_path / "run", *given)
    assert not (tmp_path / "run").exists()


def test_a_head_without_a_calibration_is_refused_with_the_command(tmp_path: Path) -> None:
    head = build_head("ames", dim_in=8, dim=32, num_layers=1, dim_feedforward=8)
    save_head(tmp_path / "head", head, HeadMeta("sift"))
    with pytest.raises(ConfigError, match=r"not calibrated[\s\S]*scripts/tune.py weights="):
        drawn(tmp_path / "run", f"weights={tmp_path / 'head'}")
