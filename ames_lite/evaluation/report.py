"""The report page of an evaluation: what reranking did to some queries, as one HTML file; and which
queries a page of failures shows. Junk has no rank, and moves to the end; an image that is not on
disk leaves a placeholder.
"""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ames_lite.errors import require
from ames_lite.evaluation import page
from ames_lite.evaluation.figures import svg_bytes
from ames_lite.evaluation.metrics import Floats, Hits, Ids, best_ranks
from ames_lite.evaluation.page import PagePictures, Queries, QueryView, Tile, say_box, say_score
from ames_lite.evaluation.pair_view import NOTE, Pair, PairView, PairViews
from ames_lite.evaluation.passes import Cell, rerank_setting
from ames_lite.evaluation.plots import plots_of
from ames_lite.evaluation.protocols import Retrieval, footnotes, setting_junk, setting_positives
from ames_lite.evaluation.results_file import Rankings, say_without_descriptors
from ames_lite.records import GroundTruth, Neighbors

Metrics = Mapping[str, float | None]
PICKED = ("given", "frozen")  # roles of rows that were not chosen on what they are reported on
BEST = "Best right image, where another is first"
PLOTS = {
    "scores": "Scores of right and wrong candidates",
    "precision_recall": "Precision against recall",
    "recall": "Recall at k",
    "num_rerank": "The main metric against the number of reranked candidates",
    "ensemble": "The main metric of each λ and γ",
}


@dataclass(frozen=True)
class Shown:
    """How much a report shows: queries, images of a list, first reranked `pairs` with matches."""

    queries: int = 100
    images: int = 20
    pairs: int = 5


