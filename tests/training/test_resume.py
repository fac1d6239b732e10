"""A run that was cut off anywhere ends with the weights of an unbroken one, to the bit."""

from __future__ import annotations

import json
import resource
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from ames_lite.errors import BadInput
from ames_lite.io.checkpoint import load_head, save_head
from ames_lite.io.writing import is_locked
from ames_lite.models import AMES
from ames_lite.training.recipe import Recipe
from ames_lite.training.state import (
    NAME,
    read_state,
    refuse_differences,
    write_state,
)
from ames_lite.training.trainer import Trainer
from tests.conftest import TinyWorld
from tests.helpers import main_of
from tests.processes import Child, run_code
from tests.training.test_trainer import trainer_of

RECIPE = Recipe(
    epochs=2, batch_size=24, lr=1e-3, max_count=12, min_count=4, clip_norm=1.0, rotate=0.5
)


class Killed(BaseException):
    """Nothing handles it: the process would be gone."""


def run(world: TinyWorld, folder: Path, save_every: int = 2, until: int | None = None) -> Trainer:
    """Train in a folder; `until`: gone after so many steps of the run, whatever is open."""
    trainer = trainer_of(world, folder, RECIPE)
    trainer.save_every = save_every
    step = trainer.stepper.step

    def dying(number: int, *given: Any) -> dict[str, Any]:
        if number == until:
            raise Killed
        return step(number, *given)

    trainer.stepper.step = dying  # type: ignore[method-assign]
    trainer.fit()
    return trainer


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_head(folder)[0].state_dict()


