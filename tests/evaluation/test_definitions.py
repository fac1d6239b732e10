"""Every metric that a protocol reports has a definition, and the definition is what is computed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ames_lite.errors import BadInput
from ames_lite.evaluation import metrics
from ames_lite.evaluation.protocols import (
    GRADED_MAP,
    PROTOCOLS,
    definition,
    evaluate_ranking,
    footnotes,
    summarize,
)
from tests.evaluation.toy import make_neighbors, make_truth


def names_of(protocol: str) -> list[str]:
    graded = PROTOCOLS[protocol].graded
    return list(evaluate_ranking(make_neighbors(0), make_truth(0, graded=graded), protocol).metrics)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_metric_of_a_protocol_has_its_own_definition(protocol: str) -> None:
    names = names_of(protocol)
    lines = footnotes(names)
    assert [line.split(": ", 1)[0] for line in lines[:-1]] == names
    assert len({line.split(": ", 1)[1] for line in lines[:-1]}) == len(names)
    assert "queries that have a positive" in lines[-1]


def test_the_main_metric_of_a_graded_protocol_is_a_mean_of_two() -> None:
    assert f"map: {GRADED_MAP}" in footnotes(names_of("revisitop"))
    assert "trapezoid" in definition("map") and "(map_medium" not in definition("map")


def test_the_two_average_precisions_are_told_apart() -> None:
    """One toy ranking gives 0.6625 by the one definition and 0.70 by the other."""
    hits = metrics.find_hits(np.array([[3, 8, 1, 9, 5]]), [np.array([3, 5])])
    assert metrics.average_precision(hits)[0] == pytest.approx(0.6625)
    assert "trapezoids" in definition("map_hard") and "rectang" not in definition("map_hard")
    assert metrics.average_precision_at(hits, 100)[0] == pytest.approx(0.70)
    assert "rectangular" in definition("map@100") and "min(100, positives)" in definition("map@100")


def test_a_part_of_the_queries_is_named() -> None:
    assert definition("map@100_private").endswith("the private queries")
    assert "among the first 7 ranks" in definition("recall@7")


def test_metrics_of_any_k_stand_beside_the_protocol_s_own() -> None:
    """By hand: positives 3 and 5 at ranks 0 and 4; the second query has none, and counts in
    accuracy@k alone.
    """
    ids, rows = np.array([[3, 8, 1, 9, 5], [0, 1, 2, 3, 4]]), [np.array([3, 5]), np.array([], int)]
    found = {"all": metrics.find_hits(ids, rows)}
    protocol = replace(PROTOCOLS["instance"], ks=(1, 5))
    values = summarize(found, protocol).metrics
    assert (values["map@1"], values["map@5"]) == (1.0, pytest.approx(0.7))
    assert (values["precision@1"], values["precision@5"]) == (1.0, 0.4)
    assert (values["recall@5"], values["accuracy@1"], values["accuracy@5"]) == (1.0, 0.5, 0.5)
    assert all(definition(name) for name in values)
    assert set(summarize(found, PROTOCOLS["instance"]).metrics) < set(values)


@pytest.mark.parametrize("name", ["", "mAP", "recall", "recall@0", "map_odd", "loss@5", "map@5@6"])
def test_a_name_without_a_definition_is_refused(name: str) -> None:
    with pytest.raises(BadInput, match="is defined"):
        definition(name)
