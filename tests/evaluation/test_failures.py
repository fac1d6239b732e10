"""Which queries a failure sheet shows, against loops over written-out rankings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

from ames_lite.errors import BadInput
from ames_lite.evaluation.failures import (
    COLUMNS,
    OF_SUCCESS,
    Case,
    Tiles,
    best_and_worst,
    best_ranks,
    make_cases,
    pick_row,
)
from ames_lite.evaluation.figures import Section, Tile, failure_sheet, shortened
from ames_lite.evaluation.passes import Cell, prepare_passes, rerank_setting
from ames_lite.evaluation.pictures import Album, Picture
from ames_lite.evaluation.protocols import get_protocol
from ames_lite.records import GroundTruth, Neighbors, PairScores
from tests.evaluation.toy import judged

GALLERY = 9
ANY_LENGTH = replace(get_protocol("revisitop"), precision_at=())
CELL = Cell(num_rerank=5, lamb=0.3, temp=2.0)


def toy(seed: int, listed: int = GALLERY) -> tuple[Neighbors, GroundTruth, PairScores]:
    """Six queries with random lists, positives and junk; every pair has a logit."""
    rng = np.random.default_rng(seed)
    ids = np.array([rng.permutation(GALLERY)[:listed] for _ in range(6)], np.int32)
    sims = -np.sort(-rng.random(ids.shape).astype(np.float32), axis=1)
    parts = [np.split(rng.permutation(GALLERY), [1, 2, 4]) for _ in range(6)]
    easy, hard, junk = (tuple(p[i].astype(np.int64) for p in parts) for i in range(3))
    queries = tuple(f"q{i}" for i in range(6))
    gallery = tuple(f"g{i}" for i in range(GALLERY))
    truth = GroundTruth(queries, gallery, easy, hard, junk, (None,) * 6)
    every = np.divmod(np.arange(6 * GALLERY), GALLERY)
    logits = rng.normal(0, 2, 6 * GALLERY).astype(np.float32)
    return (
        Neighbors(ids, sims, GALLERY),
        truth,
        PairScores(*(e.astype(np.int32) for e in every), logits),
    )


def slow_order(lists: Neighbors, truth: GroundTruth, scores: PairScores, q: int) -> tuple[Any, Any]:
    """The medium ranking of one query without junk: by similarity, and after reranking."""
    junk = set(truth.junk[q].tolist())
    kept = [(row, sim) for row, sim in zip(lists.ids[q].tolist(), lists.sims[q], strict=True)]
    kept = [(row, sim) for row, sim in kept if row not in junk]
    n = min(CELL.num_rerank, lists.ids.shape[1])
    logit = {
        g: v for p, g, v in zip(scores.query, scores.gallery, scores.logit, strict=True) if p == q
    }

    def score(row: int, sim: float) -> float:
        local = 1 / (1 + np.exp(-CELL.temp * float(logit[row])))
        return CELL.lamb * float(sim) + (1 - CELL.lamb) * float(local)

    head = sorted(kept[:n], key=lambda pair: -score(*pair))
    return [row for row, _ in kept], [row for row, _ in head + kept[n:]]


def place(order: list[int], wanted: list[int]) -> int | None:
    return next((i for i, row in enumerate(order, 1) if row in wanted), None)


def cases_of(
    lists: Neighbors, truth: GroundTruth, scores: PairScores, rows: list[int]
) -> list[Case]:
    reranked = rerank_setting(judged(lists, truth, ANY_LENGTH), scores, "medium", CELL)
    return make_cases(rows, lists, truth, reranked, "medium", (np.arange(6.0), -np.arange(6.0)))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("listed", [GALLERY, 6])
def test_cases_are_those_of_a_plain_loop(seed: int, listed: int, tmp_path: Path) -> None:
    lists, truth, scores = toy(seed, listed)
    found = cases_of(lists, truth, scores, [4, 1, 3])
    tiles = Tiles(Album(tmp_path), truth, "AP")
    assert [case.query for case in found] == [4, 1, 3]
    for case in found:
        q = case.query
        right = [*truth.easy[q].tolist(), *truth.hard[q].tolist()]
        before, after = slow_order(lists, truth, scores, q)
        assert (case.before.tolist(), case.after.tolist()) == (before, after)
        assert case.right.tolist() == right and case.aps == (q, -q)
        best = place(after, right)
        shown = after[best - 1] if best else right[0]
        query, one, two, last = tiles.line(case, COLUMNS)
        assert (query.name, query.correct) == (f"q{q}", None)
        ranks = "" if best == 1 else f"correct {place(before, right) or '–'} → {best or '–'}; "
        assert query.said == f"{ranks}AP {q:.2f} → {-q:.2f}"
        assert (one.name, one.correct) == (f"g{before[0]}", before[0] in right)
        assert (two.name, two.correct) == (f"g{after[0]}", after[0] in right)
        assert two.said.endswith(f", was rank {place(before, [after[0]])}")
        there, was = (
            f"rank {rank}" if rank else "not listed" for rank in (best, place(before, [shown]))
        )
        assert last[0] == f"g{shown}" and last.said == f"{there}, was {was}"
        assert len(tiles.line(case, OF_SUCCESS)) == 3


@pytest.mark.parametrize("seed", range(5))
def test_best_ranks_are_where_the_loop_finds_the_first_correct_image(seed: int) -> None:
    lists, truth, scores = toy(seed)
    one = prepare_passes(judged(lists, truth), scores, CELL.num_rerank)["medium"]
    ranks = [best_ranks(one.before), best_ranks(one.hits(CELL))]
    for q in range(6):
        right = [*truth.easy[q].tolist(), *truth.hard[q].tolist()]
        for found, order in zip(ranks, slow_order(lists, truth, scores, q), strict=True):
            assert found[q] == place(order, right)


def test_a_list_of_nothing_but_junk_has_no_first_image(tmp_path: Path) -> None:
    lists, truth, scores = toy(0, 2)
    none = tuple(np.zeros(0, np.int64) for _ in range(6))
    junk = tuple(row.astype(np.int64) for row in lists.ids)
    right = tuple(np.setdiff1d(np.arange(GALLERY), row)[:1].astype(np.int64) for row in lists.ids)
    truth = GroundTruth(truth.query_names, truth.gallery_names, right, none, junk, truth.bbox)
    (case,) = cases_of(lists, truth, scores, [2])
    assert len(case.before) == len(case.after) == 0
    line = Tiles(Album(tmp_path), truth, "AP").line(case, COLUMNS)
    assert [tile.picture.trouble for tile in line[1:3]] == ["all that is listed is junk"] * 2
    assert line[3].name == f"g{right[2][0]}" and line[3].said == "not listed, was not listed"


def test_the_most_helped_come_first_and_so_do_the_worst() -> None:
    before = np.array([1, np.inf, 7, 7, 1, 2, 1, np.nan, 1])
    after = np.array([1, 1, 1, 1, 3, 9, np.inf, np.nan, 1])
    gain = np.array([0, 0.5, 0.1, 0.2, -0.5, -0.4, -0.9, np.nan, 0])
    ap_after = np.array([1.0, 0.9, 0.9, 0.9, 0.3, 0.2, 0.0, np.nan, 0.4])
    won, lost = best_and_worst(before, after, ap_after - gain, ap_after, 3)
    assert won == [1, 3, 2] and lost == [6, 5, 4]
    won, lost = best_and_worst(before, after, ap_after - gain, ap_after, 9)
    assert won == [1, 3, 2, 0, 8] and lost == [6, 5, 4]  # each query once
    won, lost = best_and_worst(before, after, ap_after - gain, ap_after, 4)
    assert won == [1, 3, 2, 0] and lost == [6, 5, 4, 8]  # 8: correct first, but AP 0.4


def test_the_best_row_is_one_that_was_not_chosen_on_the_test_set() -> None:
    def row(role: str | None, value: float | None) -> dict[str, Any]:
        return {"metrics": {"map": value}} | ({"role": role} if role else {})

    assert pick_row([row("oracle", 0.9), row("frozen", 0.3), row("given", 0.4)], "map") == 2
    assert pick_row([row("oracle", 0.2), row("oracle", 0.9)], "map") == 1
    assert pick_row([row(None, 0.2), row(None, 0.9), row(None, None)], "map") == 1
    with pytest.raises(BadInput, match="no row has the metric map(.|\n)*recall@1"):
        pick_row([{"metrics": {"recall@1": 0.5}}], "map")


# ---------------------------------------------------------------- the page


def tile(correct: bool | None, shape: tuple[int, int] = (30, 40)) -> Tile:
    return Tile("a/b.jpg", Picture(np.full((*shape, 3), 90, np.uint8)), correct, "said")


def words_of(figure: Figure) -> list[Text]:
    """Everything that is written, as it is drawn."""
    return [text for text in figure.findobj(Text) if text.get_text()]


def test_frames_say_what_an_image_is() -> None:
    lines = [[tile(None), tile(True), tile(False, (60, 20))]]
    figure = failure_sheet([Section("one", ("a", "b", "c"), lines)], title="t", notes=["n", "m"])
    tiles = [axes for axes in figure.axes if axes.images]
    blue, green, red = (to_rgb(axes.spines["left"].get_edgecolor()) for axes in tiles)
    assert max(blue) == blue[2] and max(green) == green[1] and max(red) == red[0]
    for axes in tiles:
        axes.apply_aspect()
        box = axes.get_window_extent()
        height, width = axes.images[0].get_array().shape[:2]
        assert box.width / box.height == pytest.approx(width / height)
        assert box.width <= 2.5 * figure.dpi + 1 and box.height <= 1.91 * figure.dpi
    assert {"one", "a", "b", "c", "t\nn\nm", "a/b.jpg", "said"} == {
        text.get_text() for text in words_of(figure)
    }


def test_an_image_that_is_not_there_is_a_grey_tile_that_says_so() -> None:
    lost = Tile("gone.jpg", Picture(None, "image not found"), False, "wrong")
    figure = failure_sheet([Section("one", ("a",), [[lost]])], title="t")
    assert {"image not found", "gone.jpg"} <= {text.get_text() for text in words_of(figure)}


def test_nothing_of_a_page_overlaps() -> None:
    lines = [[tile(None), tile(True, (90, 30))], [tile(None, (20, 60)), tile(False)]]
    sections = [Section("one", ("a", "b"), lines), Section("none", ("a", "b"), [])]
    figure = failure_sheet([*sections, Section("two", ("a", "b"), lines)], title="t")
    tiles = [axes for axes in figure.axes if axes.images]
    for axes in tiles:
        axes.apply_aspect()
    boxes = [one.get_window_extent() for one in (*tiles, *words_of(figure))]
    page = figure.bbox
    for i, one in enumerate(boxes):
        assert page.x0 <= one.x0 and one.x1 <= page.x1 and page.y0 <= one.y0 <= one.y1 <= page.y1
        for other in boxes[:i]:
            apart = (
                one.x1 <= other.x0 or other.x1 <= one.x0 or one.y1 <= other.y0 or other.y1 <= one.y0
            )
            assert apart, (one, other)


def test_long_names_lose_their_folders_and_then_their_end() -> None:
    assert shortened("a/" * 30 + "b.jpg") == "b.jpg"
    utm = "images/test/database/@0499638.99@6958015.36@56@J@-27.5@152.9@@@@@@@@@.jpg"
    assert shortened(utm) == "@0499638.99@6958015.36@56@J@-…"
