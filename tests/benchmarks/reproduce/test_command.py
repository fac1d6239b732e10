"""Reproductions as a command: a made-up row on the tiny world, inside, outside, and missing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ames_lite.cli import evaluate
from ames_lite.cli.compose import compose
from ames_lite.errors import ConfigError, MissingFile
from ames_lite.io.checkpoint import HeadMeta, save_head
from ames_lite.models import AMES
from benchmarks.reproduce import command as reproduce
from benchmarks.reproduce import outcomes as reproduction
from benchmarks.reproduce.rows import NeededFile, Reproduction
from tests.cli.test_published_files import published, write_stores
from tests.conftest import TinyWorld
from tests.helpers import in_process

__all__ = ["published"]  # a fixture
SETTINGS = {
    "dataset": "synthetic",
    "desc_name": "sift",
    "model": "mutual_nn",
    "neighbors": "vlad",
    "num_rerank": 10,
    "query_desc_num": 600,
    "gallery_desc_num": 600,
    "lamb": 0.5,
    "temp": 0.1,
    "precision": "fp32",
}
FILES = (
    NeededFile("list of the queries", ("synthetic/query.txt",), "http://one"),
    NeededFile("ground truth", ("synthetic/gnd_synthetic.json",), "http://two"),
    NeededFile("descriptors", ("synthetic/sift_gallery_local.hdf5",), "http://three"),
    NeededFile("neighbours", ("synthetic/nn_sift_vlad.hdf5",), "http://four"),
)


@pytest.fixture(scope="module")
def expected(tiny_world: TinyWorld, tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """What an evaluation with the row's settings finds."""
    given = [f"{key}={value}" for key, value in SETTINGS.items()]
    given += [f"data_root={tiny_world.root}", "report_queries=0"]
    folder = tmp_path_factory.mktemp("runs") / "run"
    results = evaluate.run(compose("evaluate", [*given, f"output_dir={folder}"]))
    return {key: results["rows"][0]["metrics"][key] for key in ("map_medium", "map_hard")}


