"""suite=extract: what it writes and refuses. Never how fast anything is."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from ames_lite.cli.compose import compose
from benchmarks import command as benchmark
from benchmarks.extraction import extraction, neighbours

pytestmark = pytest.mark.slow  # makes every cell

TINY = [
    "suite=extract",
    "device=cpu",
    "threads=1",
    "repeats=2",
    "dim_in=16",
    "extract.variants=[tiny_random]",
    "extract.num_images=6",
    "extract.image_size=56",
    "extract.shapes=[60x80,70x70]",
    "extract.top_k=10",
    "read.store_gib=0.0004",
    "read.stored=30",
    "read.rows=15",
    "read.count=20",
    "knn.rows=500",
    "knn.k=20",
]


@pytest.fixture(autouse=True)
def no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Peak memory has tests of its own."""
    for module in (extraction, neighbours):
        monkeypatch.setattr(module, "peak_of", lambda job, **given: 77.0)


def test_every_part_has_its_cells_and_its_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    found = benchmark.run(compose("benchmark", [*TINY, f"output_dir={folder}"]))
    assert found == json.loads((folder / "benchmark.json").read_text())
    assert found["suite"] == "extract" and found["machine"]["threads"] == 1
    names = [(cell["part"], cell["device"], cell.get("precision")) for cell in found["cells"]]
    extracted = [("extract", "cpu", precision) for precision in ("fp32", "bf16")]
    assert names == [*extracted, ("read", "cpu", None), ("knn", "cpu", None)]
    printed = capsys.readouterr().out
    for words in ("cpu bf16 tiny_random", "MiB/s", "flat", "higher is better", "lower is better"):
        assert words in printed
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["benchmark.json", "config.yaml", "overrides.yaml", "run.log"]


def test_parts_are_those_asked_for_and_scratch_is_left_clean(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    given = [*TINY, "parts=[read]", f"scratch={scratch}", f"output_dir={tmp_path / 'run'}"]
    (cell,) = benchmark.run(compose("benchmark", given))["cells"]
    assert cell["part"] == "read" and not list(scratch.iterdir())


@pytest.mark.parametrize(
    "override, message",
    [
        ("parts=[extract,write]", "'write'.*extract, read, knn"),
        ("parts=[]", "parts is empty"),
        ("extract.variants=[vitb16]", "'vitb16'.*vitb14_reg.*tiny_random"),
        ("extract.shapes=[600]", "'600' is no size.*600x50"),
        ("extract.shapes=[]", "extract.shapes is empty"),
        ("extract.num_images=0", "extract.num_images=0.*at least 1"),
        ("extract.image_size=13", "image_size=13.*14 or more"),
        ("extract.batch_pixels=-1", "batch_pixels=-1.*from 0"),
        ("extract.pictures=3", "no key 'extract.pictures'.*extract.num_images"),
        ("precisions=[fp16]", "'fp16'.*fp32, bf16"),
        ("read.count=31", "31 descriptors.*30 are stored"),
        ("read.rows=100000", "images of 30 x 16.*at least the 100000.*store_gib"),
        ("read.store_gib=100000000", "100000000|are free.*disk"),
        ("knn.k=500", "knn.k=500 of knn.rows=500"),
        ("knn.k=-3", "knn.k=-3.*at least 1"),
        ("scratch=/not/there", "scratch is /not/there.*a folder that exists"),
        ("scratch=3", "scratch is 3"),
        ("repeats=0", "repeats=0"),
    ],
)
def test_what_does_not_exist_is_refused_before_any_work(
    override: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given: list[Any] = [*TINY, f"output_dir={tmp_path / 'run'}", override]
    assert benchmark.main(given) == 1
    error = capsys.readouterr().err
    assert re.search(f"(?s){message}", error), error
    assert not (tmp_path / "run").exists()
