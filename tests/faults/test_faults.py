"""Stages killed and refused by the disk at a few calls; `make faults` does it at all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.injection import KILL, LIMIT, ONCE, Server, missing
from tests.faults.stages import STAGES, make_shards, make_small_world
from tests.faults.trials import Trials

# at a share of a stage's calls
FAULTS = [(KILL, 0.95), ("ENOSPC" + ONCE, 0.4), (LIMIT, 20000)]  # LIMIT: bytes
SHORT = [
    ("merge", make_shards),
    pytest.param("index, then one changed", make_small_world, marks=pytest.mark.slow),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    why = missing()
    if why is not None:
        pytest.skip(why)
    with Server(tmp_path_factory.mktemp("server")) as started:
        yield started


@pytest.mark.parametrize(("name", "make_world"), SHORT)
def test_the_same_command_again_gives_what_an_unbroken_one_gives(
    name: str, make_world: Callable[[Server, Path], None], server: Server, tmp_path: Path
) -> None:
    make_world(server, tmp_path / "trial")
    (tmp_path / "trial").rename(tmp_path / "world")
    trials = Trials(server, name, STAGES[name], tmp_path / "world", tmp_path / "trial")
    assert trials.calls > 10
    wrong = []
    for fault, *shares in FAULTS:
        at = shares if fault == LIMIT else [1 + int(share * trials.calls) for share in shares]
        wrong.append(trials.try_one(fault, *at).wrong)
    assert wrong == [""] * len(FAULTS)
