"""The report page: what it shows is what the lists and the ground truth say, whatever is missing.

The referee reads the page with html.parser and the JSON in it, and walks the lists one image at a
time; what a browser makes of it is in test_report_browser.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ames_lite.errors import BadInput
from ames_lite.evaluation import page as pages
from ames_lite.evaluation.pair_view import PairViews
from ames_lite.evaluation.passes import Cell, rerank_setting
from ames_lite.evaluation.protocols import Retrieval
from ames_lite.evaluation.report import Shown, pick_queries, write_report
from ames_lite.evaluation.results_file import Rankings
from ames_lite.io.images import jpeg_bytes, load_image, save_jpeg, thumbnail
from ames_lite.records import GroundTruth, LocalDescriptors, Neighbors, PairScores
from ames_lite.reranking.verification import MutualNearest
from tests.evaluation.toy import evaluate_reranked, judged, make_neighbors, make_scores, make_truth
from tests.pages import Page

pytestmark = pytest.mark.usefixtures("no_plots")
ENSEMBLE = {"lamb": 0.25, "temp": 0.5}
inf, nan = math.inf, math.nan


def plain(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


@dataclasses.dataclass
class Toy:
    """An evaluation of random lists: query 1 has no positives, query 0 no easy ones."""

    results: dict[str, Any]
    neighbors: Neighbors
    reranked: Neighbors
    truth: GroundTruth
    lists: Retrieval
    scores: PairScores

    def write(
        self, path: Path, root: Path, *, views: PairViews | None = None, **options: Any
    ) -> Page:
        given = {key: options.pop(key) for key in ("comparisons", "picked") if key in options}
        lists = self.lists.protocol, self.truth, self.neighbors
        found = Rankings(*lists, self.scores, self.results, Path("results.json"))
        written = write_report(path, found, root, Shown(**options), views, **given)
        return Page(written.read_text("utf-8"))


def evaluate(
    neighbors: Neighbors, truth: GroundTruth, scores: PairScores, num_reranks: tuple[int, ...]
) -> Toy:
    protocol, setting = ("revisitop", "medium") if truth.graded else ("gldv2", "all")
    lists = judged(neighbors, truth, protocol)
    before, cells = lists.evaluate(), [Cell(n, **ENSEMBLE) for n in num_reranks]
    found = [evaluate_reranked(lists, scores, cell) for cell in cells]
    settings = {"query_desc_num": 60, "gallery_desc_num": None, "tuned_on": None, **ENSEMBLE}
    results = {
        "dataset": "toy",
        "desc_name": "dinov2",
        "model": "ames",
        "global": {name: plain(value) for name, value in before.metrics.items()},
        "rows": [
            {"num_rerank": n, "metrics": {k: plain(v) for k, v in one.metrics.items()}, **settings}
            for n, one in zip(num_reranks, found, strict=True)
        ],
        "per_query": [
            {"name": name, "global_ap": plain(a), "ap": plain(b)}
            for name, a, b in zip(truth.query_names, before.main_ap, found[0].main_ap, strict=True)
        ],
        "versions": {"ames_lite": "0"},
    }
    ranking = rerank_setting(lists, scores, setting, cells[0])
    return Toy(results, neighbors, ranking, truth, lists, scores)


@pytest.fixture(params=[(True, 15), (True, 40), (False, 15)], ids=["graded", "all", "ungraded"])
def toy(request: pytest.FixtureRequest) -> Toy:
    graded, num_rerank = request.param  # 40 reaches the junk at the end of the list
    return evaluate(make_neighbors(3), make_truth(3, graded=graded), make_scores(3), (num_rerank,))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Every image of a toy, each of its own colour."""
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(5)
    names = [f"q{q}.jpg" for q in range(6)] + [f"g{n}.jpg" for n in range(40)]
    for name in names:
        picture = np.full((30, 40, 3), rng.integers(0, 255, 3), np.uint8)
        save_jpeg(folder / name, picture, quality=90)
    return folder


def shown_in(page: Page, toy: Toy) -> list[tuple[int, list[dict[str, Any]], list[dict[str, Any]]]]:
    """(query, global list, reranked list) of each view."""
    rows = [toy.truth.query_names.index(view["name"]) for view in page.views]
    return [(q, *view["lists"]) for q, view in zip(rows, page.views, strict=True)]


def junk_of(toy: Toy, q: int) -> set[int]:
    return {int(row) for row in toy.truth.junk[q]}


