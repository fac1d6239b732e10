import json
from dataclasses import replace

import numpy as np
import pytest

from ames_lite.errors import BadInput
from ames_lite.evaluation.protocols import (
    PROTOCOLS,
    SETTINGS,
    evaluate_ranking,
    get_protocol,
    setting_junk,
    setting_positives,
)
from ames_lite.records import GroundTruth
from tests.evaluation import referee
from tests.evaluation.official import official_truth
from tests.evaluation.toy import make_neighbors, make_truth
from tests.helpers import shared_file


@pytest.mark.parametrize("seed", range(4))
def test_the_graded_protocol_is_its_slow_referee(seed: int) -> None:
    neighbors, truth = make_neighbors(seed), make_truth(seed)
    came = evaluate_ranking(neighbors, truth, "revisitop")
    for setting in ("easy", "medium", "hard"):
        rows = [
            (row, *referee.lists_of(truth, setting, q))
            for q, row in enumerate(neighbors.ids.tolist())
        ]
        aps = [referee.average_precision(*row) for row in rows]
        np.testing.assert_allclose(came.ap[setting], aps, atol=1e-12)
        assert came.metrics[f"map_{setting}"] == pytest.approx(referee.mean(aps), abs=1e-12)
        for k in (1, 5, 10):
            wanted = referee.mean([referee.revisited_precision_at(*row, k) for row in rows])
            assert came.metrics[f"mp@{k}_{setting}"] == pytest.approx(wanted, abs=1e-12)
    both = came.metrics["map_medium"], came.metrics["map_hard"]
    assert came.metrics["map"] == pytest.approx(sum(both) / 2, abs=1e-15)
    np.testing.assert_array_equal(came.main_ap, (came.ap["medium"] + came.ap["hard"]) / 2)


@pytest.mark.parametrize("length", [5, 12, 40])
@pytest.mark.parametrize("seed", range(3))
def test_the_published_divisor_is_the_positives_or_the_list_if_that_is_shorter(
    seed: int, length: int
) -> None:
    neighbors, truth = make_neighbors(seed, length=length), make_truth(seed)
    protocol = replace(PROTOCOLS["revisitop"], precision_at=(), ap_divisor="published")
    came = evaluate_ranking(neighbors, truth, protocol)
    official = evaluate_ranking(neighbors, truth, replace(protocol, ap_divisor="official"))
    differ = 0
    for setting in protocol.settings:
        for q, row in enumerate(neighbors.ids.tolist()):
            right, junk = referee.lists_of(truth, setting, q)
            whole = referee.average_precision(row, right, junk)
            longer = max(len(right), 1) / max(min(len(right), length), 1)
            assert official.ap[setting][q] == pytest.approx(whole, abs=1e-12, nan_ok=True)
            assert came.ap[setting][q] == pytest.approx(whole * longer, abs=1e-12, nan_ok=True)
            differ += whole * longer != whole and whole > 0
    assert length == 12 or (differ > 0) == (length == 5)
    assert (
        "images listed" in protocol.counted
        and "images listed" not in PROTOCOLS["revisitop"].counted
    )


@pytest.mark.parametrize("protocol", ["gldv2", "instance", "vpr"])
def test_protocols_without_grades_are_their_slow_referee(protocol: str) -> None:
    neighbors, truth = make_neighbors(3), make_truth(3, graded=False)
    came = evaluate_ranking(neighbors, truth, protocol)
    rows = [(row, set(truth.easy[q].tolist())) for q, row in enumerate(neighbors.ids.tolist())]
    wanted = {}
    for key in came.metrics:
        kind, k = key.split("@")
        metric = {"map": referee.average_precision_at, "recall": referee.hit_at}[kind]
        wanted[key] = referee.mean([metric(*row, int(k)) for row in rows])
    assert came.metrics == pytest.approx(wanted, abs=1e-12)
    assert np.isnan(came.main_ap).sum() == 2
    assert PROTOCOLS[protocol].main in came.metrics


def test_public_and_private_queries_are_reported_beside_all() -> None:
    """Worked by hand: the last two of four queries are private."""
    ids = np.array([[0, 1, 2], [1, 0, 2], [2, 1, 0], [0, 2, 1]], np.int32)
    truth = GroundTruth(
        query_names=("a", "b", "c", "d"),
        gallery_names=("x", "y", "z"),
        easy=tuple(np.array(rows, np.int64) for rows in ([0], [0], [0], [])),
        hard=(np.zeros(0, np.int64),) * 4,
        junk=(np.zeros(0, np.int64),) * 4,
        bbox=(None,) * 4,
        graded=False,
    )
    protocol = replace(get_protocol("gldv2"), private=2)
    # APs 1, 1/2, 1/3 and none: d has no positive and does not count
    found = evaluate_ranking(ids, truth, protocol).metrics
    assert found == pytest.approx(
        {"map@100": 11 / 18, "map@100_public": 3 / 4, "map@100_private": 1 / 3}
    )
    assert set(evaluate_ranking(ids, truth, "gldv2").metrics) == {"map@100"}
    for wrong in (4, 750, -1):
        with pytest.raises(BadInput, match="of 4 queries"):
            evaluate_ranking(ids, truth, replace(protocol, private=wrong))


