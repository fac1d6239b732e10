"""Rows of ELViS' sets and of other methods' lists: as printed, and the table of a group."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ames_lite.cli.compose import compose
from ames_lite.cli.shell import dataset_files, protocol_of
from ames_lite.evaluation.metrics import find_hits
from ames_lite.evaluation.protocols import definition, summarize
from ames_lite.io.shipped import conf_dir
from benchmarks.reproduce import command as reproduce
from benchmarks.reproduce import outcomes as reproduction
from benchmarks.reproduce.outcomes import Outcome, find_rows, means, missing_files
from benchmarks.reproduce.rows import ELVIS_ROWS, GLOBAL, LIST_ROWS, ROUNDING

ROWS = {**ELVIS_ROWS, **LIST_ROWS}
EIGHT = {  # ELViS as listed; +1M is one number for both sets
    "instre": 81.1,
    "met": 77.9,
    "product1m": 44.1,
    "rp2k": 59.2,
    "sop": 54.9,
    "gldv2-test": 56.9,
    "ilias": 18.8,
}


def test_the_eight_sets_are_as_listed() -> None:
    found = {row.settings["dataset"]: row.expected for row in find_rows("elvis", ROWS)}
    printed = {name: next(iter(one.values())) for name, one in found.items()}
    assert {n: v and 100 * v for n, v in printed.items()} == pytest.approx(
        EIGHT | dict.fromkeys(("roxford+1m", "rparis+1m"))
    )
    two = [Outcome(f"elvis.{name}+1m", "map", None, 0.6, 0.001) for name in ("roxford", "rparis")]
    (mean,) = means([two[0], replace(two[1], obtained=0.8)])
    assert (mean.row, mean.expected, mean.obtained) == ("elvis.rop+1m", 0.688, pytest.approx(0.7))
    assert not mean.inside and two[0].inside and means(two[:1]) == []


@pytest.mark.parametrize(
    ("name", "percent"),
    [
        ("rrt_r50_v1.roxford", (75.5, 56.4)),
        ("delg_r101_v2.rparis", (86.6, 72.4)),
        ("rrt_sop_finetuned.sop", (84.5, 93.2, 96.6)),
        ("locore.roxford+1m", (86.5, 76.3)),
        ("locore.rparis+1m", (86.8, 78.2)),
        ("smlyaka.gldv2-test", (37.14, 35.63)),
    ],
)
def test_the_lists_of_others_are_as_printed(name: str, percent: tuple[float, ...]) -> None:
    assert [100 * (v or 0) for v in ROWS[name].expected.values()] == pytest.approx(percent)


@pytest.mark.parametrize("name", ROWS)
def test_every_row_composes_and_its_metrics_are_of_its_set(name: str, tmp_path: Path) -> None:
    row = ROWS[name]
    assert row.source and row.unstated and row.tolerance >= ROUNDING
    config = compose("evaluate", [f"{key}={value}" for key, value in row.settings.items()])
    protocol = protocol_of(config)
    hits = find_hits(np.zeros((1000, 1), np.int32), [np.zeros(1, np.int64)] * 1000)
    known = summarize(dict.fromkeys(protocol.settings, hits), protocol).metrics
    for metric in row.expected:
        assert metric in known and definition(metric, graded=protocol.graded)
    assert missing_files(row, tmp_path) == list(row.files)
    for needed in row.files:
        path = tmp_path / needed.names[-1]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    files = dataset_files(
        compose(
            "evaluate",
            [f"{key}={value}" for key, value in row.settings.items()] + [f"data_root={tmp_path}"],
        )
    )
    found = [files.image_list("query"), files.image_list("gallery"), files.ground_truth()]
    found.append(files.neighbors(config.neighbors))
    if row.ranking != GLOBAL:
        found += [files.local("query"), files.local("gallery")]
    assert {path.relative_to(tmp_path).as_posix() for path in found} <= {
        needed.names[-1] for needed in row.files
    }
    assert (conf_dir() / "dataset" / f"{row.settings['dataset']}.yaml").is_file()


def test_a_group_ends_with_one_table(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Expected, obtained and difference of all eight sets, of evaluations that are played."""
    monkeypatch.setattr(reproduction, "ROWS", ROWS)
    monkeypatch.setattr(reproduce, "_refuse_missing", lambda *given: None)
    monkeypatch.setattr(
        "ames_lite.cli.evaluate.run",
        lambda asked: {
            "config": {"dataset": {"option": asked.dataset.option}, "model": {"name": "elvis"}},
            "rows": [{"metrics": {**dict.fromkeys(("map@100", "map@1000", "map"), 0.5)}}],
            "digests": {"weights": "abc"},
        },
    )
    assert reproduce.main(["elvis", f"data_root={tmp_path}", f"output_dir={tmp_path}"]) == 4
    table = capsys.readouterr().out.rpartition("\n\n")[2].splitlines()
    assert table[0].split() == ["row", *"expected obtained difference tolerance inside".split()]
    assert [line.split()[:4] for line in table if "instre" in line or "rop" in line] == [
        ["elvis.instre", "map@100", "81.10", "50.00"],
        ["elvis.rop+1m", "map", "68.80", "50.00"],
    ]
    assert len(table) == 2 + 10