def test_picked_queries_are_evenly_spaced_from_the_best_gain_to_the_worst_loss() -> None:
    gains = np.random.default_rng(0).permutation(101) / 200 - 0.25
    picked = pick_queries(gains, 5)
    assert [round(float(gains[row]) * 200 + 50) for row in picked] == [100, 75, 50, 25, 0]


@pytest.mark.parametrize("count", [1, 2, 3, 7, 12, 13, 40])
def test_picked_queries_are_distinct_and_as_many_as_asked_for(count: int) -> None:
    gains = np.random.default_rng(1).integers(-3, 4, 13) / 8
    picked = pick_queries(gains, count)
    assert len(set(picked)) == len(picked) == min(count, 13)
    assert (np.diff(gains[picked]) <= 0).all()


def test_equal_gains_stand_by_row_and_undefined_queries_are_left_out() -> None:
    gains = np.array([0.0, nan, 0.25, nan, -0.25, 0.0])
    assert pick_queries(gains, 10) == [2, 0, 5, 4]
    assert pick_queries(gains, 2) == [2, 4]
    assert pick_queries(np.array([nan, nan]), 3) == []


def test_a_single_query_is_neither_the_best_nor_the_worst() -> None:
    assert pick_queries(np.array([0.5, -0.5, 0.1]), 1) == [2]


def test_a_count_below_one_is_refused(tmp_path: Path) -> None:
    toy = evaluate(make_neighbors(3), make_truth(3), make_scores(3), (5,))
    with pytest.raises(BadInput, match="at least 1"):
        toy.write(tmp_path / "report.html", tmp_path, queries=0)
    assert list(tmp_path.iterdir()) == []


def test_the_global_list_is_the_neighbours_and_its_junk_has_no_rank(
    toy: Toy, tmp_path: Path
) -> None:
    page, seen = toy.write(tmp_path / "report.html", tmp_path, images=12), 0
    assert len(page.views) == (5 if toy.truth.graded else 4)
    for q, row, _ in shown_in(page, toy):
        junk = junk_of(toy, q)
        ids = toy.neighbors.ids[q].tolist()
        places = [place for place, i in enumerate(ids) if i not in junk][:12]
        assert len(row) > places[-1]  # and the junk that follows
        assert [tile["name"] for tile in row] == [
            toy.truth.gallery_names[i] for i in ids[: len(row)]
        ]
        rank = 0
        for place, tile in enumerate(row):
            is_junk = ids[place] in junk
            rank += not is_junk
            seen += is_junk
            assert tile["rank"] == (None if is_junk else rank)
            assert (tile["tag"] == "junk") == is_junk
            assert tile["said"] == f"sim {toy.neighbors.sims[q, place]:.3f}"
            assert tile["before"] is None
        assert rank == 12
    assert seen or not any(len(rows) for rows in toy.truth.junk)


def test_the_reranked_list_tells_rank_score_and_rank_before(toy: Toy, tmp_path: Path) -> None:
    page = toy.write(tmp_path / "report.html", tmp_path, images=18)
    num_rerank = toy.results["rows"][0]["num_rerank"]
    for q, _, row in shown_in(page, toy):
        junk = junk_of(toy, q)
        before = [int(i) for i in toy.neighbors.ids[q] if int(i) not in junk]
        places = [p for p, i in enumerate(toy.reranked.ids[q]) if int(i) not in junk][:18]
        ranked = [tile for tile in row if tile["tag"] != "junk"]
        assert len(ranked) == 18 and all(
            tile["before"] is None for tile in row if tile not in ranked
        )
        for rank, (tile, place) in enumerate(zip(ranked, places, strict=True), 1):
            i, score = int(toy.reranked.ids[q, place]), toy.reranked.sims[q, place]
            kind = "score" if place < num_rerank else "sim"
            assert tile["name"] == toy.truth.gallery_names[i]
            assert (tile["rank"], tile["before"]) == (rank, before.index(i) + 1)
            assert tile["said"] == f"{kind} {score:.3f}"


