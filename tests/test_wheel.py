"""The wheel: one package, its configurations, heads and types inside, from any directory."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.cli.test_preparing import copy_pictures, job, paste
from tests.conftest import TinyWorld
from tests.helpers import ROOT

USER = """
from ames_lite.models import AMES
from ames_lite.reranking import Reranker
reranker: int = Reranker(AMES(dim_in=4, dim=8, num_heads=1, num_layers=1), lamb=0.5, temp=0.2)
"""
OWN_TYPES_ALONE = """
[mypy]
follow_imports = skip
[mypy-ames_lite.*]
follow_imports = normal
"""  # those of torch take half a minute


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages of a fresh environment with the wheel; it sees those of the tests besides."""
    pytest.importorskip("setuptools")
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # a copy: a build leaves files behind
    ignore = shutil.ignore_patterns(".*", "tests", "runs", "data", "build", "*.egg-info")
    shutil.copytree(ROOT, source, ignore=ignore)
    fresh = folder / "fresh"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(fresh)], check=True)
    site = Path(sysconfig.get_path("purelib", "venv", {"base": str(fresh)}))
    (site / "others.pth").write_text(sysconfig.get_path("purelib"))
    pip = [sys.executable, "-m", "pip", "--python", str(fresh / "bin" / "python"), "install", "-q"]
    pip += ["--no-deps", "--no-build-isolation", "--ignore-installed"]
    subprocess.run([*pip, str(source)], check=True, cwd=folder)
    return site


def run(site: Path, where: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A program of the fresh environment, in another directory."""
    program, *rest = words
    return subprocess.run(
        [str(site.parents[2] / "bin" / program), *rest],
        **{"cwd": where, "capture_output": True, "text": True, "check": False},
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )


def test_it_holds_one_package(installed: Path) -> None:
    names = {path.name for path in installed.iterdir() if path.is_dir()}
    assert {name for name in names if not name.endswith(".dist-info")} == {"ames_lite"}


def test_a_command_finds_what_is_inside_and_proposes_commands_of_the_wheel(
    installed: Path, tmp_path: Path
) -> None:
    code = (
        "import sys, ames_lite; from ames_lite.cli import run; from ames_lite.cli.compose import "
        "compose; print(ames_lite.__file__);"
        "print(compose('evaluate', ['weights=sift_ames']).weights);"
        "sys.exit(run('evaluate', ['model=chamfer', 'lamb=0.5', 'temp=1']))"
    )
    done = run(installed, tmp_path, "python", "-c", code)
    module, weights = done.stdout.splitlines()
    assert Path(module).is_relative_to(installed) and Path(weights).is_relative_to(installed)
    assert run(installed, tmp_path, "python", "-m", "ames_lite", "search", "--help").returncode == 0
    assert done.returncode == 1  # its remedies are commands of the wheel
    root = f"data_root={tmp_path / 'data'}"
    assert (
        f"remedy:   ames extract_descriptors dataset=roxford desc_name=dinov2 {root}" in done.stderr
    )
    assert "scripts/" not in done.stderr and "python " not in done.stderr


@pytest.mark.slow
def test_a_user_sees_types(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "user.py").write_text(USER)
    (tmp_path / "mypy.ini").write_text(OWN_TYPES_ALONE)
    done = run(installed, tmp_path, "python", "-m", "mypy", "--no-incremental", "user.py")
    assert 'expression has type "Reranker", variable has type "int"' in done.stdout, done.stdout


@pytest.mark.slow
def test_a_sweep_over_heads_and_numbers_ends_with_one_table(
    installed: Path, tiny_world: TinyWorld, tmp_path: Path
) -> None:
    """Each head with weights of its own, which a configuration of one's own names."""
    (tmp_path / "own").mkdir()
    own = "defaults: [evaluate, _self_]\nweights: sift_${model.name}\n"
    (tmp_path / "own" / "heads.yaml").write_text(own)
    words = ["evaluate", "-m", "--config-dir", "own", "-cn", "heads", "hydra.sweep.dir=swept"]
    words += ["model=ames,elvis", "num_rerank=50,100", "hydra/launcher=joblib"]
    words += ["dataset=synthetic", "desc_name=sift", f"data_root={tiny_world.root}"]
    done = run(installed, tmp_path, "ames", *words, "report_queries=0")
    assert done.returncode == 0, done.stderr
    results = sorted((tmp_path / "swept").glob("*/results.json"))
    assert len(results) == 4
    table = done.stdout.rpartition("\nname ")[2].splitlines()
    heads = [line.split()[:2] for line in table[3:7]]
    assert heads == [["0", "ames"], ["1", "ames"], ["2", "elvis"], ["3", "elvis"]]


@pytest.mark.slow
def test_remedies_lead_from_an_empty_folder_to_a_ranking(
    installed: Path, tiny_world: TinyWorld, tmp_path: Path
) -> None:
    def call(name: str, words: list[str]) -> tuple[int, str]:
        done = run(installed, tmp_path, "ames", name, *words)
        return done.returncode, done.stderr

    pictures = copy_pictures(tiny_world, tmp_path / "my pictures")
    pasted = paste(call, "evaluate", job(pictures, tmp_path / "data"))
    assert len(pasted) >= 4 and all(line.startswith("ames ") for line in pasted)
    assert (tmp_path / "data" / "run" / "results.json").is_file()