def pick_queries(gains: Floats, count: int) -> list[int]:
    """Rows of `count` queries, from best gain [Q] to worst loss: evenly over those sorted by gain,
    both ends included; a single one is the median. Without those of nan. BadInput for count below
    1.
    """
    require(count >= 1, f"{count} queries are to be shown", "at least 1")
    order = np.argsort(-gains, kind="stable")
    rows = order[~np.isnan(gains[order])].tolist()
    if len(rows) <= count:
        return rows
    last = len(rows) - 1
    places = [last // 2] if count == 1 else [i * last // (count - 1) for i in range(count)]
    return [rows[place] for place in places]


def write_report(
    path: str | Path,
    found: Rankings,
    image_root: str | Path,
    shown: Shown,
    views: PairViews | None = None,
    *,
    comparisons: Sequence[tuple[str, Metrics]] = (),
    row: int = 0,
    setting: str | None = None,
    picked: Mapping[str, Sequence[int]] | None = None,
    check: Callable[[PagePictures], None] | None = None,
) -> Path:
    """Write the page to `path`, in place of one that is there, and return the path.

    views: explains pairs; None: no pair is explained. comparisons: further lines (name, metrics)
    for the table of metrics. row: of the results; setting: of a graded set, None: medium, and the
    AP is the mean of medium and hard. picked: rows of queries by what they are, each shown with its
    best right image; None: those of `pick_queries`. check: of the pictures, before the page is
    written. Raises BadInput as `Rankings.row`.
    """
    results, truth, first = found.results, found.ground_truth, found.results["rows"][row]
    both, reranks = found.row(row), first["num_rerank"] > 0
    before, after = (one.main_ap if setting is None else one.ap[setting] for one in both)
    gains = after - before
    marks = {q: word for word, rows in (picked or {}).items() for q in rows}
    chosen = list(marks) if marks else pick_queries(gains, shown.queries)
    setting, cell = setting or found.protocol.main_settings[0], Cell.of(first)
    lists, junk = [found.neighbors], setting_junk(truth, setting)
    lists += [rerank_setting(found, found.scores, setting, cell)] if reranks else []
    n, root = len(chosen), Path(image_root)
    sides = page.pixels("tile", 2 * n * shown.images), page.pixels("pair", n * (shown.pairs + 1))
    right = setting_positives(truth, setting)
    drawing = _Drawing(truth, right, junk, lists, cell.num_rerank, root, shown.images, *sides)
    pairs = [pair for q in chosen for pair in drawing.pairs(q, shown.pairs)]
    explained = {} if views is None else views.of(pairs)
    aps = np.stack([before, after][: len(lists)], axis=1).tolist()
    queries = [drawing.query(q, aps[q], explained.get(q, {}), marks.get(q)) for q in chosen]
    if check is not None:
        check(drawing.pictures)
    content = {
        "title": f"{results['dataset']}: "
        + (f"reranked with {results['model']}" if reranks else "global ranking"),
        "reranks": reranks,
        "results": results,
        "row": first,
        "setting": setting,
        "picked": {word: len(rows) for word, rows in (picked or {}).items()},
        "graded": truth.graded,
        "ap_at": found.protocol.ap_at,
        "groups": _metric_groups(list(first["metrics"])),
        "lines": [
            ("global", {}, results["global"]),
            *((name, {}, metrics) for name, metrics in comparisons),
            *(("reranked", one, one["metrics"]) for one in results["rows"] if reranks),
        ],
        "shown": shown,
        "has_junk": any(len(rows) for rows in junk),
        "boxes": any(truth.bbox[q] is not None for q in chosen),
        "counts": _counts(gains),
        "cost": results.get("cost", {}),
        "definitions": footnotes(first["metrics"], results.get("counted")),
        "plots": [
            (PLOTS[kind], base64.b64encode(svg_bytes(draw())).decode("ascii"))
            for kind, draw in plots_of(found, row, setting, both).items()
        ],
        "without_descriptors": say_without_descriptors(results),
    }
    titles = ("Global ranking", *["Reranked"] * reranks, *[BEST] * bool(marks))
    data = Queries(queries, titles, NOTE if views is not None else "")
    text = page.render_page("report.html.j2", page.HERE, content, data, drawing.pictures)
    return page.write_page(path, text)


@dataclass(frozen=True)
class _Drawing:
    """Turns rankings into views."""

    truth: GroundTruth
    right: Sequence[Ids]  # of each query, in the setting
    junk: Sequence[Ids]
    lists: Sequence[Neighbors]  # global, and reranked
    num_rerank: int
    root: Path
    images: int  # of a list
    tile: int  # pixels
    pair: int
    pictures: PagePictures = field(default_factory=PagePictures)

    def pairs(self, q: int, count: int) -> list[Pair]:
        """The first of the last list, as far as both images are there."""
        if not (self.root / self.truth.query_names[q]).is_file():
            return []
        ids = self.lists[-1].ids[q]
        first = ids[~np.isin(ids, self.junk[q])][:count].tolist()
        there = [row for row in first if self._path(row).is_file()]
        return [Pair(q, row, self.truth.bbox[q]) for row in there]

    def query(
        self, q: int, aps: Sequence[float], explained: Mapping[int, PairView], mark: str | None
    ) -> QueryView:
        name, box = self.truth.query_names[q], self.truth.bbox[q]
        picture = self.pictures.number(self.root / name, self.pair, box)
        numbers = range(len(self.lists))
        ranks = [self._ranks(q, number) for number in numbers]
        lists = [self._list(q, number, ranks) for number in numbers]
        pictures = (self.pictures.number(self._path(row), self.pair) for row in explained)
        pairs = dict(zip(pictures, explained.values(), strict=True))
        marks = [_change(aps[1] - aps[0])] if len(aps) > 1 else []
        if not any(tile.rank == 1 and tile.tag != "wrong" for tile in lists[-1]):
            marks.append("failed")
            lists += [] if mark is None else [self._best(q, ranks)]
        marks += [] if mark is None else [mark]
        return QueryView(name, picture, "".join(say_box(box)), aps, marks, lists, pairs)

    def _path(self, row: int) -> Path:
        return self.root / self.truth.gallery_names[row]

    def _ranks(self, q: int, number: int) -> Ids:
        """Of the images of the global ranking (0) or the reranked one (1); 0: junk."""
        counted = ~np.isin(self.lists[number].ids[q], self.junk[q])
        return np.where(counted, np.cumsum(counted), 0)

    def _list(self, q: int, number: int, ranks: Sequence[Ids]) -> list[Tile]:
        """The first images of a list, with the junk between them. ranks: in both lists."""
        reached = np.flatnonzero(np.maximum.accumulate(ranks[number]) <= self.images)
        places = reached[: 2 * self.images].tolist()
        return [self._tile(q, number, place, ranks) for place in places]

    def _best(self, q: int, ranks: Sequence[Ids]) -> list[Tile]:
        """The right image that stands first in the last list, or one that is not listed."""
        last = len(self.lists) - 1
        listed = np.flatnonzero(np.isin(self.lists[last].ids[q], self.right[q]))
        if len(listed):
            return [self._tile(q, last, int(listed[0]), ranks)]
        return [self._named(q, row, None, None, "not listed") for row in self.right[q][:1].tolist()]

    def _tile(self, q: int, number: int, place: int, ranks: Sequence[Ids]) -> Tile:
        found, rank = self.lists[number], int(ranks[number][place]) or None
        row, before = int(found.ids[q, place]), None
        if number and rank is not None:
            before = int(ranks[0][self.lists[0].ids[q] == row][0])
        kind = "score" if place < (0, self.num_rerank)[number] else "sim"
        return self._named(q, row, rank, before, f"{kind} {say_score(float(found.sims[q, place]))}")

    def _named(self, q: int, row: int, rank: int | None, before: int | None, said: str) -> Tile:
        tag = "junk" if row in self.junk[q] else _tag(self.truth, q, row)
        number = self.pictures.number(self._path(row), self.tile)
        return Tile(self.truth.gallery_names[row], number, rank, before, tag, said)


def _change(gain: float) -> str:
    return "helped" if gain > 0 else "harmed" if gain < 0 else "unchanged"


def _tag(truth: GroundTruth, q: int, row: int) -> str:
    if row in truth.easy[q]:
        return "easy" if truth.graded else "right"
    return "hard" if row in truth.hard[q] else "wrong"


def _metric_groups(names: Sequence[str]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Metrics by the setting they end with, as (setting, [(name, short name)]).

    >>> _metric_groups(["map_easy", "mp@1_easy", "map"])
    [('', [('map', 'map')]), ('easy', [('map_easy', 'map'), ('mp@1_easy', 'mp@1')])]
    """
    groups: dict[str, list[tuple[str, str]]] = {"": []}
    for name in names:
        short, _, setting = name.partition("_")
        groups.setdefault(setting, []).append((name, short))
    return [(setting, metrics) for setting, metrics in groups.items() if metrics]


def _counts(gains: Floats) -> dict[str, int]:
    signs = {"better": gains > 0, "worse": gains < 0, "same": gains == 0}
    counted = {word: int(rows.sum()) for word, rows in signs.items()}
    return {"queries": len(gains), "undefined": int(np.isnan(gains).sum()), **counted}


def pick_row(rows: Sequence[Mapping[str, Any]], metric: str) -> int:
    """The place of the best row by `metric`, the first of equals, given or frozen ones before a
    grid's. Raises BadInput where none has it.
    """
    having = [i for i, row in enumerate(rows) if row["metrics"].get(metric) is not None]
    known = ", ".join(rows[0]["metrics"])
    require(having, f"no row has the metric {metric}", f"one of {known}")
    picked = [i for i in having if rows[i].get("role") in PICKED] or having
    return max(picked, key=lambda i: (rows[i]["metrics"][metric], -i))


def best_and_worst(
    before: Floats, after: Floats, ap_before: Floats, ap_after: Floats, count: int
) -> tuple[list[int], list[int]]:
    """Up to `count` successes (a correct image first), by how far it rose, then AP gained, and of
    the others the worst, but for queries with all that is right in front. before, after:
    `best_ranks`.
    """
    rows = np.flatnonzero(~np.isnan(after)).tolist()
    first = [q for q in rows if after[q] == 1]
    won = sorted(first, key=lambda q: (-before[q], ap_before[q] - ap_after[q], q))[:count]
    lost = (q for q in rows if q not in set(won) and not (after[q] == 1 and ap_after[q] > 1 - 1e-9))
    return won, sorted(lost, key=lambda q: (-after[q], ap_after[q], q))[:count]


def nearest_and_furthest(
    found: Retrieval, hits: Hits, setting: str, count: int
) -> tuple[list[int], list[int]]:
    """Of a global ranking up to `count` successes, nearest first, and up to `count` others, the
    worst by the distance to their best correct image, one that is not listed first of all.
    """
    ranks = best_ranks(hits)
    right = setting_positives(found.ground_truth, setting)
    listed = zip(found.neighbors.ids, found.neighbors.sims, right, strict=True)
    sims = [float(row[np.isin(ids, ok)].max(initial=-np.inf)) for ids, row, ok in listed]
    rows = np.flatnonzero(~np.isnan(ranks)).tolist()
    won = sorted((q for q in rows if ranks[q] == 1), key=lambda q: (-sims[q], q))
    lost = sorted((q for q in rows if ranks[q] > 1), key=lambda q: (sims[q], q))
    return won[:count], lost[:count]