@pytest.mark.parametrize("listed", [40, 10])
def test_a_picked_query_that_failed_is_shown_with_its_best_right_image(
    listed: int, tmp_path: Path
) -> None:
    truth, seen = make_truth(3), set()
    toy = evaluate(make_neighbors(3).first(listed), truth, make_scores(3), (8,))
    page = toy.write(tmp_path / "report.html", tmp_path, images=2, picked={"worst": range(2, 6)})
    for q, view in zip(range(2, 6), page.views, strict=True):
        junk, right = junk_of(toy, q), {*truth.easy[q].tolist(), *truth.hard[q].tolist()}
        orders = [
            [i for i in one.ids[q].tolist() if i not in junk]
            for one in (toy.neighbors, toy.reranked)
        ]
        best = next((i for i in orders[1] if i in right), None)
        ranks = [None if best is None else order.index(best) + 1 for order in orders]
        assert view["marks"][-1] == "worst" and ("failed" in view["marks"]) == (ranks[1] != 1)
        seen.add(ranks[1])
        if ranks[1] == 1:
            assert len(view["lists"]) == 2
            continue
        (tile,) = view["lists"][2]
        shown = min(truth.easy[q]) if best is None else best
        assert (tile["rank"], tile["before"]) == (ranks[1], ranks[0])
        assert best is None or tile["name"] == truth.gallery_names[shown]
        assert truth.gallery_names.index(tile["name"]) in right
        assert (tile["said"] == "not listed") == (best is None)
    assert seen > {1} if listed == 40 else None in seen


def test_tags_and_marks_equal_the_ground_truth(toy: Toy, tmp_path: Path) -> None:
    page, seen = toy.write(tmp_path / "report.html", tmp_path), set()
    for (q, *rows), view in zip(shown_in(page, toy), page.views, strict=True):
        for tile in [*rows[0], *rows[1]]:
            i = toy.truth.gallery_names.index(tile["name"])
            easy = i in set(toy.truth.easy[q].tolist())
            wanted = "hard" if i in set(toy.truth.hard[q].tolist()) else "wrong"
            wanted = ("easy" if toy.truth.graded else "right") if easy else wanted
            assert tile["tag"] == ("junk" if i in junk_of(toy, q) else wanted)
            seen.add(wanted)
        before, after = view["aps"]
        change = "helped" if after > before else "harmed" if after < before else "unchanged"
        failed = ["failed"] if rows[1][0]["tag"] == "wrong" else []
        assert view["marks"] == [change, *failed]
    assert seen == ({"easy", "hard", "wrong"} if toy.truth.graded else {"right", "wrong"})


def test_every_row_of_the_grid_and_every_comparison_stands_in_the_table(tmp_path: Path) -> None:
    toy = evaluate(make_neighbors(3), make_truth(3), make_scores(3), (15, 5))
    floors = [("by chance", {"map": 0.0123, "map_easy": nan})]
    page = toy.write(tmp_path / "report.html", tmp_path, comparisons=floors)
    names = sorted(toy.results["global"], key=lambda name: name != "map")  # ungrouped ones first
    lines = {tuple(line[:2]): line[4:] for line in page.table[2:]}
    assert list(lines) == [
        ("global", "–"),
        ("by chance", "–"),
        ("reranked", "15"),
        ("reranked", "5"),
    ]
    before, first, second = toy.results["global"], *(r["metrics"] for r in toy.results["rows"])
    assert lines["global", "–"] == [f"{before[name]:.4f}" for name in names]
    assert lines["by chance", "–"] == ["0.0123"] + ["–"] * (len(names) - 1)
    gains = [f"{first[name]:.4f}{first[name] - before[name]:+.4f}" for name in names]
    assert lines["reranked", "15"] == gains
    assert lines["reranked", "5"] == [f"{second[name]:.4f}" for name in names]


def test_the_page_says_what_was_evaluated_and_how_queries_were_chosen(
    toy: Toy, tmp_path: Path
) -> None:
    page = toy.write(tmp_path / "report.html", tmp_path, queries=2)
    said = ("toy: reranked with ames", "dinov2", "ames", "60 / all", "0.25", "0.5", "as given")
    for words in (*said, "mean over queries of"):
        assert words in page.text
    defined = [query for query in toy.results["per_query"] if query["ap"] is not None]
    assert f"2 of the {len(defined)} queries that have an AP , evenly spaced" in page.text.replace(
        "AP,", "AP ,"
    )
    assert f"{6 - len(defined)} have no AP" in page.text
    gains = [query["ap"] - query["global_ap"] for query in defined]
    assert f"{sum(g > 0 for g in gains)} gained" in page.text
    assert f"{sum(g < 0 for g in gains)} lost" in page.text
    best = max(defined, key=lambda query: query["ap"] - query["global_ap"])
    assert page.views[0]["aps"] == [best["global_ap"], best["ap"]]
    whole = toy.write(tmp_path / "report.html", tmp_path)
    assert "All queries that have an AP are shown" in whole.text


