"""Two processes by torchrun learn what one does: the same batches, losses and weights."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from ames_lite.errors import ConfigError
from ames_lite.io.checkpoint import load_head
from ames_lite.processes import ALONE, Processes, local_device, processes_of
from tests.cli.test_scoring_run import free_port, start
from tests.conftest import TinyWorld
from tests.helpers import main_of

ROOT = Path(__file__).resolve().parents[2]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
SMALL = [
    *("experiment=sift_synthetic", "device=cpu", "epochs=2", "max_count=12", "min_count=4"),
    *("batch_size=45", "min_each=5", "save_every=2", "val_num_rerank=5"),
    "val_dataset=synthetic-val",
    *("model.arguments.dim=32", "model.arguments.dim_feedforward=32"),
]


def words_of(world: TinyWorld, folder: Path, *more: str) -> list[str]:
    return [*SMALL, f"data_root={world.root}", f"output_dir={folder}", *more]


def log(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def differences(one: Path, two: Path) -> tuple[float, float]:
    """The largest of the losses, and the length of that of the weights; both relative.

    Not the largest of the weights: where a gradient is rounding, Adam moves by its sign.
    """
    losses = [(a["loss"], b["loss"]) for a, b in zip(log(one), log(two), strict=True)]
    a, b = (
        torch.cat([v.flatten() for v in load_head(folder)[0].state_dict().values()])
        for folder in (one, two)
    )
    return max(abs(x - y) / abs(x) for x, y in losses), float((a - b).norm() / a.norm())


@pytest.fixture(scope="module")
def alone(tiny_world: TinyWorld, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "alone"
    assert main_of("train")(words_of(tiny_world, folder)) == 0
    return folder


def test_two_processes_give_the_losses_of_one(
    tiny_world: TinyWorld, alone: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "two"
    commands = [[str(free_port()), "train", *words_of(tiny_world, folder)]]
    both = [start(rank, 2, commands) for rank in range(2)]
    said = "".join(str(one) for process in both for one in process.communicate(timeout=200))
    assert [process.returncode for process in both] == [0, 0], said
    assert said.count("images are anchors") == 1  # only the first speaks
    losses, weights = differences(alone, folder)
    assert losses < 1e-5 and weights < 1e-4
    names = sorted(path.name for path in alone.iterdir())
    assert sorted(path.name for path in folder.iterdir()) == names
    curves = [
        [json.loads(line) for line in (f / "epochs.jsonl").read_text().splitlines()]
        for f in (alone, folder)
    ]
    for a, b in zip(*curves, strict=True):
        assert a["val"] == pytest.approx(b["val"], abs=0.02) and "val_global" in b


@pytest.mark.slow
def test_two_processes_stop_together_and_go_on_as_one(
    tiny_world: TinyWorld, alone: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "stopped"
    run = subprocess.Popen(
        [*TORCHRUN, "scripts/train.py", *words_of(tiny_world, folder, "save_every=1000")],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    until = time.monotonic() + 240
    while time.monotonic() < until and run.poll() is None:
        if (folder / "log.jsonl").exists() and len(log(folder)) >= 3:
            break
        time.sleep(0.02)
    run.send_signal(signal.SIGTERM)  # torchrun hands it on
    said = run.communicate(timeout=60)[0]
    assert run.returncode != 0 and "goes on from here" in said, said
    stopped = torch.load(folder / "last.pt", weights_only=True)["step"]
    assert stopped == len(log(folder))
    assert main_of("train")(words_of(tiny_world, folder)) == 0
    losses, weights = differences(alone, folder)
    assert losses < 1e-5 and weights < 1e-4


def test_shares_cover_everything_once() -> None:
    for num in (0, 1, 2, 5, 200):
        for size in (1, 2, 3, 7):
            rows = [list(range(num))[Processes(rank, size).share(num)] for rank in range(size)]
            assert sum(rows, []) == list(range(num))
            assert max(map(len, rows)) - min(map(len, rows)) <= 1


def test_the_environment_says_which_process_this_is() -> None:
    assert processes_of({}) is ALONE
    assert processes_of({"RANK": "1", "WORLD_SIZE": "2"}) == Processes(1, 2)
    for wrong in ({"WORLD_SIZE": "2"}, {"RANK": "2", "WORLD_SIZE": "2"}, {"WORLD_SIZE": "x"}):
        with pytest.raises(ConfigError, match="in the environment"):
            processes_of(wrong)


def test_each_process_of_a_machine_takes_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    own = {"LOCAL_RANK": "3"}
    for cards, number in ((8, 3), (2, 1)):  # more processes than GPUs share them
        monkeypatch.setattr(torch.cuda, "device_count", lambda cards=cards: cards)
        assert local_device(torch.device("cuda"), own) == torch.device("cuda", number)
    assert local_device(torch.device("cuda:1"), own) == torch.device("cuda:1")
    assert local_device(torch.device("cpu"), own) == torch.device("cpu")
    assert local_device(torch.device("cuda"), {}) == torch.device("cuda")
