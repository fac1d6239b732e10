"""The report page: what it shows is what the lists and the ground truth say, whatever is missing.

The referee reads the page as a browser would (html.parser) and walks the lists one image at a time.
"""

from __future__ import annotations

import base64
import dataclasses
import io
import math
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ames_lite.errors import BadInput
from ames_lite.evaluation import pictures, report
from ames_lite.evaluation.passes import Cell, rerank_setting
from ames_lite.evaluation.protocols import Retrieval
from ames_lite.evaluation.report import pick_queries, write_report
from ames_lite.io.images import jpeg_bytes, load_image, save_jpeg, thumbnail
from ames_lite.records import GroundTruth, Neighbors, PairScores
from tests.evaluation.toy import evaluate_reranked, judged, make_neighbors, make_scores, make_truth

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

    def write(self, path: Path, images: Path, **options: Any) -> Page:
        arguments = (self.results, self.lists, self.scores, images)
        return Page(write_report(path, *arguments, **options).read_text("utf-8"))


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


class Page(HTMLParser):
    """What a reader of the page sees: per section the tiles of its lists, and all text."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.source, self.text, self.tags = source, "", set[str]()
        self.sections: list[dict[str, Any]] = []
        self.table: list[list[str]] = []
        self.addresses: list[str] = []
        self._cell = self._tile = False
        self.feed(source)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {key: value or "" for key, value in attrs}
        self.tags.add(tag)
        self.addresses += [values[key] for key in ("src", "href") if key in values]
        classes = values.get("class", "").split()
        if tag == "section":
            self.sections.append({"lists": [], "asked": None})
        elif "asked" in classes:
            self.sections[-1]["asked"] = values["title"]
        elif "strip" in classes:
            self.sections[-1]["lists"].append([])
        elif "tile" in classes:
            tile = {"name": values["title"], "tag": classes[1], "text": "", "alt": "", "src": ""}
            self.sections[-1]["lists"][-1].append(tile)
            self._tile = True
        elif tag == "img" and self._tile:
            self.sections[-1]["lists"][-1][-1].update(src=values["src"], alt=values["alt"])
        elif tag == "tr":
            self.table.append([])
        self._cell = tag in ("th", "td") or (self._cell and tag == "small")
        if tag in ("th", "td"):
            self.table[-1].append("")

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._cell:
            self.table[-1][-1] += data
        if self._tile:
            self.sections[-1]["lists"][-1][-1]["text"] += data

    def handle_endtag(self, tag: str) -> None:
        self._cell = self._cell and tag not in ("th", "td", "small")
        self._tile = self._tile and tag != "li"

    def shown(self, toy: Toy) -> list[tuple[int, list[dict[str, str]], list[dict[str, str]]]]:
        """(query, global row, reranked row) of each section."""
        rows = [toy.truth.query_names.index(section["asked"]) for section in self.sections]
        return [(q, *s["lists"]) for q, s in zip(rows, self.sections, strict=True)]


def words(tile: dict[str, str]) -> list[str]:
    return tile["text"].split()


def junk_of(toy: Toy, q: int) -> set[int]:
    return {int(row) for row in toy.truth.junk[q]}


def per_query(*gains: float | None) -> list[dict[str, Any]]:
    return [
        {"name": f"{row}", "global_ap": 0.5, "ap": None if gain is None else 0.5 + gain}
        for row, gain in enumerate(gains)
    ]


def test_picked_queries_are_evenly_spaced_from_the_best_gain_to_the_worst_loss() -> None:
    gains = np.random.default_rng(0).permutation(101) / 200 - 0.25
    picked = pick_queries(per_query(*gains), 5)
    assert [round(float(gains[row]) * 200 + 50) for row in picked] == [100, 75, 50, 25, 0]


@pytest.mark.parametrize("count", [1, 2, 3, 7, 12, 13, 40])
def test_picked_queries_are_distinct_and_as_many_as_asked_for(count: int) -> None:
    rows = per_query(*(np.random.default_rng(1).integers(-3, 4, 13) / 8))
    picked = pick_queries(rows, count)
    gains = [rows[row]["ap"] for row in picked]
    assert len(set(picked)) == len(picked) == min(count, 13)
    assert gains == sorted(gains, reverse=True)


def test_equal_gains_stand_by_row_and_undefined_queries_are_left_out() -> None:
    rows = per_query(0.0, None, 0.25, 0.0, -0.25, 0.0)
    rows[3]["global_ap"] = None
    assert pick_queries(rows, 10) == [2, 0, 5, 4]
    assert pick_queries(rows, 2) == [2, 4]
    assert pick_queries(per_query(None, None), 3) == []


def test_a_single_query_is_neither_the_best_nor_the_worst() -> None:
    assert pick_queries(per_query(0.5, -0.5, 0.1), 1) == [2]


def test_a_count_below_one_is_refused(tmp_path: Path) -> None:
    toy = evaluate(make_neighbors(3), make_truth(3), make_scores(3), (5,))
    with pytest.raises(BadInput, match="at least 1"):
        toy.write(tmp_path / "report.html", tmp_path, num_queries=0)
    assert list(tmp_path.iterdir()) == []


def test_the_global_row_is_the_first_neighbours_that_are_not_junk(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "NUM_SHOWN", 12)
    page = toy.write(tmp_path / "report.html", tmp_path)
    assert len(page.sections) == (5 if toy.truth.graded else 4)
    for q, row, _ in page.shown(toy):
        pairs = zip(toy.neighbors.ids[q], toy.neighbors.sims[q], strict=True)
        kept = [(int(i), sim) for i, sim in pairs if int(i) not in junk_of(toy, q)][:12]
        assert [tile["name"] for tile in row] == [toy.truth.gallery_names[i] for i, _ in kept]
        for rank, (tile, (_, sim)) in enumerate(zip(row, kept, strict=True), 1):
            assert words(tile)[-5] == str(rank)  # rank, mark, tag, "sim", similarity
            assert f"sim {sim:.3f}" in tile["text"] and "was" not in tile["text"]


def test_the_reranked_row_tells_rank_score_and_rank_before(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "NUM_SHOWN", 18)
    page = toy.write(tmp_path / "report.html", tmp_path)
    num_rerank = toy.results["rows"][0]["num_rerank"]
    for q, _, row in page.shown(toy):
        junk = junk_of(toy, q)
        before = [int(i) for i in toy.neighbors.ids[q] if int(i) not in junk]
        places = [p for p, i in enumerate(toy.reranked.ids[q]) if int(i) not in junk][:18]
        assert len(row) == 18
        for rank, (tile, place) in enumerate(zip(row, places, strict=True), 1):
            i, score = int(toy.reranked.ids[q, place]), toy.reranked.sims[q, place]
            kind = "score" if place < num_rerank else "sim"
            assert tile["name"] == toy.truth.gallery_names[i]
            was = before.index(i) + 1
            arrow = ["↑"] if was > rank else ["↓"] if was < rank else []
            told = [*arrow, "was", str(was), kind, f"{score:.3f}"]
            assert words(tile)[-3 - len(told)] == str(rank)  # then the mark and the tag
            assert words(tile)[-len(told) :] == told


def test_tags_in_text_and_class_equal_the_ground_truth(toy: Toy, tmp_path: Path) -> None:
    page, seen = toy.write(tmp_path / "report.html", tmp_path), set()
    for q, *rows in page.shown(toy):
        for tile in [*rows[0], *rows[1]]:
            i = toy.truth.gallery_names.index(tile["name"])
            easy = i in set(toy.truth.easy[q].tolist())
            wanted = "hard" if i in set(toy.truth.hard[q].tolist()) else "wrong"
            wanted = ("easy" if toy.truth.graded else "right") if easy else wanted
            assert tile["tag"] == wanted and wanted in tile["text"].split()
            seen.add(wanted)
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
    page = toy.write(tmp_path / "report.html", tmp_path, num_queries=2)
    for words in (
        "toy: reranked with ames",
        "dinov2",
        "ames",
        "60 / all",
        "0.25",
        "0.5",
        "as given",
    ):
        assert words in page.text
    defined = [query for query in toy.results["per_query"] if query["ap"] is not None]
    assert f"2 of the {len(defined)} queries that have an AP, evenly spaced" in page.text
    assert f"{6 - len(defined)} have no AP" in page.text
    gains = [query["ap"] - query["global_ap"] for query in defined]
    assert f"{sum(g > 0 for g in gains)} gained" in page.text
    assert f"{sum(g < 0 for g in gains)} lost" in page.text
    q = pick_queries(toy.results["per_query"], 2)[0]
    query = toy.results["per_query"][q]
    assert f"AP {query['global_ap']:.3f} → {query['ap']:.3f}" in page.text


def test_pictures_are_in_the_page_and_each_is_encoded_once(
    toy: Toy, tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = []

    def counted(*arguments: Any) -> bytes:
        encoded.append(arguments)
        return jpeg_bytes(*arguments)

    monkeypatch.setattr(pictures, "jpeg_bytes", counted)
    page = toy.write(tmp_path / "report.html", images)
    tiles = [tile for _, *rows in page.shown(toy) for row in rows for tile in row]
    assert len(encoded) == len({tile["name"] for tile in tiles}) + len(page.sections)
    assert "not found" not in page.text
    for tile in tiles:
        head, data = tile["src"].split(",")
        assert head == "data:image/jpeg;base64" and tile["name"] in tile["alt"]
        shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
        assert np.abs(shown.mean((0, 1)) - load_image(images / tile["name"]).mean((0, 1))).max() < 4


def test_nothing_is_loaded_from_outside_and_no_script_runs(
    toy: Toy, tmp_path: Path, images: Path
) -> None:
    page = toy.write(tmp_path / "report.html", images)
    assert page.addresses and page.tags.isdisjoint({"script", "link", "iframe", "object"})
    assert all(a.startswith(("data:image/jpeg;base64,", "#query-")) for a in page.addresses)
    assert "http://" not in page.source and "https://" not in page.source
    assert "@import" not in page.source and "url(" not in page.source


def test_missing_and_broken_images_leave_placeholders_and_are_counted(
    toy: Toy, tmp_path: Path, images: Path
) -> None:
    whole = toy.write(tmp_path / "whole.html", images)
    shown = {tile["name"] for _, *rows in whole.shown(toy) for row in rows for tile in row}
    gone, broken = sorted(shown)[:3], sorted(shown)[3]
    for name in gone:
        (images / name).unlink()
    (images / broken).write_bytes(b"not a picture")
    page = toy.write(tmp_path / "report.html", images)
    assert "3 of the images shown were not found" in page.text
    assert "1 of the images shown could not be read" in page.text
    for _, *rows in page.shown(toy):
        for tile in [*rows[0], *rows[1]]:
            absent = tile["name"] in gone
            assert ("image not found " + tile["name"] in tile["text"]) == absent
            assert ("image not readable" in tile["text"]) == (tile["name"] == broken)
            assert bool(tile["src"]) == (not absent and tile["name"] != broken)


def test_a_folder_that_does_not_exist_still_gives_a_page(toy: Toy, tmp_path: Path) -> None:
    page = toy.write(tmp_path / "new" / "report.html", tmp_path / "nowhere")
    names = {tile["name"] for _, *rows in page.shown(toy) for row in rows for tile in row}
    assert f"{len(names) + len(page.sections)} of the images shown were not found" in page.text
    assert "img" not in page.tags


def test_names_cannot_break_out_of_the_page(tmp_path: Path) -> None:
    truth = make_truth(3)
    evil = "<script>alert('x')</script>&amp;\" onerror=\"x{{ 7 * 7 }}"
    truth = dataclasses.replace(
        truth,
        query_names=tuple(f"{evil}/q{q}.jpg" for q in range(6)),
        gallery_names=tuple(f"{evil}/g{n}.jpg" for n in range(40)),
    )
    toy = evaluate(make_neighbors(3), truth, make_scores(3), (15,))
    toy.results |= {"dataset": evil, "model": evil, "desc_name": evil}
    page = toy.write(tmp_path / "report.html", tmp_path, comparisons=[(evil, {"map": 0.5})])
    assert "script" not in page.tags and 'onerror="' not in page.source
    assert page.sections[0]["asked"] in truth.query_names
    assert {tile["name"] for tile in page.sections[0]["lists"][0]} <= set(truth.gallery_names)
    assert page.table[3][0] == evil


def test_a_crop_box_is_outlined_and_odd_ones_do_no_harm(tmp_path: Path, images: Path) -> None:
    boxes = ((5, 5, 30, 20), None, (20, 20, 5, 5), (500, 0, 600, 9), (0, 0, inf, 5), (nan, 0, 1, 1))
    truth = dataclasses.replace(make_truth(3), bbox=boxes)
    toy = evaluate(make_neighbors(3), truth, make_scores(3), (15,))
    page = toy.write(tmp_path / "report.html", images)
    assert "crop box 5, 5, 30, 20" in page.text
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
    assert page.sections == [] and "No query has an AP" in page.text
    assert page.table[2][4:] == ["–"] * len(toy.results["global"])