def test_cost_is_told_where_there_is_any(toy: Toy, tmp_path: Path) -> None:
    toy.results["cost"] = {"pairs": 90, "seconds_scoring": 3.25, "pairs_per_second": 27.7}
    page = toy.write(tmp_path / "report.html", tmp_path)
    assert "Scored90 pairs Scoring3.2 s Speed28 pairs/s" in page.text
    toy.results["cost"] = {"pairs": 0, "seconds_scoring": 0.0}  # of an earlier run
    assert "Scored" not in toy.write(tmp_path / "report.html", tmp_path).text


def test_older_results_without_versions_and_counts_have_a_page(toy: Toy, tmp_path: Path) -> None:
    del toy.results["versions"]
    for row in toy.results["rows"]:
        del row["query_desc_num"], row["gallery_desc_num"]
    page = toy.write(tmp_path / "report.html", tmp_path)
    assert "image– / –" in page.text and "footer" not in page.tags


def test_plots_are_those_that_the_run_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    single = evaluate(make_neighbors(3), make_truth(3), make_scores(3), (15,))
    several = evaluate(make_neighbors(3), make_truth(3), make_scores(3), (15, 5))
    for toy, count in ((single, 3), (several, 4)):
        page = toy.write(tmp_path / "report.html", tmp_path)
        drawn = [a for a in page.addresses if a.startswith("data:image/svg+xml;base64,")]
        assert len(drawn) == len(page.addresses) == count
        for address in drawn:
            assert b"<svg" in base64.b64decode(address.split(",")[1])