@pytest.fixture
def row(expected: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> Reproduction:
    """A row whose numbers were published to one decimal."""
    printed = {metric: round(value, 3) for metric, value in expected.items()}
    made_up = Reproduction(
        name="made_up.synthetic",
        group="made_up",
        source="a paper",
        settings=SETTINGS,
        expected=printed,
        files=FILES,
        tolerance=0.0005,
        published_stores=False,
    )
    monkeypatch.setattr(reproduction, "ROWS", {made_up.name: made_up})
    return made_up


def test_inside_the_tolerance_is_exit_code_0(
    row: Reproduction, tiny_world: TinyWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["row=made_up", f"data_root={tiny_world.root}", f"output_dir={tmp_path / 'run'}"]
    assert reproduce.main(given) == 0
    said = capsys.readouterr().out
    assert "first setting that differs: none that can be told" in said
    assert f"{100 * row.expected['map_hard']:.2f}" in said and "±0.05" in said and "NO" not in said
    results = json.loads((tmp_path / "run" / "made_up.synthetic" / "results.json").read_text())
    assert results["rows"][0]["lamb"] == 0.5


def test_outside_the_tolerance_is_exit_code_4_with_the_first_setting_that_differs(
    row: Reproduction,
    expected: dict[str, float],
    tiny_world: TinyWorld,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    wrong = replace(row, expected={**row.expected, "map_hard": row.expected["map_hard"] + 0.01})
    monkeypatch.setattr(reproduction, "ROWS", {row.name: wrong})
    given = ["row=made_up.synthetic", f"data_root={tiny_world.root}"]
    assert reproduce.main([*given, f"output_dir={tmp_path / 'a'}"]) == 4
    said = capsys.readouterr().out
    difference = expected["map_hard"] - wrong.expected["map_hard"]
    assert said.count("NO") == 1 and f"{100 * difference:.2f}" in said
    monkeypatch.setattr(reproduction, "ROWS", {row.name: row})
    changed = ["lamb=1.0", "precision=bf16", f"output_dir={tmp_path / 'b'}"]
    assert reproduce.main([*given, *changed]) == 4
    assert "differs: lamb: 0.5 published, 1.0 here" in capsys.readouterr().out


def test_missing_files_are_exit_code_1_and_all_named_with_their_pages(
    row: Reproduction, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["row=made_up", f"data_root={tmp_path}", f"output_dir={tmp_path / 'run'}"]
    assert reproduce.main(given) == 1
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("error: 4 files are missing for made_up")
    for needed in FILES:
        assert str(tmp_path / needed.names[0]) in said.err and needed.page in said.err
    assert not list(tmp_path.iterdir())
    with pytest.raises(MissingFile, match="3 files are missing"):  # other lists were given
        reproduce.run(compose("reproduce", [*given, "neighbors=/some/where.hdf5"]))


def test_a_row_with_a_head_evaluates_it_and_says_that_its_hash_is_unknown(
    row: Reproduction,
    tiny_world: TinyWorld,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    head = AMES(dim_in=128, dim=32, num_layers=2, dim_feedforward=32)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "synthetic").symlink_to(tiny_world.folder())
    needed = NeededFile("head", ("networks/mine.safetensors",), "http://five")
    with_head = replace(
        row,
        settings={**SETTINGS, "model": "ames"},
        weights="networks/mine.safetensors",
        files=(*FILES, needed),
        tolerance=1.0,
    )
    monkeypatch.setattr(reproduction, "ROWS", {row.name: with_head})
    given = ["row=made_up", f"data_root={tmp_path / 'data'}", "device=cpu"]
    with pytest.raises(MissingFile, match="1 file is missing"):
        reproduce.run(compose("reproduce", given))
    weights = save_head(tmp_path / "data" / needed.names[0], head, HeadMeta(desc_name="sift"))
    assert reproduce.main([*given, f"output_dir={tmp_path / 'a'}"]) == 0
    assert "weights: no hash is published; sha256 " in capsys.readouterr().out
    weights = weights.rename(tmp_path / "other.safetensors")
    (tmp_path / "data/networks/mine.json").rename(tmp_path / "other.json")
    other = [f"weights={weights}", f"output_dir={tmp_path / 'b'}"]
    assert reproduce.main([*given, *other]) == 0


def test_the_rows_are_listed_and_unknown_ones_refused(
    row: Reproduction, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reproduce.main(["row=list"]) == 0
    assert "made_up.synthetic" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="made_up, made_up.synthetic, list"):
        reproduce.run(compose("reproduce", ["row=nothing"]))
    for wrong in ("lamb=[0.1,0.2]", "num_rerank=[10,20]"):
        with pytest.raises(ConfigError, match="one value"):
            reproduce.run(compose("reproduce", ["row=made_up", wrong]))


def test_the_command_as_a_user_gives_it(tmp_path: Path) -> None:
    done = in_process(tmp_path, "scripts/reproduce.py")
    assert done.returncode == 0 and "cvnet_ames_dist.rparis" in done.stdout
    done = in_process(tmp_path, "scripts/reproduce.py", "row=dinov2_ames", f"data_root={tmp_path}")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    for word in ("13 files", "networks/dinov2_ames.pt", "nn_superglobal.pkl", "gnd_rparis6k.pkl"):
        assert word in done.stderr, word
    done = in_process(tmp_path, "scripts/reproduce.py", "--help")
    assert done.returncode == 0 and "exit code 4" in done.stdout


@pytest.mark.slow
def test_a_published_row_runs_on_files_in_the_published_forms(
    tiny_world: TinyWorld,
    published: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The tiny world under ROxford's names is not ROxford: it runs, and is told from it."""
    write_stores(tiny_world, published, "flat float16")
    torch.manual_seed(0)
    head = AMES(dim_in=128)
    (published / "networks").mkdir()
    torch.save({"state": head.state_dict()}, published / "networks" / "dinov2_ames.pt")
    given = ["row=dinov2_ames.roxford", f"data_root={published}", "device=cpu"]
    assert reproduce.main([*given, f"output_dir={tmp_path / 'a'}"]) == 4
    said = capsys.readouterr().out
    assert "first setting that differs: num_rerank: 1600 published, 40 here" in said
    assert "not to be told: weights" in said and "not to be told: descriptors" in said
    assert reproduce.main([*given, "gallery_desc_num=50", f"output_dir={tmp_path / 'b'}"]) == 4
    results = json.loads((tmp_path / "b/dinov2_ames.roxford/results.json").read_text())
    assert results["rows"][0]["gallery_desc_num"] == 50 and results["rows"][0]["lamb"] == 0.5


def test_a_row_may_be_given_by_its_bare_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = []
    for word in ("dinov2_ames.roxford", "row=dinov2_ames.roxford"):
        assert reproduce.main([word, f"data_root={tmp_path}"]) == 1
        printed.append(capsys.readouterr().err)
    assert printed[0] == printed[1] and "gnd_roxford5k.pkl" in printed[0]
    assert reproduce.main(["list"]) == 0 and "dinov2_ames" in capsys.readouterr().out
