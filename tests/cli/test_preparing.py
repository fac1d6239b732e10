"""Remedies lead somewhere: pasted one after the other they end in results, or in a public page."""

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ames_lite.cli import run
from ames_lite.cli.compose import compose, options_of
from tests.conftest import TinyWorld

PASTED = re.compile(
    r"remedy: +((?:python (?:extract|scripts)/|ames )(\w+)(?:\.py)? ([^\n<]*))$", re.MULTILINE
)
LONGEST = 3  # remedies of remedies
Call = Callable[[str, list[str]], tuple[int, str]]  # runs a command: exit code, what it complained


@pytest.fixture
def pictures(tiny_world: TinyWorld, tmp_path: Path) -> Path:
    return copy_pictures(tiny_world, tmp_path / "my pictures")


def copy_pictures(world: TinyWorld, place: Path) -> Path:
    """Six pictures in two class folders."""
    found = sorted(world.folder().rglob("*.jpg"))[:6]
    assert len(found) == 6
    for number, path in enumerate(found):
        folder = place / f"class {number // 3}"
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder)
    return place


def paste(call: Call, name: str, words: list[str], above: tuple[str, ...] = ()) -> list[str]:
    """Run a command, the remedies of what is missing first; returns all that was pasted."""
    pasted: list[str] = []
    while True:
        code, said = call(name, words)
        if code == 0:
            return pasted
        found = PASTED.search(said)
        assert found is not None, said
        line = found[1]
        assert line not in above, f"a circle: {above} {line}"
        assert line not in pasted, f"{line} was run, and is asked for again: {said}"
        assert len(above) < LONGEST, f"a long chain: {above} {line}"
        pasted += [line, *paste(call, found[2], shlex.split(found[3]), (*above, line))]


def job(pictures: Path, root: Path, desc_name: str = "sift") -> list[str]:
    return [
        *("dataset=folder", "name=mine", f"images={pictures}", "labels=folders"),
        *(f"desc_name={desc_name}", f"data_root={root}", "num_rerank=3", "model=mutual_nn"),
        *("lamb=0.3", "temp=0.1", f"output_dir={root / 'run'}"),
    ]


def test_remedies_lead_from_an_empty_folder_to_a_ranking(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def call(name: str, words: list[str]) -> tuple[int, str]:
        return run(name, words), capsys.readouterr().err

    pasted = paste(call, "evaluate", job(pictures, tmp_path / "data"))
    commands = [line.split()[1].split("/")[1] for line in pasted]
    assert {"extract_descriptors.py", "build_vocabulary.py", "prepare_topk_global.py"} <= {
        *commands
    }
    assert (tmp_path / "data" / "run" / "results.json").is_file()


@pytest.mark.slow
def test_prepare_runs_the_same_remedies(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "data"
    assert run("evaluate", job(pictures, root)) == 1
    assert "the same command with prepare=true" in capsys.readouterr().err
    assert run("evaluate", [*job(pictures, root), "prepare=true"]) == 0
    said = capsys.readouterr().out
    assert said.count("\nprepare: ames ") >= 4 and "results: " in said
    assert (root / "run" / "results.json").is_file()


@pytest.mark.parametrize("stage", ["extract_globals", "prepare_topk_global", "build_vocabulary"])
def test_every_stage_takes_the_keys_of_every_other(
    stage: str, pictures: Path, tmp_path: Path
) -> None:
    shared = [word for word in job(pictures, tmp_path / "data")[:6] if word]
    more = ["split=gallery"] if stage == "build_vocabulary" else []
    assert run(stage, [*shared, *more, "prepare=true", "progress=false"]) == 0


@pytest.mark.parametrize("dataset", options_of("dataset"))
def test_remedies_of_every_data_set_end_in_a_command_or_in_its_page(
    dataset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is there: the last word is where the set comes from, or how it is made."""
    name, words = "evaluate", [f"dataset={dataset}", "model=chamfer", "lamb=0", "temp=1"]
    page = compose(name, words).dataset.page
    words += [f"data_root={tmp_path}", "desc_name=sift"]
    seen: list[str] = []
    for _ in range(LONGEST):
        assert run(name, words) == 1
        said = capsys.readouterr().err
        found = PASTED.search(said)
        if found is None or found[1] in seen:
            break
        seen.append(found[1])
        name, words = found[2], shlex.split(found[3])
    assert page.split(" name=")[0] in said or "https://" in said


@pytest.mark.parametrize(
    "weights, message", [([], "weights=dinov2_ames trust=true"), (["weights=dinov2_ames"], "trust")]
)
def test_a_head_that_is_missing_is_offered_at_once(
    weights: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["dataset=roxford", "num_rerank=1600", f"data_root={tmp_path}", *weights]
    assert run("evaluate", given) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ") and message in said.split("missing: ")[0]


def test_several_processes_do_not_prepare(
    pictures: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert run("extract_descriptors", [*job(pictures, tmp_path / "data")[:6], "prepare=true"]) == 1
    assert "one process" in capsys.readouterr().err and not (tmp_path / "data").exists()