def test_pictures_are_in_the_page_and_each_is_encoded_once(
    toy: Toy, tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = []

    def counted(*arguments: Any) -> bytes:
        encoded.append(arguments)
        return jpeg_bytes(*arguments)

    monkeypatch.setattr(pages, "jpeg_bytes", counted)
    page = toy.write(tmp_path / "report.html", images)
    tiles = page.tiles()
    assert len(encoded) == len({tile["name"] for tile in tiles}) + len(page.views)
    assert "not found" not in page.text
    for tile in [*tiles, *page.views]:
        shown, original = page.image(tile["picture"]), load_image(images / tile["name"])
        assert np.abs(shown.mean((0, 1)) - original.mean((0, 1))).max() < 4


def test_nothing_is_loaded_from_outside_and_only_the_script_of_the_page_runs(
    toy: Toy, tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    page = toy.write(tmp_path / "report.html", images)
    assert page.addresses
    assert set(page.tags).isdisjoint({"link", "iframe", "object", "base", "form"})
    assert page.tags.count("script") == 2 and page.tags.count("style") == 1
    assert all(a.startswith("data:image/svg+xml;base64,") for a in page.addresses)
    assert "http://" not in page.source and "https://" not in page.source
    assert "@import" not in page.source and "url(" not in page.source
    assert " style=" not in page.source and " onclick" not in page.source
    for tag, text in re.findall(r"<(script|style)>(.*?)</", page.source, re.DOTALL):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in page.policy
    assert "default-src 'none'; img-src data:" in page.policy and "unsafe" not in page.policy


def test_missing_and_broken_images_leave_placeholders_and_are_counted(
    toy: Toy, tmp_path: Path, images: Path
) -> None:
    shown = sorted({tile["name"] for tile in toy.write(tmp_path / "whole.html", images).tiles()})
    gone, broken = shown[:3], shown[3]
    for name in gone:
        (images / name).unlink()
    (images / broken).write_bytes(b"not a picture")
    page = toy.write(tmp_path / "report.html", images)
    assert "image not found: 3; image not readable: 1" in page.text
    for tile in page.tiles():
        data, trouble = page.pictures[tile["picture"]]
        absent = tile["name"] in gone
        assert (trouble == "image not found") == absent
        assert (trouble == "image not readable") == (tile["name"] == broken)
        assert bool(data) == (not trouble)


def test_a_folder_that_does_not_exist_still_gives_a_page(toy: Toy, tmp_path: Path) -> None:
    page = toy.write(tmp_path / "new" / "report.html", tmp_path / "nowhere", views=TOUCHED)
    names = {tile["name"] for tile in page.tiles()}
    assert f"image not found: {len(names) + len(page.views)}" in page.text
    assert all(not view["pairs"] for view in page.views)  # nothing is explained that none can see


def _untouched(row: int) -> LocalDescriptors:
    raise AssertionError(f"row {row} was read")


TOUCHED = PairViews(MutualNearest(), _untouched, _untouched)


def test_names_cannot_break_out_of_the_page(tmp_path: Path) -> None:
    evil = "<script>alert('x')</script>&amp;\" onerror=\"x{{ 7 * 7 }}<!--<script>"
    truth = dataclasses.replace(
        make_truth(3),
        query_names=tuple(f"{evil}/q{q}.jpg" for q in range(6)),
        gallery_names=tuple(f"{evil}/g{n}.jpg" for n in range(40)),
    )
    toy = evaluate(make_neighbors(3), truth, make_scores(3), (15,))
    toy.results |= {"dataset": evil, "model": evil, "desc_name": evil}
    page = toy.write(tmp_path / "report.html", tmp_path, comparisons=[(evil, {"map": 0.5})])
    assert page.tags.count("script") == 2 and 'onerror="' not in page.source
    assert "<!--" not in page.source
    assert page.views[0]["name"] in truth.query_names
    assert {tile["name"] for tile in page.tiles()} <= set(truth.gallery_names)
    assert page.table[3][0] == evil


@pytest.mark.parametrize("name", ["تجربة صورة", "\udcff\udc80", "é" * 127, "line\u2028end", "a\nb"])
def test_odd_names_stay_what_they_are(name: str, tmp_path: Path) -> None:
    queries = tuple(f"{name}{q}" for q in range(6))
    truth = dataclasses.replace(make_truth(3), query_names=queries)
    toy = evaluate(make_neighbors(3), truth, make_scores(3), (15,))
    page = toy.write(tmp_path / "report.html", tmp_path)
    assert {view["name"] for view in page.views} <= set(queries)


def test_a_crop_box_is_outlined_and_odd_ones_do_no_harm(tmp_path: Path, images: Path) -> None:
    boxes = ((5, 5, 30, 20), None, (20, 20, 5, 5), (500, 0, 600, 9), (0, 0, inf, 5), (nan, 0, 1, 1))
    truth = dataclasses.replace(make_truth(3), bbox=boxes)
    toy = evaluate(make_neighbors(3), truth, make_scores(3), (15,))
    page = toy.write(tmp_path / "report.html", images)
    said = {view["name"]: view["said"] for view in page.views}
    assert said["q0.jpg"] == "crop box 5, 5, 30, 20"
    assert "outline on a query is the crop box" in page.text


@pytest.mark.parametrize("shape", [(30, 40), (1, 1), (1, 900), (900, 2), (300, 200)])
@pytest.mark.parametrize(
    "box",
    [
        (-50, -50, 9999, 9999),
        (10, 10, 5, 5),
        (nan, 0, 1, 1),
        (0, 0, inf, 5),
        (199.5, 299.5, 200, 300),
        (500, 500, 600, 600),
        (0.2, 0.2, 0.3, 0.3),
        (-1e300, 0, 1e300, 4),
    ],
)
def test_a_thumbnail_never_fails_for_its_box(
    shape: tuple[int, int], box: tuple[float, float, float, float]
) -> None:
    image = np.full((*shape, 3), 90, np.uint8)
    shrink = min(1.0, 160 / max(shape))
    assert thumbnail(image, 160, box).shape[:2] == tuple(
        max(1, round(side * shrink)) for side in shape
    )


def test_a_thumbnail_outlines_its_box_and_nothing_else() -> None:
    image = np.full((320, 640, 3), 90, np.uint8)
    small = thumbnail(image, 160, (160, 80, 480, 240))  # a quarter: 40, 20 to 120, 60
    changed = np.abs(small.astype(int) - 90).max(axis=2) > 40
    rows, columns = np.nonzero(changed)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (20, 60, 40, 120)
    assert not changed[30:50, 50:110].any()


def test_a_page_replaces_the_one_before_it_and_leaves_nothing_else(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")
    toy.write(path, tmp_path)
    written = path.read_text("utf-8")
    assert written.startswith("<!doctype html>") and list(tmp_path.iterdir()) == [path]

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(BadInput, match="No space left"):
        toy.write(path, tmp_path)
    assert path.read_text("utf-8") == written and list(tmp_path.iterdir()) == [path]


def test_a_set_in_which_no_query_counts_gives_a_page_all_the_same(tmp_path: Path) -> None:
    none = (np.zeros(0, np.int64),) * 6
    truth = dataclasses.replace(make_truth(3), easy=none, hard=none)
    toy = evaluate(make_neighbors(3), truth, make_scores(3), (15,))
    page = toy.write(tmp_path / "report.html", tmp_path)
    assert page.views == [] and "No query has an AP" in page.text
    assert page.table[2][4:] == ["–"] * len(toy.results["global"])
