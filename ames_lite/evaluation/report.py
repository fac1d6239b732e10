"""The report page of an evaluation: what reranking did to some queries, as one HTML file.

Input: the results dict of `evaluator.report`, the global ranking, the ranking of the main pass
(medium where the ground truth is graded), the ground truth, the folder of the images. Output: a
page that holds its pictures itself and needs no script and no network. Junk takes no place in the
rows shown: rank 1 is the first image that the protocol counts, before and after. An image that is
not on disk leaves a placeholder, since a store may be evaluated without its images.

Axis letters: Q queries, K ranked images.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from ames_lite.errors import BadInput, MissingFile
from ames_lite.evaluation.protocols import check_fit, setting_junk
from ames_lite.evaluation.without_descriptors import say_without_descriptors
from ames_lite.io.images import Box, load_image, thumbnail_jpeg
from ames_lite.io.writing import replacing
from ames_lite.records import GroundTruth, Neighbors, Ranking

Places = npt.NDArray[np.intp]  # positions in a ranking
PerQuery = Sequence[Mapping[str, Any]]  # {"name", "global_ap", "ap"}, null where undefined
THUMBNAIL, QUERY_THUMBNAIL = 160, 240  # longer side, pixels
HERE = Path(__file__).parent
CURVE_POINTS = 400  # of the gain curve; more would only make the file larger


class Picture(NamedTuple):
    """An image as a data address, or what kept it from being one."""

    address: str
    trouble: str = ""


class Tile(NamedTuple):
    """One ranked image as the page shows it."""

    name: str
    picture: Picture
    rank: int  # from 1, without junk
    before: int | None  # its rank in the global ranking; None where this is that ranking
    tag: str  # easy, hard, right or wrong
    kind: str  # "score" where the image was reranked, else "sim"
    score: float


class Example(NamedTuple):
    """One query of the page."""

    name: str
    picture: Picture
    box: Box | None
    global_ap: float
    ap: float
    before: list[Tile]
    after: list[Tile]


class Line(NamedTuple):
    """One line of the table of metrics."""

    name: str
    setting: Mapping[str, Any]  # num_rerank, lamb, temp; empty where nothing was reranked
    metrics: Mapping[str, float | None]


@dataclass
class Album:
    """Thumbnails below `root`, each encoded once; remembers what could not be shown."""

    root: Path
    pictures: dict[tuple[str, int], Picture] = field(default_factory=dict)
    not_found: set[str] = field(default_factory=set)
    unreadable: set[str] = field(default_factory=set)

    def picture(self, name: str, longer_side: int, box: Box | None = None) -> Picture:
        key = (name, longer_side)
        if key not in self.pictures:
            self.pictures[key] = self._encode(name, longer_side, box)
        return self.pictures[key]

    def _encode(self, name: str, longer_side: int, box: Box | None) -> Picture:
        try:
            image = load_image(self.root / name)
        except MissingFile:
            self.not_found.add(name)
            return Picture("", "image not found")
        except BadInput:
            self.unreadable.add(name)
            return Picture("", "image not readable")
        encoded = base64.b64encode(thumbnail_jpeg(image, longer_side, box)).decode("ascii")
        return Picture(f"data:image/jpeg;base64,{encoded}")


def _by_gain(per_query: PerQuery) -> list[int]:
    """The queries that have an AP, best gain first, ties by row."""
    defined = [
        row
        for row, query in enumerate(per_query)
        if query["global_ap"] is not None and query["ap"] is not None
    ]
    return sorted(defined, key=lambda row: (-_gain(per_query[row]), row))


def _gain(query: Mapping[str, Any]) -> float:
    return float(query["ap"]) - float(query["global_ap"])


def pick_queries(per_query: PerQuery, count: int) -> list[int]:
    """Rows of `count` queries (or all, where there are fewer), from best gain to worst loss.

    Evenly spread over the queries sorted by gain (ap - global_ap, ties by row), both ends
    included; a single one is the median. Queries without an AP are left out. Raises BadInput
    where count is below 1.

    >>> gains = [0.1, -0.3, 0.0, 0.5, 0.2]
    >>> pick_queries([{"name": "", "global_ap": 0.4, "ap": 0.4 + g} for g in gains], 3)
    [3, 0, 1]
    """
    if count < 1:
        raise BadInput(f"{count} queries are to be shown", expected="at least 1")
    rows = _by_gain(per_query)
    if len(rows) <= count:
        return rows
    last = len(rows) - 1
    places = [last // 2] if count == 1 else [i * last // (count - 1) for i in range(count)]
    return [rows[place] for place in places]


def write_report(
    path: str | Path,
    results: Mapping[str, Any],
    neighbors: Neighbors,
    reranked: Ranking,
    ground_truth: GroundTruth,
    image_root: str | Path,
    *,
    num_queries: int = 12,
    num_shown: int = 10,
    title: str | None = None,
    comparisons: Sequence[tuple[str, Mapping[str, float | None]]] = (),
) -> Path:
    """Write the page to `path`, in place of one that is there, and return the path.

    results: the dict of `evaluator.report`; reranked [Q, K]: the output of `rerank_setting` for
    its first row ("medium" for graded sets, else "all"), a reordering of neighbors [Q, K].
    Names are relative to image_root. num_queries are shown (see `pick_queries`), of each list
    the first num_shown. comparisons: further lines (name, metrics) for the table of metrics.
    Raises BadInput, before any image is read, where these are not of the same queries and images.
    """
    if num_shown < 1:
        raise BadInput(f"{num_shown} images a list are to be shown", expected="at least 1")
    per_query, num_rerank = results["per_query"], results["rows"][0]["num_rerank"]
    picked = pick_queries(per_query, num_queries)
    _check(results, neighbors, reranked, ground_truth, picked)
    album = Album(Path(image_root))
    gather = _Gatherer(per_query, num_rerank, neighbors, reranked, ground_truth, num_shown, album)
    examples = [gather.example(q) for q in picked]
    page = template("report.html.j2").render(
        title=title or f"{results['dataset']}: reranked with {results['model']}",
        results=results,
        graded=ground_truth.graded,
        groups=_metric_groups(list(results["rows"][0]["metrics"])),
        lines=_lines(results, comparisons),
        examples=examples,
        num_shown=num_shown,
        counts=_counts(per_query),
        curve=_gain_curve(per_query, picked),
        without_descriptors=say_without_descriptors(results),
        not_found=len(album.not_found),
        unreadable=len(album.unreadable),
    )
    with replacing(path, overwrite=True) as partial:
        partial.write_text(page, encoding="utf-8")
    return Path(path)


def _check(
    results: Mapping[str, Any],
    neighbors: Neighbors,
    reranked: Ranking,
    ground_truth: GroundTruth,
    picked: Sequence[int],
) -> None:
    check_fit(neighbors, ground_truth)
    check_fit(reranked, ground_truth)
    names = tuple(query["name"] for query in results["per_query"])
    if names != ground_truth.query_names:
        raise BadInput(
            "the results and the ground truth have different queries",
            expected="results of this very evaluation",
        )
    for q in picked:
        if not np.array_equal(np.sort(neighbors.ids[q]), np.sort(reranked.ids[q])):
            raise BadInput(
                f"the reranked list of query '{names[q]}' has other images than its global list",
                expected="a reordering of the same images",
            )


def _without_junk(ids: npt.NDArray[np.integer], junk: npt.NDArray[np.int64]) -> Places:
    """The positions [K] of what is not junk in one list: rank r stands at position [r - 1]."""
    return np.flatnonzero(~np.isin(ids, junk))


@dataclass(frozen=True)
class _Gatherer:
    """Takes from the lists what the page shows of a query."""

    per_query: PerQuery
    num_rerank: int
    neighbors: Neighbors
    reranked: Ranking
    ground_truth: GroundTruth
    num_shown: int
    album: Album

    def example(self, q: int) -> Example:
        setting = "medium" if self.ground_truth.graded else "all"
        junk = setting_junk(self.ground_truth, setting)[q]
        before = _without_junk(self.neighbors.ids[q], junk)
        after = _without_junk(self.reranked.ids[q], junk)[: self.num_shown]
        query, box = self.per_query[q], self.ground_truth.bbox[q]
        return Example(
            name=query["name"],
            picture=self.album.picture(query["name"], QUERY_THUMBNAIL, box),
            box=box,
            global_ap=query["global_ap"],
            ap=query["ap"],
            before=self._global_tiles(q, before[: self.num_shown]),
            after=self._reranked_tiles(q, after, self.neighbors.ids[q, before]),
        )

    def _global_tiles(self, q: int, places: Places) -> list[Tile]:
        ids, sims = self.neighbors.ids[q, places], self.neighbors.sims[q, places]
        return [
            self._tile(q, int(row), rank, None, "sim", float(sim))
            for rank, (row, sim) in enumerate(zip(ids, sims, strict=True), 1)
        ]

    def _reranked_tiles(
        self, q: int, places: Places, ranked_before: npt.NDArray[np.integer]
    ) -> list[Tile]:
        tiles = []
        for rank, place in enumerate(places, 1):
            row = int(self.reranked.ids[q, place])
            before = int(np.flatnonzero(ranked_before == row)[0]) + 1
            kind = "score" if place < self.num_rerank else "sim"
            score = float(self.reranked.scores[q, place])
            tiles.append(self._tile(q, row, rank, before, kind, score))
        return tiles

    def _tile(
        self, q: int, row: int, rank: int, before: int | None, kind: str, score: float
    ) -> Tile:
        name = self.ground_truth.gallery_names[row]
        picture = self.album.picture(name, THUMBNAIL)
        return Tile(name, picture, rank, before, self._tag(q, row), kind, score)

    def _tag(self, q: int, row: int) -> str:
        if row in self.ground_truth.easy[q]:
            return "easy" if self.ground_truth.graded else "right"
        return "hard" if row in self.ground_truth.hard[q] else "wrong"


def _lines(
    results: Mapping[str, Any], comparisons: Sequence[tuple[str, Mapping[str, float | None]]]
) -> list[Line]:
    lines = [Line("global", {}, results["global"])]
    lines += [Line(name, {}, metrics) for name, metrics in comparisons]
    return lines + [Line("reranked", row, row["metrics"]) for row in results["rows"]]


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


def _counts(per_query: PerQuery) -> dict[str, int]:
    gains = [_gain(per_query[row]) for row in _by_gain(per_query)]
    better, worse = sum(gain > 0 for gain in gains), sum(gain < 0 for gain in gains)
    return {
        "queries": len(per_query),
        "better": better,
        "worse": worse,
        "same": len(gains) - better - worse,
        "undefined": len(per_query) - len(gains),
    }


def _gain_curve(per_query: PerQuery, picked: Sequence[int]) -> dict[str, Any] | None:
    """The sorted gains as a line in a box 1000 wide and 100 high, y down; marks in percent."""
    rows = _by_gain(per_query)
    if len(rows) < 2:
        return None
    gains = np.array([_gain(per_query[row]) for row in rows])
    top, bottom = max(gains[0], 0.0), min(gains[-1], 0.0)
    height = (top - bottom) or 1.0
    x, y = np.linspace(0, 1000, len(rows)), 100 * (top - gains) / height
    drawn = np.unique(np.linspace(0, len(rows) - 1, CURVE_POINTS).round().astype(np.int64))
    place = {row: at for at, row in enumerate(rows)}
    return {
        "best": gains[0],
        "worst": gains[-1],
        "zero": round(100 * top / height, 2),
        "points": " ".join(f"{x[at]:.1f},{y[at]:.1f}" for at in drawn),
        "marks": [(round(x[place[row]] / 10, 2), round(y[place[row]], 2)) for row in picked],
    }


def template(name: str, folder: Path = HERE) -> Template:
    """A page of a folder, which may import from those of this one; what is put in is escaped."""
    environment = Environment(
        loader=FileSystemLoader([folder, HERE]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["fraction"] = _fraction
    return environment.get_template(name)


def _fraction(value: float | None, form: str = ".4f") -> str:
    return "–" if value is None or math.isnan(value) else format(value, form)
