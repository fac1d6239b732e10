"""Damaged files of every kind are read as the whole one, or refused by name; the short form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.fuzz import report, run
from tests.fuzz.kinds import Kind, every_kind
from tests.fuzz.run import DEFECTS, Found, Fuzzed, Outcome

ROOT = Path(__file__).resolve().parents[2]
KINDS = {kind.name: kind for kind in every_kind()}
FEW = range(2)
PARTS = 6  # of the kinds: each is read in one process


def defects(found: list[Outcome]) -> list[Outcome]:
    return [one for one in found if one.what in DEFECTS]


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.filterwarnings("ignore")
def test_damaged_files_are_read_or_refused_by_name(tmp_path: Path, part: int) -> None:
    kinds = list(KINDS.values())[part::PARTS]
    files = [Fuzzed(kind, tmp_path / f"{at}") for at, kind in enumerate(kinds)]
    came = Fuzzed.in_one_process(files, FEW)
    assert not {name: defects(found) for name, found in came.items() if defects(found)}
    assert [len(found) for found in came.values()] == [len(FEW)] * len(kinds) and kinds


def _do(what: str) -> object:
    if what == "raise":
        raise ZeroDivisionError
    if what == "crash":
        import os

        os.abort()
    if what == "memory":
        np.ones(1 << 30, np.uint8)  # more than a test before it can have left free
    if what == "too much":
        np.ones(1 << 40, np.uint8)
    return what


@pytest.mark.parametrize(
    "what, outcome",
    [
        ("raise", "traceback"),
        ("crash", "crash"),
        ("memory", "memory"),
        ("too much", "memory"),
        ("a", "silent"),
    ],
)
def test_what_goes_wrong_is_counted_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, outcome: str
) -> None:
    monkeypatch.setattr(run, "MEMORY", 1 << 6)

    def read(path: Path) -> object:
        whole = path.read_bytes() == b"whole"
        return "whole" if whole else _do(what)

    fuzzed = Fuzzed(Kind("a.bin", lambda p: p.write_bytes(b"whole"), read), tmp_path / "f")
    found = Found(True)
    found.add(fuzzed.outcomes(range(2)))
    assert found.counts[outcome] == found.counts.total() == 2
    assert len(list((tmp_path / "defects").iterdir())) == len(found.defects)


def test_a_kind_that_ends_the_process_of_several_is_read_again(tmp_path: Path) -> None:
    def kind(name: str, what: str) -> Kind:
        def read(path: Path) -> object:
            return 0 if path.read_bytes() == b"whole" else _do(what)

        return Kind(name, lambda p: p.write_bytes(b"whole"), read, False)

    kinds = [kind("a.bin", "a"), kind("b.bin", "crash"), kind("c.bin", "a")]
    files = [Fuzzed(one, tmp_path / one.name) for one in kinds]
    came = Fuzzed.in_one_process(files, range(2))
    found = {name: [one.what for one in outcomes] for name, outcomes in came.items()}
    assert found == {"a.bin": ["other"] * 2, "b.bin": ["crash"] * 2, "c.bin": ["other"] * 2}


def test_versions_are_the_same_in_every_run(tmp_path: Path) -> None:
    one, other = (
        [outcome[:3] for outcome in Fuzzed(KINDS["vocabulary.npz"], tmp_path / at).outcomes(FEW)]
        for at in ("a", "b")
    )
    assert one == other


def test_the_table_of_reliability_names_every_kind() -> None:
    text = (ROOT / "RELIABILITY.md").read_text("utf-8")
    between = text[text.index(report.BEGIN) : text.index(report.END)]
    assert not [name for name in KINDS if f"| {name} |" not in between]


def test_the_table_sums_what_a_run_counted() -> None:
    plain = {**Found(True).plain(), "inputs": 1200, "same": 1200, "peak_mib": 30}
    given = {"a": plain, "b": {**plain, "ours": False, "peak_mib": 70}}
    made = report.put(
        f"x\n{report.BEGIN}old{report.END}\ny",
        {"date": "2026-01-01", "command": "c", "seconds": 60, "kinds": given},
    )
    assert "old" not in made and made.startswith("x\n") and made.endswith("\ny")
    assert "| **all** |  | 2 400 | 0 | 2 400 | 0 | 0 | 0 | 0 | 0 | 0 | 0 | 70 |" in made
