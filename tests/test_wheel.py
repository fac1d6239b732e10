"""The wheel: one package, its configurations, heads and types inside, from any directory."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

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
    """The folder that the wheel was installed into."""
    pytest.importorskip("setuptools")
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # a copy: a build leaves files behind
    ignore = shutil.ignore_patterns(".*", "tests", "runs", "data", "build", "*.egg-info")
    shutil.copytree(ROOT, source, ignore=ignore)
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation"]
    site = folder / "site"
    subprocess.run([*pip, "--target", str(site), str(source)], check=True, cwd=folder)
    return site


def run(site: Path, where: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Python with the installed wheel before everything else, in another directory."""
    return subprocess.run(
        [sys.executable, *words],
        **{"cwd": where, "capture_output": True, "text": True, "check": False},
        env={**os.environ, "PYTHONPATH": str(site), "MYPYPATH": str(site)},
    )


def test_it_holds_one_package(installed: Path) -> None:
    names = {path.name for path in installed.iterdir() if path.is_dir()}
    assert {name for name in names if not name.endswith(".dist-info")} == {"ames_lite", "bin"}


def test_a_command_finds_what_is_inside_and_proposes_commands_of_the_wheel(
    installed: Path, tmp_path: Path
) -> None:
    code = (
        "import sys, ames_lite; from ames_lite.cli import run; from ames_lite.cli.compose import "
        "compose; print(ames_lite.__file__);"
        "print(compose('evaluate', ['weights=sift_ames']).weights);"
        "sys.exit(run('evaluate', ['model=chamfer', 'lamb=0.5', 'temp=1']))"
    )
    done = run(installed, tmp_path, "-c", code)
    module, weights = done.stdout.splitlines()
    assert Path(module).is_relative_to(installed) and Path(weights).is_relative_to(installed)
    assert run(installed, tmp_path, "-m", "ames_lite", "search", "--help").returncode == 0
    assert done.returncode == 1  # its remedies are commands of the wheel
    root = f"data_root={tmp_path / 'data'}"
    assert (
        f"remedy:   ames extract_descriptors dataset=roxford desc_name=dinov2 {root}" in done.stderr
    )
    assert "scripts/" not in done.stderr and "python " not in done.stderr


def test_a_user_sees_types(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "user.py").write_text(USER)
    (tmp_path / "mypy.ini").write_text(OWN_TYPES_ALONE)
    done = run(installed, tmp_path, "-m", "mypy", "--no-incremental", "user.py")
    assert 'expression has type "Reranker", variable has type "int"' in done.stdout, done.stdout
