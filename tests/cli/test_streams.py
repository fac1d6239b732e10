"""Whatever the output streams can hold: names, λ and γ are printed, and never end a run."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from ames_lite.cli import print_any_text, run
from ames_lite.cli.shell import command, print_table
from ames_lite.io.images import save_jpeg
from tests.helpers import main_of

NAMES = ("é λ.jpg", "名前 → γ.jpg", "bad\udcff.jpg")  # the last is not UTF-8 on the disk


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8", "utf-16"])
def test_every_name_is_printed_on_every_stream(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = [io.BytesIO(), io.BytesIO()]
    for name, stream in zip(("stdout", "stderr"), written, strict=True):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(stream, encoding, errors="strict"))
    print_any_text()
    print_table(["image", "λ"], [[name, 0.5] for name in NAMES])
    sys.stderr.write(f"{NAMES[0]}{NAMES[1]}{NAMES[2]}")
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    shown = written[0].getvalue().decode(encoding)
    assert len(shown.splitlines()) == 5 and "\\udcff" in shown
    assert ("名前" in shown) == encoding.startswith("utf")


def test_streams_that_are_no_files_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    monkeypatch.setattr(sys, "stderr", None)
    print_any_text()


def test_a_command_lets_its_streams_take_every_character(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, "ascii", errors="strict"))
    assert command("search", lambda config: str(sys.stdout.write(f"{NAMES[0]}\n")), []) == 0
    sys.stdout.flush()
    assert written.getvalue() == b"\\xe9 \\u03bb.jpg\n"


def test_a_search_ends_well_where_the_streams_are_ascii(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "é λ").mkdir()
    for number in range(3):
        coarse = np.random.default_rng(number).integers(0, 255, (24, 30, 3))
        picture = np.kron(coarse, np.ones((6, 6, 1))).astype("u1")
        save_jpeg(tmp_path / "é λ" / f"{number}.jpg", picture, 90)
    given = [f"images={tmp_path / 'é λ'}", f"query={tmp_path / 'é λ' / '0.jpg'}"]
    given += [f"data_root={tmp_path / 'data'}", f"output_dir={tmp_path / 'run'}", "top=2"]
    written = [io.BytesIO(), io.BytesIO()]
    for name, stream in zip(("stdout", "stderr"), written, strict=True):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(stream, "ascii", errors="strict"))
    assert run("search", [*given, "workers=1", "model=ransac", "backbone=sift"]) == 0
    for text in (sys.stdout, sys.stderr):
        text.flush()
    out, err = (stream.getvalue() for stream in written)
    assert b"Traceback" not in err and b"\\u03bb" in out


def test_a_name_that_no_list_can_hold_is_refused_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = np.zeros((20, 20, 3), np.uint8)
    (tmp_path / "a").mkdir()
    save_jpeg(tmp_path / "a" / "b.jpg", picture, 90)
    try:
        save_jpeg(tmp_path / "a" / os.fsdecode(b"bad\xff.jpg"), picture, 90)
    except OSError:
        pytest.skip("this file system refuses names that are not UTF-8")
    given = [f"images={tmp_path}", "labels=folders", "name=x", f"data_root={tmp_path / 'd'}"]
    assert main_of("prepare_dataset")(given) == 1
    assert "not UTF-8: 'a/bad\\udcff.jpg'" in capsys.readouterr().err