def ungraded(positives: list[list[int]], junk: list[list[int]] | None = None) -> GroundTruth:
    """Queries a, b, … over a gallery of eight."""
    count = len(positives)
    none = (np.zeros(0, np.int64),) * count
    return GroundTruth(
        query_names=tuple("abc"[:count]),
        gallery_names=tuple("stuvwxyz"),
        easy=tuple(np.array(rows, np.int64) for rows in positives),
        hard=none,
        junk=none if junk is None else tuple(np.array(rows, np.int64) for rows in junk),
        bbox=(None,) * count,
        graded=False,
    )


def test_recall_is_over_all_queries_or_over_those_with_positives() -> None:
    """By hand: one query right at once, one at rank 2, one without a positive."""
    truth = ungraded([[0], [1], []])
    ids = np.tile(np.arange(8), (3, 1))
    some, everyone = (evaluate_ranking(ids, truth, name) for name in ("vpr", "vpr_all"))
    assert [some.metrics[f"recall@{k}"] for k in (1, 5)] == [1 / 2, 1.0]
    assert [everyone.metrics[f"recall@{k}"] for k in (1, 5)] == pytest.approx([1 / 3, 2 / 3])
    assert np.isnan(some.main_ap).sum() == np.isnan(everyone.main_ap).sum() == 1
    assert "is a miss" in get_protocol("vpr_all").counted
    assert "have a positive" in get_protocol("vpr").counted


def test_categories_have_the_precision_of_the_first_5_too() -> None:
    """By hand: positives at ranks 1, 3 and 7 of 8; over 5 ranks two of three are found."""
    ids = np.array([[0, 4, 1, 5, 6, 7, 2, 3]])
    found = evaluate_ranking(ids, ungraded([[0, 1, 2]]), "category").metrics
    assert found["map@5"] == pytest.approx((1 + 2 / 3) / 3)
    assert found["map@100"] == pytest.approx((1 + 2 / 3 + 3 / 7) / 3)
    assert (found["recall@1"], found["recall@5"]) == (1.0, 1.0)
    many = evaluate_ranking(ids, ungraded([[0, 1, 2, 3, 4, 5, 6]]), "category").metrics
    assert many["map@5"] == 1.0  # seven positives, five ranks: over min(5, 7)


def test_ilias_looks_at_the_first_1000() -> None:
    assert get_protocol("ilias").depth == 1000
    ids = np.array([[4, 0, 1, 5, 6, 7, 2, 3]])
    found = evaluate_ranking(ids, ungraded([[0, 1]]), "ilias").metrics
    assert found == pytest.approx({"map@1000": (1 / 2 + 2 / 3) / 2})


def test_junk_of_ungraded_sets_is_neither_right_nor_wrong() -> None:
    """By hand: ranks of 1 and 2 are 2 and 4, without the junk 4 and 0 they are 1 and 2."""
    ids = np.array([[4, 1, 0, 2, 5, 6, 7, 3]])
    plain = evaluate_ranking(ids, ungraded([[1, 2]]), "instance").metrics
    assert plain["map@100"] == pytest.approx((1 / 2 + 2 / 4) / 2)
    cleaned = evaluate_ranking(ids, ungraded([[1, 2]], junk=[[4, 0]]), "instance").metrics
    assert cleaned["map@100"] == 1.0 and cleaned["recall@1"] == 1.0


def test_metric_names_are_those_of_results_files() -> None:
    truth, plain = make_truth(0), make_truth(0, graded=False)
    neighbors = make_neighbors(0)
    settings = ("easy", "medium", "hard")
    graded = {f"{m}_{s}" for s in settings for m in ("map", "mp@1", "mp@5", "mp@10")} | {"map"}
    assert set(evaluate_ranking(neighbors, truth, "revisitop").metrics) == graded
    assert set(evaluate_ranking(neighbors, plain, "gldv2").metrics) == {"map@100"}
    recalls = {f"recall@{k}" for k in (1, 5, 10, 20)}
    assert recalls <= set(evaluate_ranking(neighbors, plain, "vpr").metrics)


