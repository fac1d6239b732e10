from dataclasses import replace

import numpy as np
import pytest

from ames_lite.evaluation import metrics
from ames_lite.evaluation.metrics import find_hits
from ames_lite.evaluation.protocols import PROTOCOLS, summarize
from tests.evaluation import referee
from tests.evaluation.toy import make_neighbors, make_truth
from tests.helpers import shared_file


def ids_of(*rows: list[int]) -> np.ndarray:
    return np.array(rows)


def lists_of(*rows: list[int]) -> list[np.ndarray]:
    return [np.array(row, int) for row in rows]


def test_the_two_definitions_differ_on_a_ranking_worked_by_hand() -> None:
    # positives at places 1 and 5 of five. Trapezoids: the first adds (1/1 + 1/1) / 2 = 1, the
    # second (1/4 + 2/5) / 2 = 0.325, together 1.325 over 2 positives. Rectangles: 1/1 + 2/5 = 1.4
    # over 2.
    hits = find_hits(ids_of([3, 8, 1, 9, 5]), lists_of([3, 5]))
    assert metrics.average_precision(hits) == pytest.approx([0.6625], abs=1e-15)
    assert metrics.average_precision_at(hits, 100) == pytest.approx([0.70], abs=1e-15)
    # with 8 as junk the second positive stands at place 4: (1/3 + 2/4) / 2 and 2/4
    hits = find_hits(ids_of([3, 8, 1, 9, 5]), lists_of([3, 5]), lists_of([8]))
    assert metrics.average_precision(hits) == pytest.approx([(1 + 5 / 12) / 2], abs=1e-15)
    assert metrics.average_precision_at(hits, 100) == pytest.approx([0.75], abs=1e-15)
    assert metrics.revisited_precision_at(hits, 3) == pytest.approx([1 / 3], abs=1e-15)
    assert metrics.revisited_precision_at(hits, 9) == pytest.approx([2 / 4], abs=1e-15)


@pytest.mark.parametrize("length", [40, 15, 1])
@pytest.mark.parametrize("seed", range(8))
def test_every_metric_is_its_slow_referee(seed: int, length: int) -> None:
    neighbors, truth = make_neighbors(seed, length=length), make_truth(seed)
    positives = [np.concatenate(both) for both in zip(truth.easy, truth.hard, strict=True)]
    hits = find_hits(neighbors.ids, positives, truth.junk)
    clean = find_hits(neighbors.ids, positives)
    for q, row in enumerate(neighbors.ids.tolist()):
        right, junk = set(positives[q].tolist()), set(truth.junk[q].tolist())
        wanted = referee.average_precision(row, right, junk)
        assert metrics.average_precision(hits)[q] == pytest.approx(wanted, abs=1e-12, nan_ok=True)
        for k in (1, 3, 5, 10, 100):
            came = metrics.revisited_precision_at(hits, k)[q]
            wanted = referee.revisited_precision_at(row, right, junk, k)
            assert came == pytest.approx(wanted, abs=1e-12, nan_ok=True)
            came = metrics.average_precision_at(clean, k)[q]
            wanted = referee.average_precision_at(row, right, k)
            assert came == pytest.approx(wanted, abs=1e-12, nan_ok=True)
            came = metrics.hit_at(clean, k)[q]
            assert came == pytest.approx(referee.hit_at(row, right, k), nan_ok=True)
            came = metrics.precision_at(clean, k)[q]
            assert came == pytest.approx(referee.precision_at(row, right, k), nan_ok=True)
    values = summarize({"all": clean}, replace(PROTOCOLS["instance"], ks=(1, 5, 10))).metrics
    rows = list(zip(neighbors.ids.tolist(), map(set, positives), strict=True))
    for k in (1, 5, 10):
        right = [any(i in own for i in row[:k]) for row, own in rows]
        assert values[f"accuracy@{k}"] == pytest.approx(sum(right) / len(right))


@pytest.mark.parametrize("seed", range(5))
def test_junk_anywhere_never_changes_a_metric(seed: int) -> None:
    neighbors, truth = make_neighbors(seed), make_truth(seed)
    generator = np.random.default_rng(seed)
    hits = find_hits(neighbors.ids, truth.hard, truth.junk)
    moved = neighbors.ids.copy()
    for q, row in enumerate(neighbors.ids):
        clean = row[~np.isin(row, truth.junk[q])].tolist()
        for junk in truth.junk[q].tolist():
            clean.insert(int(generator.integers(len(clean) + 1)), junk)
        moved[q] = clean
    again = find_hits(moved, truth.hard, truth.junk)
    for one, two in zip(hits, again, strict=True):
        np.testing.assert_array_equal(one, two)


def test_a_perfect_ranking_reaches_1_in_every_metric() -> None:
    hits = find_hits(ids_of([4, 2, 0, 1, 3]), lists_of([2, 4, 0]))
    assert metrics.average_precision(hits) == 1
    for k in (1, 2, 3, 5, 100):
        assert metrics.average_precision_at(hits, k) == 1
        assert metrics.revisited_precision_at(hits, k) == 1
        assert metrics.hit_at(hits, k) == 1


def test_a_query_without_positives_is_nan_and_not_in_the_mean() -> None:
    hits = find_hits(ids_of([0, 1, 2], [0, 1, 2], [2, 1, 0]), lists_of([0], [], [1]))
    values = [
        metrics.average_precision(hits),
        metrics.average_precision_at(hits, 2),
        metrics.revisited_precision_at(hits, 2),
        metrics.hit_at(hits, 1),
    ]
    for value in values:
        assert np.isnan(value).tolist() == [False, True, False]
    assert metrics.mean(values[3]) == 0.5
    assert np.isnan(metrics.mean(np.array([np.nan])))


def test_positives_that_the_ranking_does_not_list_count_as_missed() -> None:
    hits = find_hits(ids_of([7, 8], [7, 8]), lists_of([7, 1, 2, 3], [1]))
    np.testing.assert_array_equal(metrics.average_precision(hits), [0.25, 0])
    np.testing.assert_array_equal(metrics.average_precision_at(hits, 2), [0.5, 0])
    np.testing.assert_array_equal(metrics.revisited_precision_at(hits, 2), [1, 0])
    np.testing.assert_array_equal(metrics.hit_at(hits, 2), [1, 0])


def test_an_empty_ranking_finds_nothing() -> None:
    hits = find_hits(np.zeros((2, 0), int), lists_of([1], []), lists_of([], [2]))
    np.testing.assert_array_equal(metrics.average_precision(hits), [0, np.nan])
    np.testing.assert_array_equal(metrics.revisited_precision_at(hits, 5), [0, np.nan])


def test_gldv2_average_precision_is_the_published_one() -> None:
    with np.load(shared_file("fixtures/gldv2_map100.npz")) as fixture:
        ends = np.cumsum(fixture["ok_len"])
        positives = np.split(fixture["ok"], ends[:-1])
        came = metrics.average_precision_at(find_hits(fixture["ranks"], positives), 100)
        np.testing.assert_allclose(came, fixture["aps"], atol=1e-12, rtol=0)
        assert metrics.mean(came) == pytest.approx(float(fixture["map"]), abs=1e-12)
