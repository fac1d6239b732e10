"""Published recall by set: the printed figures, their files, and what can be told of them."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ames_lite.cli.compose import as_dict, compose
from ames_lite.cli.schema.evaluation import Evaluate
from ames_lite.cli.shell import dataset_files, protocol_of
from ames_lite.evaluation.protocols import definition
from ames_lite.io.provenance import ORIGIN
from ames_lite.io.shipped import conf_dir
from benchmarks.reproduce.outcomes import (
    find_rows,
    first_difference,
    missing_files,
    outcomes,
    unknowns,
)
from benchmarks.reproduce.rows import GLOBAL, PAGES, PLACES, recall_tolerance
from benchmarks.reproduce.rows import PLACE_ROWS as ROWS

ANYLOC = {  # R@1, R@5, as printed
    "baidu": (75.2, 87.6),
    "gardens": (95.5, 99.5),
    "17places": (65.0, 80.5),
    "pitts30k": (87.7, 94.7),
    "st_lucia": (96.2, 98.8),
    "oxford": (99.5, 100),
    "hawkins": (65.2, 94.1),
    "laurel": (61.6, 90.2),
    "nardo_air": (76.1, 94.4),
    "nardo_air_r": (85.9, 100),
    "vpair": (66.7, 79.2),
    "mid_atlantic": (34.6, 61.4),
}


def composed(name: str, *more: str) -> Evaluate:
    settings = [f"{key}={value}" for key, value in ROWS[name].settings.items()]
    config: Evaluate = compose("evaluate", [*settings, *more])
    return config


def test_the_anyloc_table_has_the_printed_averages() -> None:
    """The means over structured and unstructured sets stand beside the rows in the paper."""
    means = {(0, 6): (86.5, 93.5), (6, 12): (65.0, 86.5)}
    rows = list(ANYLOC.values())
    for (first, stop), printed in means.items():
        for i in (0, 1):
            mean = sum(row[i] for row in rows[first:stop]) / (stop - first)
            assert mean == pytest.approx(printed[i], abs=0.1)
    found = {row.settings["dataset"]: row.expected for row in find_rows("anyloc", ROWS)}
    assert list(found) == list(ANYLOC)
    for name, printed in ANYLOC.items():
        expected = [100 * found[name][key] for key in ("recall@1", "recall@5")]
        assert expected == pytest.approx(printed, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "percent"),
    [
        ("amstertime_cls.amstertime", (43, 68)),
        ("amstertime_cls.amstertime_swapped", (35, 57)),
        ("nardo_vitb.nardo_air", (50.70, 77.46, 83.10, 97.18)),
        ("nardo_vitb.nardo_air_r", (77.46, 92.96, 100, 100)),
        ("cosplace_r18.st_lucia", (98.8, 99.7, 99.9, 100)),
    ],
)
def test_the_other_figures_are_as_printed(name: str, percent: tuple[float, ...]) -> None:
    expected = ROWS[name].expected
    assert list(expected) == [f"recall@{k}" for k in (1, 5, 10, 20)][: len(percent)]
    assert [100 * value for value in expected.values()] == pytest.approx(percent, abs=1e-9)


@pytest.mark.parametrize("name", ROWS)
def test_every_row_is_of_a_set_with_these_images_and_metrics(name: str) -> None:
    row, config = ROWS[name], composed(name)
    assert row.name == name and row.source and row.ranking == GLOBAL and row.weights is None
    assert dict(row.counts) == config.dataset.counts
    protocol = protocol_of(config)
    assert protocol.misses  # recall over all queries
    for metric in row.expected:
        assert definition(metric) and int(metric.split("@")[1]) in protocol.recall_at
    assert row.tolerance >= recall_tolerance(row.counts["query"], 0)
    assert all(needed.page.startswith("http") for needed in row.files)
    assert PAGES[PLACES[row.settings["dataset"]]["page"]] in config.dataset.page


@pytest.mark.parametrize("name", ROWS)
def test_its_files_are_those_that_are_looked_for(name: str, tmp_path: Path) -> None:
    row = ROWS[name]
    for chosen in (0, 1):
        root = tmp_path / str(chosen)
        assert missing_files(row, root) == list(row.files)
        for needed in row.files:
            path = root / needed.names[chosen]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        config = composed(name, f"data_root={root}")
        files = dataset_files(config)
        found = [files.image_list("query"), files.image_list("gallery"), files.ground_truth()]
        found.append(files.neighbors(config.neighbors))
        assert [path.relative_to(root).as_posix() for path in found] == [
            needed.names[chosen] for needed in row.files
        ]


@pytest.mark.parametrize("name", ROWS)
def test_the_commands_that_make_its_files_can_be_given(name: str) -> None:
    """Every `python scripts/…` of a page has a configuration that takes its words."""
    for needed in ROWS[name].files:
        for part in needed.page.split(" and then ")[1:]:
            script, *words = shlex.split(part.split(" (")[0])[1:]
            command = Path(script).stem
            if (conf_dir() / f"{command}.yaml").is_file():
                config = compose(command, [w.rstrip(";") for w in words])
                if command == "prepare_set":
                    folder = Path(needed.names[0]).parent
                    assert config.dataset.lists_folder == str(folder)


def results_of(name: str, made: dict[str, Any], **metrics: float) -> dict[str, Any]:
    return {
        "config": as_dict(composed(name)),
        "counts": dict(ROWS[name].counts),
        "global": {**ROWS[name].expected, **metrics},
        "digests": {"neighbors_made": json.dumps(made)},
    }


def test_a_global_ranking_is_judged_and_its_lists_are_told_from_others() -> None:
    name = "anyloc.baidu"
    row = ROWS[name]
    results = results_of(name, {**row.made, "backbone": "dinov2"})
    assert all(one.inside for one in outcomes(row, results))
    assert first_difference(row, results) is None
    assert unknowns(row, results) == ["the random start of the vocabulary's k-means"]
    wrong = results_of(name, {**row.made, "facet": "key"}, **{"recall@1": 0.431})
    assert [one.inside for one in outcomes(row, wrong)] == [False, True]
    said = "facet of the neighbour lists: value published, key here"
    assert first_difference(row, wrong) == said
    lacking = {key: value for key, value in row.made.items() if key != "layer"}
    said = "layer of the neighbour lists: 31 published, absent here"
    assert first_difference(row, results_of(name, lacking)) == said
    published = results_of(name, {"origin": ORIGIN})
    assert first_difference(row, published) is None
    assert "says nothing of what made them" in unknowns(row, published)[0]
    published["counts"]["query"] = 2291
    assert first_difference(row, published) == "query images: 2292 published, 2291 here"


def test_the_direction_is_a_setting() -> None:
    there, back = (ROWS[f"amstertime_cls.amstertime{end}"] for end in ("", "_swapped"))
    results = results_of(there.name, dict(there.made))
    assert first_difference(there, results) is None
    assert first_difference(back, results) == "swap: True published, False here"
    assert first_difference(back, results_of(back.name, dict(back.made))) is None
    other = replace(there, settings={**there.settings, "neighbors": "gem"})
    assert first_difference(other, results) == "neighbors: gem published, cls here"
