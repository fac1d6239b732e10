"""The report page of an evaluation: what reranking did to some queries, as one HTML file.

The page holds its pictures itself and needs no script and no network. Junk takes no place in the
lists shown: rank 1 is the first image that the protocol counts. An image that is not on disk leaves
a placeholder, since a store may be evaluated without its images.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ames_lite.errors import require
from ames_lite.evaluation import pictures
from ames_lite.evaluation.metrics import Ids
from ames_lite.evaluation.passes import Cell, rerank_setting
from ames_lite.evaluation.pictures import Album
from ames_lite.evaluation.protocols import Retrieval, setting_junk
from ames_lite.evaluation.results_file import say_without_descriptors
from ames_lite.records import GroundTruth, Neighbors, PairScores

PerQuery = Sequence[Mapping[str, Any]]  # {"name", "global_ap", "ap"}, null where undefined
Metrics = Mapping[str, float | None]
NUM_SHOWN = 10  # images of a list
CURVE_POINTS = 400  # of the gain curve; more would only make the file larger


def _by_gain(per_query: PerQuery) -> tuple[list[int], list[float]]:
    """The queries that have an AP, best gain first, ties by row; and their gains."""
    gains = {
        row: float(query["ap"]) - float(query["global_ap"])
        for row, query in enumerate(per_query)
        if query["global_ap"] is not None and query["ap"] is not None
    }
    rows = sorted(gains, key=lambda row: (-gains[row], row))
    return rows, [gains[row] for row in rows]


def pick_queries(per_query: PerQuery, count: int) -> list[int]:
    """Rows of `count` queries (or all, where there are fewer), from best gain to worst loss.

    Evenly spread over the queries sorted by gain, both ends included; a single one is the median.
    Queries without an AP are left out. Raises BadInput where count is below 1.
    """
    require(count >= 1, f"{count} queries are to be shown", expected="at least 1")
    rows, _ = _by_gain(per_query)
    if len(rows) <= count:
        return rows
    last = len(rows) - 1
    places = [last // 2] if count == 1 else [i * last // (count - 1) for i in range(count)]
    return [rows[place] for place in places]


def write_report(
    path: str | Path,
    results: Mapping[str, Any],
    lists: Retrieval,
    scores: PairScores,
    image_root: str | Path,
    *,
    num_queries: int = 12,
    comparisons: Sequence[tuple[str, Metrics]] = (),
) -> Path:
    """Write the page to `path`, in place of one that is there, and return the path.

    results: of `evaluator.report`, of these lists and scores; its first row is shown, of a graded
    set in its medium setting. num_queries are shown (see `pick_queries`), of each list the first
    NUM_SHOWN. comparisons: further lines (name, metrics) for the table of metrics.
    """
    per_query, first = results["per_query"], results["rows"][0]
    picked = pick_queries(per_query, num_queries)
    album, truth = Album(Path(image_root)), lists.ground_truth
    setting, cell = lists.protocol.main_settings[0], Cell.of(first)
    reranked, junk = rerank_setting(lists, scores, setting, cell), setting_junk(truth, setting)
    shown = (lists.neighbors, reranked, cell.num_rerank, truth)
    examples = [{**per_query[q], **_example(q, *shown, junk[q], album)} for q in picked]
    troubles = list(album.troubles().values())
    content = {
        "title": f"{results['dataset']}: reranked with {results['model']}",
        "results": results,
        "graded": truth.graded,
        "groups": _metric_groups(list(first["metrics"])),
        "lines": [
            ("global", {}, results["global"]),
            *((name, {}, metrics) for name, metrics in comparisons),
            *(("reranked", row, row["metrics"]) for row in results["rows"]),
        ],
        "examples": examples,
        "num_shown": NUM_SHOWN,
        "counts": _counts(per_query),
        "curve": _gain_curve(per_query, picked),
        "without_descriptors": say_without_descriptors(results),
        "not_found": troubles.count(pictures.NOT_FOUND),
        "unreadable": troubles.count(pictures.NOT_READABLE),
    }
    return pictures.write_page(path, "report.html.j2", pictures.HERE, content)


def _example(
    q: int,
    neighbors: Neighbors,
    reranked: Neighbors,
    num_rerank: int,
    truth: GroundTruth,
    junk: Ids,
    album: Album,
) -> dict[str, Any]:
    """What the page shows of a query: its picture, and the tiles of both lists."""
    strips, ranks = [], dict[int, int]()  # ranks: in the list before
    for found, num in ((neighbors, 0), (reranked, num_rerank)):
        ids, scores = found.ids[q], found.sims[q]
        places, tiles = np.flatnonzero(~np.isin(ids, junk)).tolist(), []
        for rank, place in enumerate(places[:NUM_SHOWN], 1):
            name = truth.gallery_names[row := int(ids[place])]
            tile = {
                "name": name,
                "picture": album.picture(name),
                "rank": rank,
                "before": ranks.get(row),
                "tag": _tag(truth, q, row),
                "kind": "score" if place < num else "sim",
                "score": float(scores[place]),
            }
            tiles.append(tile)
        strips.append(tiles)
        ranks = {row: rank for rank, row in enumerate(ids[places].tolist(), 1)}
    box = truth.bbox[q]
    picture = album.picture(truth.query_names[q], pictures.QUERY_THUMBNAIL, box)
    return {"picture": picture, "box": box, "before": strips[0], "after": strips[1]}


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


def _counts(per_query: PerQuery) -> dict[str, int]:
    _, gains = _by_gain(per_query)
    signs = np.sign(gains).tolist()
    counted = {"better": signs.count(1), "worse": signs.count(-1), "same": signs.count(0)}
    return {"queries": len(per_query), "undefined": len(per_query) - len(gains), **counted}


def _gain_curve(per_query: PerQuery, picked: Sequence[int]) -> dict[str, Any] | None:
    """The sorted gains as a line in a box 1000 wide and 100 high, y down; marks in percent."""
    rows, found = _by_gain(per_query)
    if len(rows) < 2:
        return None
    gains = np.array(found)
    top, bottom = max(gains[0], 0.0), min(gains[-1], 0.0)
    height = (top - bottom) or 1.0
    x, y = np.linspace(0, 1000, len(rows)), 100 * (top - gains) / height
    drawn = np.unique(np.linspace(0, len(rows) - 1, CURVE_POINTS).round().astype(np.int64))
    places = [rows.index(row) for row in picked]
    return {
        "best": gains[0],
        "worst": gains[-1],
        "zero": round(100 * top / height, 2),
        "points": " ".join(f"{x[at]:.1f},{y[at]:.1f}" for at in drawn),
        "marks": [(round(x[at] / 10, 2), round(y[at], 2)) for at in places],
    }
