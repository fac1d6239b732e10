"""Comparisons: every row with its role, differences over the same queries, runs made alike."""

from __future__ import annotations

import csv
import io
import math
from typing import Any
from unittest.mock import ANY

import numpy as np
import pytest

from ames_lite.errors import BadInput
from ames_lite.evaluation.comparison import Block, Entry, compare, role_in_words
from ames_lite.evaluation.comparison_table import FORMS, notes_of, render
from ames_lite.evaluation.significance import bootstrap_mean, sign_flip_test
from tests.evaluation.results_toy import make_results


def entry(name: str, *runs: dict[str, Any], mixed: bool = False) -> Entry:
    files = tuple(f"{name}{i}/results.json" for i in range(len(runs)))
    return Entry(name, files, runs, mixed)


def aps(results: dict[str, Any], key: str = "ap") -> np.ndarray:
    return np.array([np.nan if q[key] is None else q[key] for q in results["per_query"]])


def one_block(*entries: Entry, **options: Any) -> Block:
    (block,) = compare(entries, **options)
    return block


def test_every_row_is_a_line_and_none_is_picked() -> None:
    block = one_block(entry("a", make_results(0, rows=3)), entry("b", make_results(1)))
    assert [line.name for line in block.lines] == ["global", "a", "a", "a", "b"]
    assert [line.settings["lamb"] for line in block.lines] == ["-", "0.3", "0.4", "0.5", "0.3"]
    settings = block.lines[0].settings
    assert settings["role"] == "not reranked" and settings["model"] == "vlad"


@pytest.mark.parametrize(
    ("given", "role"),
    [
        ({}, "as given"),
        ({"rows": 2}, "oracle"),
        ({"tuned_on": "gldv2-val"}, "tuned on gldv2-val"),
        ({"tuned_on": "gldv2-val", "rows": 2}, "tuned on gldv2-val"),
        ({"rows": 2, "dataset_role": "val"}, "grid on val"),
    ],
)
def test_a_row_says_how_its_settings_came_to_be(given: dict[str, Any], role: str) -> None:
    dataset_role = given.pop("dataset_role", "test")
    results = make_results(0, **given)
    results["config"]["dataset"]["role"] = dataset_role
    assert {role_in_words(results, row) for row in results["rows"]} == {role}
    block = one_block(entry("a", results))
    said = any("tried on this set" in note for note in notes_of([block], ["map"]))
    assert said == (role == "oracle")


def test_a_difference_is_that_of_the_paired_queries() -> None:
    first, second = make_results(0), make_results(1, gain=0.12)
    line = one_block(entry("a", first), entry("b", second), baseline="a").lines[2]
    assert line.name == "b" and line.difference is not None
    interval = bootstrap_mean(aps(second) - aps(first), seed=0)
    test = sign_flip_test(aps(second) - aps(first), seed=0)
    assert line.difference.interval == interval and line.difference.p == test
    assert line.difference.value == pytest.approx(interval.mean)
    assert interval.excluded == 1 and interval.counted == 11


def test_without_a_baseline_the_difference_is_to_the_global_ranking_of_each() -> None:
    results = make_results(3)
    block = one_block(entry("a", results))
    assert block.lines[0].difference is None
    difference = block.lines[1].difference
    assert difference is not None and difference.p is not None
    assert difference.p == sign_flip_test(aps(results) - aps(results, "global_ap"), seed=0)
    assert difference.value == pytest.approx(
        results["rows"][0]["metrics"]["map"] - results["global"]["map"]
    )


def test_the_order_of_the_queries_does_not_matter_as_they_are_paired_by_name() -> None:
    first, second = make_results(0), make_results(1)
    straight = one_block(entry("a", first), entry("b", second), baseline="a").lines[2]
    first["per_query"] = first["per_query"][::-1]
    turned = one_block(entry("a", first), entry("b", second), baseline="a").lines[2]
    assert turned.difference == straight.difference is not None


