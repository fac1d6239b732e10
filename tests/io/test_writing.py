"""What killed writers leave goes when the next file of the folder is written, and nothing else."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from ames_lite.io import writing
from ames_lite.io.writing import replacing
from tests.processes import Child

WRITE = """
import sys, time
from pathlib import Path
from ames_lite.io.writing import replacing
with replacing(sys.argv[1], overwrite=True) as partial:
    partial.write_text(sys.argv[2])
    while Path(sys.argv[1] + ".wait").exists():
        time.sleep(0.01)
"""
pytestmark = pytest.mark.skipif(writing._system() == "-", reason="needs /proc")


def left(folder: Path) -> list[Path]:
    return sorted(folder.glob(".*.partial"))


def writer(path: Path, text: str) -> Child:
    """A process that is in the middle of writing a file, until path.wait goes."""
    Path(f"{path}.wait").touch()
    known, child = set(left(path.parent)), Child(WRITE, str(path), text)
    while not any(one.read_text() == text for one in set(left(path.parent)) - known):
        assert child.poll() is None
        time.sleep(0.01)
    return child


def kill(child: Child) -> None:
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert child.returncode == -signal.SIGKILL


def test_the_partial_file_of_a_killed_writer_goes_and_that_of_a_living_one_stays(
    tmp_path: Path,
) -> None:
    path = tmp_path / "store.x"
    living, dead = writer(path, "living"), writer(path, "dead")
    kill(dead)
    elsewhere = [tmp_path / f".store.x.{system}.4194303.partial" for system in ("-", "0123abcd")]
    older = tmp_path / ".store.x.4194303.partial"
    for one in (*elsewhere, older):
        one.write_text("of another system, or of an older version")
    with replacing(path) as partial:
        assert sorted(one.read_text() for one in left(tmp_path))[0] == "living"
        assert {*elsewhere, older} < set(left(tmp_path)) and len(left(tmp_path)) == 4
        partial.write_text("mine")
    assert path.read_text() == "mine"
    Path(f"{path}.wait").unlink()
    living.communicate()
    assert living.returncode == 0 and path.read_text() == "living"
    assert set(left(tmp_path)) == {*elsewhere, older}


def test_the_next_run_removes_what_was_left_of_other_files(tmp_path: Path) -> None:
    dead = writer(tmp_path / "first", "dead")
    kill(dead)
    assert len(left(tmp_path)) == 1
    with replacing(tmp_path / "second") as partial:
        partial.write_text("whole")
    assert not left(tmp_path)
