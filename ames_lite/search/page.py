"""The page of a search: every query beside the images found for it. There is no ground truth here,
so nothing on it says which images are right.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ames_lite.evaluation.page import Queries, QueryView, Tile, pixels, write_page
from ames_lite.evaluation.pair_view import NOTE, Pair, PairViews
from ames_lite.evaluation.pictures import PagePictures
from ames_lite.search.image_search import Found


def write_search_page(
    path: str | Path,
    found: Found,
    images: Path,
    *,
    facts: Mapping[str, str],
    probability: npt.NDArray[np.float64] | None,
    absent: npt.NDArray[np.bool_],
    not_indexed: Mapping[str, str],
    num_shown: int,
    num_queries: int,
    views: PairViews,
    num_pairs: int,
) -> Path:
    """Write the page to `path`, in place of one that is there, and return the path.

    images: the indexed folder; facts: label and value, at the head of the page; probability [Q, K]:
    of every hit; absent [Q]: whether no image is similar enough to be an answer. The first
    num_queries are shown, of each the first num_shown, with the matches of the first num_pairs.
    """
    pictures, hits = PagePictures(), found.hits
    num = min(num_queries, len(found.queries))
    tile, pair = pixels("tile", num * num_shown), pixels("pair", num * (num_pairs + 1))
    pairs = {
        (q, k): Pair(q, row, found.box)
        for q in range(num)
        for k, row in enumerate(hits.ids[q, : min(num_pairs, num_shown)].tolist())
    }
    explained, shown = views.of(list(pairs.values())), []
    for q, name in enumerate(found.queries[:num]):
        places = [images / one for one in found.names(q)[:num_shown]]
        of_query = {
            pictures.number(place, pair): explained[pairs[q, k]]
            for k, place in enumerate(places)
            if (q, k) in pairs
        }
        tiles = [
            Tile(
                found.names(q)[k],
                pictures.number(place, tile),
                rank=k + 1,
                before=int(hits.global_rank[q, k]),
                tag="",
                said=_say(hits.scores[q, k], hits.sims[q, k], probability, (q, k)),
            )
            for k, place in enumerate(places)
        ]
        marks = ["not in this gallery"] if absent[q] else []
        picture = pictures.number(found.root / name, pair, found.box)
        shown.append(QueryView(name, picture, _about(found, q), None, marks, [tiles], of_query))
    content = {
        "title": f"Search in {images.name}",
        "facts": facts,
        "num_queries": len(found.queries),
        "num_shown": num_shown,
        "num_candidates": hits.ids.shape[1],
        "box": found.box,
        "calibrated": probability is not None,
        "explained": num_pairs > 0,
        "failed": found.failed,
        "not_indexed": not_indexed,
    }
    queries = Queries(shown, ("Found",), NOTE if num_pairs else "")
    return write_page(path, "search.html.j2", Path(__file__).parent, content, queries, pictures)


def _say(
    score: float, sim: float, probability: npt.NDArray[np.float64] | None, at: tuple[int, int]
) -> str:
    said = f"score {score:.3f}, sim {round(float(sim), 3) + 0:.3f}"
    return said if probability is None else f"{said}, p {probability[at]:.2f}"


def _about(found: Found, q: int) -> str:
    """What is said below the picture of a query."""
    name, own = found.queries[q], found.own[q]
    parts = [] if found.box is None else [", ".join(f"{x:.0f}" for x in found.box)]
    if own is not None:
        place = f", as {own}" if own != name else ""
        parts.append(f"in the folder itself{place}, and left out of its list")
    return "; ".join(parts)