def test_every_protocol_names_settings_that_exist_and_a_main_metric() -> None:
    for name, protocol in PROTOCOLS.items():
        assert get_protocol(name) is protocol and get_protocol(protocol) is protocol
        assert set(protocol.main_settings) <= set(protocol.settings) <= set(SETTINGS)
        truth = make_truth(0, graded=protocol.graded)
        assert protocol.main in evaluate_ranking(make_neighbors(0), truth, protocol).metrics


def test_settings_split_the_lists_as_published() -> None:
    one = (np.array([0]),), (np.array([1, 2]),), (np.array([3]),)
    truth = GroundTruth(("q",), tuple("abcde"), *one, bbox=(None,))
    came = {
        setting: (
            sorted(setting_positives(truth, setting)[0].tolist()),
            sorted(setting_junk(truth, setting)[0].tolist()),
        )
        for setting in ("easy", "medium", "hard")
    }
    assert came == {
        "easy": ([0], [1, 2, 3]),
        "medium": ([0, 1, 2], [3]),
        "hard": ([1, 2], [0, 3]),
    }
    with pytest.raises(BadInput, match="no setting 'harder'"):
        setting_junk(truth, "harder")


def test_ids_and_neighbors_evaluate_alike() -> None:
    neighbors, truth = make_neighbors(0), make_truth(0)
    results = [
        evaluate_ranking(one, truth, "revisitop").metrics
        for one in (neighbors, neighbors.ids, neighbors.ids.astype(np.uint16))
    ]
    assert all(result == results[0] for result in results)


def test_what_does_not_fit_is_refused_with_both_sides() -> None:
    neighbors, truth = make_neighbors(0), make_truth(0)
    with pytest.raises(BadInput, match="6 queries over 40 images meets .* 6 queries over 41"):
        evaluate_ranking(neighbors, make_truth(0, gallery=41), "revisitop")
    with pytest.raises(BadInput, match="5 queries over 40 images meets .* 6 queries"):
        evaluate_ranking(neighbors.ids[:5], truth, "revisitop")
    with pytest.raises(BadInput, match=r"ids lie in \[0, 40\]"):
        evaluate_ranking(np.where(neighbors.ids == 7, 40, neighbors.ids), truth, "revisitop")
    with pytest.raises(BadInput, match="lists an image twice"):
        evaluate_ranking(np.zeros((6, 40), int), truth, "revisitop")
    with pytest.raises(BadInput, match="integer ids"):
        evaluate_ranking(neighbors.ids + 0.5, truth, "revisitop")
    with pytest.raises(BadInput, match=r"no protocol 'rop'(.|\n)*revisitop, gldv2"):
        evaluate_ranking(neighbors, truth, "rop")
    with pytest.raises(BadInput, match="has easy, hard and junk, the protocol needs positives"):
        evaluate_ranking(neighbors, truth, "gldv2")
    with pytest.raises(BadInput, match="has positives alone, the protocol needs easy"):
        evaluate_ranking(neighbors, make_truth(0, graded=False), "revisitop")
    with pytest.raises(BadInput, match=r"lists 19 images a query(.|\n)*at least 20"):
        evaluate_ranking(neighbors.ids[:, :19], make_truth(0, graded=False), "vpr")


@pytest.mark.parametrize("kind", ["random", "planted"])
@pytest.mark.parametrize("dataset", ["roxford5k", "rparis6k"])
def test_the_official_evaluation_is_reached(dataset: str, kind: str) -> None:
    with np.load(shared_file(f"fixtures/ranks_{dataset}_{kind}.npz")) as fixture:
        came = evaluate_ranking(fixture["ranks"], official_truth(dataset), "revisitop")
    expected = json.loads(shared_file("fixtures/revisitop_expected.json").read_text())
    for setting in ("easy", "medium", "hard"):
        wanted = expected[f"{dataset}/{kind}"][setting]
        assert came.metrics[f"map_{setting}"] == pytest.approx(wanted["map"], abs=1e-9)
        precisions = [came.metrics[f"mp@{k}_{setting}"] for k in (1, 5, 10)]
        assert precisions == pytest.approx(wanted["mp"], abs=1e-9)
        aps = np.array([np.nan if ap is None else ap for ap in wanted["aps"]])
        np.testing.assert_allclose(came.ap[setting], aps, atol=1e-9, rtol=0)


def test_what_newer_numpy_left_out_is_not_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("in1d", "trapz", "row_stack", "product", "alltrue"):
        monkeypatch.delattr(np, name, raising=False)
    for protocol in PROTOCOLS.values():
        truth = make_truth(0, graded=protocol.graded)
        assert protocol.main in evaluate_ranking(make_neighbors(0), truth, protocol).metrics
