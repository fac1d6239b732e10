"""Published rows: complete, findable, and judged by their tolerance."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ames_lite.cli.compose import compose
from ames_lite.cli.shell import dataset_files
from ames_lite.errors import ConfigError
from ames_lite.evaluation.protocols import definition
from ames_lite.io.provenance import ORIGIN
from ames_lite.models import HEADS
from benchmarks.reproduce.outcomes import (
    ROWS,
    find_rows,
    first_difference,
    missing_files,
    outcomes,
    unknowns,
)
from benchmarks.reproduce.rows import AMES_ROWS, FLOAT16, ROUNDING

AMES = ROWS["dinov2_ames.roxford"]


def results_of(**changed: Any) -> dict[str, Any]:
    """What an evaluation of AMES with the published settings and files would report."""
    settings = {**AMES.settings, **changed}
    row = {key: settings[key] for key in ("num_rerank", "lamb", "temp")}
    row |= {key: settings[key] for key in ("query_desc_num", "gallery_desc_num")}
    store = f'{{"origin": "{ORIGIN}"}}'
    return {
        "dataset": settings["dataset"],
        "config": {
            "dataset": {"option": settings["dataset"]},
            "model": {"name": settings["model"]},
            **{key: settings[key] for key in ("desc_name", "neighbors", "precision")},
            "num_rerank": 1600,
        },
        "rows": [{**row, "metrics": {"map_medium": 0.9270, "map_hard": 0.8370, "map": 0.88}}],
        "digests": {"weights": "abc", "query_store": store, "gallery_store": store},
    }


def test_the_published_table_is_here_as_it_was_printed() -> None:
    printed = {
        "dinov2_ames": (0.50, 0.20, 92.7, 83.7, 95.2, 90.6),
        "dinov2_ames_dist": (0.35, 0.10, 91.1, 82.2, 95.2, 90.2),
        "cvnet_ames": (0.85, 0.80, 89.2, 78.7, 93.4, 86.8),
        "cvnet_ames_dist": (0.65, 0.20, 88.8, 77.5, 93.2, 86.3),
    }
    assert {row.group for row in AMES_ROWS.values()} == set(printed) and len(AMES_ROWS) == 8
    for group, (lamb, temp, *values) in printed.items():
        found = find_rows(group, ROWS)
        assert [row.settings["dataset"] for row in found] == ["roxford", "rparis"]
        assert {(row.settings["lamb"], row.settings["temp"]) for row in found} == {(lamb, temp)}
        came = [100 * value for row in found for value in row.expected.values()]
        assert came == pytest.approx(values, abs=1e-9)


@pytest.mark.parametrize("name", AMES_ROWS)
def test_every_row_composes_and_names_what_it_compares(name: str) -> None:
    row = ROWS[name]
    assert row.name == name and row.source and row.tolerance == ROUNDING + FLOAT16
    config = compose("evaluate", [f"{key}={value}" for key, value in row.settings.items()])
    assert config.dataset.option == row.settings["dataset"]
    assert row.settings["model"] in HEADS and row.weights in row.files[-1].names
    for metric in row.expected:
        assert definition(metric)
    assert all(needed.page.startswith("http") for needed in row.files)


@pytest.mark.parametrize("name", AMES_ROWS)
def test_the_files_of_a_row_are_those_that_an_evaluation_looks_for(
    name: str, tmp_path: Path
) -> None:
    row = ROWS[name]
    for chosen in range(4):  # the first name, the second where there is one, ...
        root = tmp_path / str(chosen)
        assert missing_files(row, root) == list(row.files)
        for needed in row.files:
            path = root / needed.names[min(chosen, len(needed.names) - 1)]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        assert missing_files(row, root) == []
        settings = [f"{key}={value}" for key, value in row.settings.items()]
        files = dataset_files(compose("evaluate", [*settings, f"data_root={root}"]))
        found = [files.image_list("query"), files.image_list("gallery"), files.ground_truth()]
        found += [files.local("query"), files.local("gallery"), files.neighbors("superglobal")]
        assert {path.relative_to(root).as_posix() for path in found} == {
            needed.names[min(chosen, len(needed.names) - 1)] for needed in row.files[:-1]
        }


@pytest.mark.parametrize(
    ("points", "inside"), [(0, True), (0.149, True), (-0.15, True), (0.151, False), (-1, False)]
)
def test_inside_is_within_the_tolerance_and_its_end(points: float, inside: bool) -> None:
    results = results_of()
    results["rows"][0]["metrics"]["map_hard"] = 0.837 + points / 100
    medium, hard = outcomes(AMES, results)
    assert medium.inside and medium.difference == pytest.approx(0, abs=1e-12)
    assert hard.inside == inside and hard.difference == pytest.approx(points / 100)


@pytest.mark.parametrize("metrics", [{}, {"map_medium": None, "map_hard": None}])
def test_a_metric_that_is_undefined_is_not_inside(metrics: dict[str, None]) -> None:
    results = results_of()
    results["rows"][0]["metrics"] = metrics
    assert [one.inside for one in outcomes(AMES, results)] == [False, False]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, None),
        ({"neighbors": "cls", "precision": "bf16"}, "neighbors: superglobal published, cls here"),
        ({"num_rerank": 400}, "num_rerank: 1600 published, 400 here"),
        ({"gallery_desc_num": 50}, "gallery_desc_num: 600 published, 50 here"),
        ({"lamb": 0.55}, "lamb: 0.5 published, 0.55 here"),
        ({"precision": "bf16"}, "precision: fp32 published, bf16 here"),
        ({"model": "elvis"}, "model: ames published, elvis here"),
    ],
)
def test_the_first_setting_that_differs_is_named_with_both_values(
    changed: dict[str, Any], words: str | None
) -> None:
    assert first_difference(AMES, results_of(**changed)) == words


def test_stores_and_weights_are_told_from_the_published_ones_where_they_can_be() -> None:
    results = results_of()
    assert [text.split(":")[0] for text in unknowns(AMES, results)] == [
        "weights",
        "descriptors and neighbour lists",
    ]
    assert "abc" in unknowns(AMES, results)[0]
    known = replace(AMES, weights=None, published_stores=False)
    assert first_difference(known, results) is None and unknowns(known, results) == []
    store = '{"backbone": "dinov2", "detector": "feature norm", "image_size": 770, "top_k": 700}'
    results["digests"]["gallery_store"] = store
    assert first_difference(AMES, results) == (
        "the gallery store: the authors' file published, one extracted anew (backbone dinov2, "
        "detector feature norm, image_size 770, top_k 700) here"
    )
    results["digests"]["query_store"] = "{}"
    said = first_difference(AMES, results)
    assert said is not None and "the query store" in said and "says nothing" in said
    # the words alone, somewhere in what a store says of itself, make no published file of it
    results["digests"]["query_store"] = f'{{"note": "{ORIGIN}"}}'
    assert "the query store" in str(first_difference(AMES, results))
    results["digests"]["query_store"] = f'{{"origin": "{ORIGIN}"}}'
    assert first_difference(known, results) is None


def test_an_unknown_row_lists_what_exists() -> None:
    assert find_rows("cvnet_ames.rparis", ROWS) == [ROWS["cvnet_ames.rparis"]]
    with pytest.raises(ConfigError, match="dinov2_ames_dist.roxford"):
        find_rows("dinov3", ROWS)