def test_only_first_rows_and_the_metric_of_the_queries_have_an_interval() -> None:
    results = make_results(0, rows=2)
    lines = one_block(entry("a", results)).lines
    assert lines[1].difference.interval is not None  # type: ignore[union-attr]
    assert lines[2].difference.interval is None  # type: ignore[union-attr]
    other = one_block(entry("a", make_results(0)), metric="map_hard").lines[1].difference
    assert other is not None and other.interval is None and other.p is None
    ungraded = one_block(entry("a", make_results(0, graded=False)))
    assert ungraded.metric == "map@100" and ungraded.lines[1].difference.p is not None  # type: ignore[union-attr]


def test_seeds_are_averaged_metric_by_metric_and_query_by_query() -> None:
    runs = [make_results(seed) for seed in range(3)]
    block = one_block(entry("seeds", *runs), entry("one", make_results(7)), baseline="one")
    line = next(line for line in block.lines if line.name == "seeds")
    values = [run["rows"][0]["metrics"]["map"] for run in runs]
    spread = line.metrics["map"]
    assert spread is not None and spread.runs == 3
    assert spread.mean == pytest.approx(np.mean(values))
    assert spread.std == pytest.approx(np.std(values, ddof=1))
    assert line.difference is not None and line.difference.interval is not None
    mean = np.mean([aps(run) for run in runs], axis=0)
    referee = bootstrap_mean(mean - aps(make_results(7)), seed=0)
    assert tuple(line.difference.interval) == pytest.approx(tuple(referee))
    before = [one for one in block.lines if one.name == "global"]  # equal ones once, as one run
    assert [one.metrics["map"] for one in before] == [(runs[0]["global"]["map"], ANY, 1)]
    assert "±" in render([block], "table")


def test_how_a_run_was_carried_out_may_differ() -> None:
    how = {"resume": True, "max_memory": "2GB", "threads": 1, "compile": True, "scores": "earlier"}
    line = one_block(entry("a", make_results(0), make_results(1, **how))).lines[1]
    assert line.metrics["map"] is not None and line.metrics["map"].runs == 2