def without_times(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    timed = ("seconds", "data_wait", "triplets_per_second", "memory_mib")
    return [{k: v for k, v in line.items() if k not in timed} for line in lines]


@pytest.fixture(scope="module")
def whole(tiny_world: TinyWorld, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "whole"
    run(tiny_world, folder)
    return folder


@pytest.mark.slow
def test_a_run_that_died_before_any_step_goes_on_to_the_same_weights(
    tiny_world: TinyWorld, whole: Path, tmp_path: Path
) -> None:
    steps = len(without_times(whole))
    assert steps >= 6
    for at in range(steps):
        folder = tmp_path / str(at)
        with pytest.raises(Killed):
            run(tiny_world, folder, until=at)
        run(tiny_world, folder)
        for name, values in weights(whole).items():
            assert torch.equal(values, weights(folder)[name]), (at, name)
        assert without_times(folder) == without_times(whole)
        assert (folder / "meta.json").read_bytes() == (whole / "meta.json").read_bytes()


def test_how_often_a_state_is_saved_changes_nothing(
    tiny_world: TinyWorld, whole: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    for at in (1, 2, 4):
        with pytest.raises(Killed):
            run(tiny_world, folder, save_every=1, until=at)
    run(tiny_world, folder, save_every=1)
    assert all(torch.equal(v, weights(folder)[name]) for name, v in weights(whole).items())


def test_a_run_over_its_end_changes_no_weights(
    tiny_world: TinyWorld, whole: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    run(tiny_world, folder, until=0)
    for name in ("weights.safetensors", "meta.json", "log.jsonl", NAME):
        assert (folder / name).read_bytes() == (whole / name).read_bytes(), name


TRAINING = """
import sys, time
from pathlib import Path
from ames_lite.cli import run
from ames_lite.training.stepping import Stepper

step = Stepper.step
def slowly(self, *given):
    time.sleep(float(sys.argv[1]))
    return step(self, *given)
Stepper.step = slowly
sys.exit(run("train", sys.argv[2:]))
"""


def words_of(world: TinyWorld, folder: Path) -> list[str]:
    return [
        *("experiment=sift_synthetic", f"data_root={world.root}", f"output_dir={folder}"),
        *("epochs=2", "max_count=12", "batch_size=36", "save_every=2", "device=cpu"),
        *("model.arguments.dim=32", "model.arguments.dim_feedforward=32"),
    ]


def lines_of(folder: Path) -> int:
    log = folder / "log.jsonl"
    return len(log.read_text().splitlines()) if log.exists() else 0


@pytest.fixture(scope="module")
def unbroken(tiny_world: TinyWorld, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an unbroken run of the command."""
    folder = tmp_path_factory.mktemp("runs") / "unbroken"
    assert main_of("train")(words_of(tiny_world, folder)) == 0
    return folder


@pytest.mark.parametrize(
    "how", [pytest.param(signal.SIGKILL, marks=pytest.mark.slow), signal.SIGTERM]
)
def test_the_command_goes_on_after_a_signal(
    how: signal.Signals,
    tiny_world: TinyWorld,
    unbroken: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    broken = tmp_path / "broken"
    stopped = Child(TRAINING, "0.2", *words_of(tiny_world, broken))
    until = time.monotonic() + 240
    while lines_of(broken) < 5 and time.monotonic() < until and stopped.poll() is None:
        time.sleep(0.02)
    stopped.send_signal(how)
    said = stopped.communicate()[1]
    if how == signal.SIGTERM:
        assert stopped.returncode == 143 and "stopped by SIGTERM" in said
        assert lines_of(broken) == torch.load(broken / NAME, weights_only=True)["step"]
    else:
        assert stopped.returncode == -9
    assert not (broken / "weights.safetensors").exists()
    assert main_of("train")(words_of(tiny_world, broken)) == 0
    assert "continuing after step" in capsys.readouterr().err
    for name in ("weights.safetensors", "epoch_001/weights.safetensors", "meta.json"):
        assert (broken / name).read_bytes() == (unbroken / name).read_bytes(), name
    assert without_times(broken) == without_times(unbroken)


def test_a_state_of_other_settings_is_refused_with_every_difference(
    tiny_world: TinyWorld, whole: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    before = (folder / NAME).read_bytes()
    other = Recipe(**{**vars(RECIPE), "lr": 0.5, "max_count": 20})
    with pytest.raises(BadInput) as error:
        trainer_of(tiny_world, folder, other).fit()
    assert "lr: 0.001 there, 0.5 here" in str(error.value)
    assert "max_count: 12 there, 20 here" in str(error.value)
    assert "seed" not in str(error.value)
    assert (folder / NAME).read_bytes() == before
    (folder / NAME).write_bytes(before[:500])
    with pytest.raises(BadInput, match="cannot be read as weights alone"):
        trainer_of(tiny_world, folder, RECIPE).fit()
    torch.save({"state": {}}, folder / NAME)
    with pytest.raises(BadInput, match="something else"):
        trainer_of(tiny_world, folder, RECIPE).fit()


def test_differences_are_all_listed() -> None:
    with pytest.raises(BadInput) as error:
        refuse_differences({"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 4, "d": 5}, Path("x"))
    said = str(error.value)
    assert "b: 2 there, 4 here" in said and "c: 3 there, 'absent' here" in said
    assert "d: 'absent' there, 5 here" in said and " a: " not in said


def test_one_process_trains_in_a_folder(tiny_world: TinyWorld, tmp_path: Path) -> None:
    trainer = trainer_of(tiny_world, tmp_path, RECIPE)
    with trainer.hold():
        assert is_locked(tmp_path)
        with pytest.raises(BadInput, match="another process"):
            trainer.fit()
    assert not is_locked(tmp_path)


FULL = """
import resource, signal
from pathlib import Path
from ames_lite.errors import UserError
from ames_lite.io.checkpoint import HeadMeta, save_head
from ames_lite.models import AMES
from ames_lite.training.state import write_state
from tests.training.test_resume import a_state
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write beyond the limit fails, as on a full disk
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
folder = Path({folder!r})
head = AMES(dim_in=16, dim=16, num_layers=1, dim_feedforward=16)
for write in (
    lambda: write_state(folder / "last.pt", {{}}, a_state(2)),
    lambda: save_head(folder, head, HeadMeta()),
):
    try:
        write()
    except UserError as error:
        print(error)
"""


def a_state(step: int) -> dict[str, Any]:
    parts = {"state": {"w": torch.zeros(2000)}, "optim": {}, "scaler": {}, "sampler": {}}
    return {**parts, "step": step, "seen": [], "curve": [], "log_bytes": 0}


def test_without_room_the_last_good_checkpoint_stays(tmp_path: Path) -> None:
    """Both files of a checkpoint: the state and the head."""
    if resource.getrlimit(resource.RLIMIT_FSIZE)[1] != resource.RLIM_INFINITY:
        pytest.skip("this process has a limit of its own")
    write_state(tmp_path / NAME, {}, a_state(1))
    save_head(tmp_path, AMES(dim_in=8, dim=16, num_layers=1, dim_feedforward=16), meta())
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    script = FULL.format(folder=str(tmp_path))
    done = run_code(script)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("writing failed: File too large") == 2
    assert done.stdout.count("raise the limit on the size of files") == 2
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert read_state(tmp_path / NAME, {}, {"state", "step"})["step"] == 1 and load_head(tmp_path)


def meta() -> Any:
    from ames_lite.io.checkpoint import HeadMeta

    return HeadMeta()
