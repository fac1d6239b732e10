"""`ames <command>`: the console command finds every command, and says what exists."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ames_lite import cli
from tests.helpers import ROOT


def ames(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["ames", *words])
    return cli.main()


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",)])
def test_without_a_command_all_are_listed(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ames(monkeypatch, *words) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in cli.COMMANDS)


def test_an_unknown_command_is_an_error_that_lists_what_exists(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ames(monkeypatch, "serach") == 1
    said = capsys.readouterr().err
    assert "no command 'serach'" in said and "search" in said
    assert ames(monkeypatch, "plan", "finetune", "name=x") == 1
    said = capsys.readouterr().err
    assert "no plan of the command 'finetune'" in said and "extract, " in said
    assert "search" not in said and "index" not in said


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_prints_its_configuration(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ames(monkeypatch, name, "--help") == 0
    said = capsys.readouterr().out
    assert said.startswith("usage: ") and " key=value" in said and said.count("=") > 5


def test_an_index_is_made_without_a_query(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ames(monkeypatch, "index", "images=x", "query=y") == 1
    assert "index takes no query=" in capsys.readouterr().err


def test_the_package_runs_as_a_module(tmp_path: Path) -> None:
    code = f"import sys, runpy; sys.path.insert(0, {str(ROOT)!r}); sys.argv[1:] = ['nothing'];"
    code += "runpy.run_module('ames_lite', run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 1 and done.stderr.startswith("error: there is no command 'nothing'")


def test_help_needs_no_heavy_import() -> None:
    heavy = ("torch", "hydra", "h5py", "cv2", "scipy", "numpy")
    code = (
        "import sys; from ames_lite.cli import run; code = run('evaluate', ['--help']);"
        f"print(code, [m for m in {heavy} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert "num_rerank=null" in done.stdout and done.stdout.endswith("0 []\n")