def test_seeds_may_have_been_tuned_to_other_settings() -> None:
    runs = [make_results(seed, tuned_on="gldv2-val") for seed in range(2)]
    runs[1]["rows"][0]["lamb"] = 0.4
    line = one_block(entry("a", *runs)).lines[1]
    assert line.settings["lamb"] == "0.3/0.4" and line.settings["role"] == "tuned on gldv2-val"


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (make_results(1, dataset="rparis"), "differ in dataset: 'roxford' in a0/.* 'rparis' in a1"),
        (make_results(1, precision="bf16"), "differ in precision: None in a0/.* 'bf16' in a1"),
        (make_results(1, num_rerank=400), "differ in num_rerank: 100 in a0/.* 400 in a1"),
        (make_results(1, rows=2), "differ in rows"),
        (make_results(1) | {"model": "elvis"}, "differ in model"),
        (make_results(1, graded=False), "differ in metrics"),
        (make_results(0), "have the same weights: a0/results.json and a1"),
    ],
)
def test_runs_of_one_entry_differ_in_their_seed_alone(other: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        entry("a", make_results(0), other)


def test_other_configurations_are_mixed_where_told_but_not_other_sets() -> None:
    entry("a", make_results(0), make_results(1, precision="bf16"), mixed=True)
    for other in (make_results(1, dataset="rparis"), make_results(1, rows=2)):
        with pytest.raises(BadInput, match="differ in"):
            entry("a", make_results(0), other, mixed=True)


def test_data_sets_stand_in_blocks_of_their_own() -> None:
    blocks = compare(
        [
            entry("a", make_results(0)),
            entry("b", make_results(0, dataset="rparis", graded=False)),
            entry("c", make_results(1)),
        ]
    )
    assert [block.dataset for block in blocks] == ["roxford", "rparis"]
    assert [line.name for line in blocks[0].lines] == ["global", "a", "c"]


def test_results_that_cannot_be_compared_name_both_files() -> None:
    ours = entry("a", make_results(0))
    other_names = make_results(1)
    other_names["per_query"][3]["name"] = "jpg/strange.jpg"
    digests = make_results(1)
    digests["digests"]["gallery_names"] = "another"
    cases = [(other_names, "strange"), (digests, "gallery_names: g, another")]
    cases.append((make_results(1, graded=False), "other metrics"))
    for results, words in cases:
        with pytest.raises(BadInput, match=words) as error:
            compare([ours, entry("b", results)])
        assert "a0/results.json" in str(error.value) and "b0/results.json" in str(error.value)
    with pytest.raises(BadInput, match="'a' is not among the results of rparis: b0/results.json"):
        compare([ours, entry("b", make_results(0, dataset="rparis"))], baseline="a")
    with pytest.raises(BadInput, match="no metric 'accuracy'"):
        compare([ours], metric="accuracy")
    with pytest.raises(BadInput, match="distinct"):
        compare([ours, ours])


def test_undefined_metrics_and_absent_queries_are_said_not_invented() -> None:
    results = make_results(0)
    results["rows"][0]["metrics"]["map"] = None
    line = one_block(entry("a", results)).lines[1]
    assert line.metrics["map"] is None and line.difference is None
    results = make_results(0)
    results["per_query"] = []
    difference = one_block(entry("a", results)).lines[1].difference
    assert difference is not None and difference.interval is None
    for form in FORMS:
        assert "nan" not in render([one_block(entry("a", results))], form)


def test_the_forms_show_the_same_figures() -> None:
    block = one_block(entry("a_1", make_results(0)), entry("b|2", make_results(1)))
    texts = {form: render([block], form) for form in FORMS}
    value = f"{100 * make_results(1)['rows'][0]['metrics']['map_hard']:.2f}"
    for form in ("table", "markdown", "latex"):
        assert value in texts[form] and "mp@1_medium" not in texts[form]
        assert "sign-flip" in texts[form] and "trapezoid" in texts[form]
    assert r"b\|2" in texts["markdown"] and r"a\_1" in texts["latex"]
    assert r"$\Delta$ map" in texts["latex"]
    columns = {line.count("|") - line.count("\\|") for line in texts["markdown"].split("\n")[2:7]}
    assert len(columns) == 1
    rows = [line for line in texts["latex"].split("\n") if line.endswith(r"\\")]
    assert len({row.count("&") - row.count(r"\&") for row in rows}) == 1 and len(rows) == 4


@pytest.mark.parametrize("form", ["table", "markdown", "latex"])
def test_a_name_with_line_ends_stays_in_its_row(form: str) -> None:
    results = [make_results(0) | {"dataset": "d\nd", "model": "m\n|m"}, make_results(1)]
    results[1] |= {"dataset": "d\nd", "model": "m\n|m"}
    texts = [
        render([one_block(entry(f"a{end}b", results[0]), entry("c", results[1]))], form)
        for end in (" ", "\n")
    ]
    assert texts[0] == texts[1] and len(texts[0].splitlines()) > 5


def test_the_csv_form_has_the_figures_in_full() -> None:
    runs = [make_results(seed) for seed in range(2)]
    block = one_block(entry("a", *runs), entry("b", make_results(5)))
    rows = list(csv.DictReader(io.StringIO(render([block], "csv"))))
    line = block.lines[1]
    assert [row["name"] for row in rows] == ["global", "a", "b"]
    assert float(rows[1]["map"]) == line.metrics["map"].mean  # type: ignore[union-attr]
    assert float(rows[1]["map_std"]) == line.metrics["map"].std  # type: ignore[union-attr]
    assert rows[1]["runs"] == "2" and rows[2]["map_std"] == "" and "mp@1_medium" in rows[0]
    difference = line.difference
    assert difference is not None and difference.interval is not None
    assert float(rows[1]["difference_points"]) == pytest.approx(100 * difference.value)
    assert float(rows[1]["low_points"]) == pytest.approx(100 * difference.interval.low)
    assert float(rows[1]["p"]) == difference.p
    assert rows[0]["difference_points"] == "" and not math.isnan(float(rows[0]["map"]))


def test_columns_and_forms_that_do_not_exist_are_refused() -> None:
    block = one_block(entry("a", make_results(0)))
    assert "map_hard" not in render([block], "table", ["map"]).split("\n")[2]
    with pytest.raises(BadInput, match="no metric 'recall@1'"):
        render([block], "table", ["recall@1"])
    with pytest.raises(BadInput, match="no form 'html'"):
        render([block], "html")
