"""The page of a search: queries beside what was found; there is no ground truth to judge it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput
from ames_lite.evaluation import page as pages
from ames_lite.evaluation.page import PIXELS, PagePictures, Queries, QueryView, Tile, render_page
from ames_lite.evaluation.pair_view import NOTE, Pair, PairViews
from ames_lite.records import LocalDescriptors
from ames_lite.search.image_search import Found, Hits, Ranker
from ames_lite.search.index import OpenIndex

ABSENT = "not in this gallery"
Probability = npt.NDArray[np.float64] | None


def write_search_page(
    path: str | Path,
    found: Found,
    images: Path,
    *,
    facts: Mapping[str, str],
    probability: Probability,
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
    tile, pair = pages.pixels("tile", num * num_shown), pages.pixels("pair", num * (num_pairs + 1))
    first = hits.ids[:num, : min(num_pairs, num_shown)].tolist()
    pairs = [Pair(q, row, found.box) for q, rows in enumerate(first) for row in rows]
    explained, shown = views.of(pairs), []
    for q, name in enumerate(found.queries[:num]):
        places = [images / one for one in found.names(q)[:num_shown]]
        of_query = {
            pictures.number(images / found.gallery[row], pair): view
            for row, view in explained.get(q, {}).items()
        }
        tiles = [
            _tile(found.gallery, hits, (q, k), pictures.number(place, tile), probability)
            for k, place in enumerate(places)
        ]
        marks = [ABSENT] if absent[q] else []
        picture = pictures.number(found.root / name, pair, found.box)
        shown.append(QueryView(name, picture, _about(found, q), None, marks, [tiles], of_query))
    content: dict[str, Any] = {"title": f"Search in {images.name}", "facts": facts}
    content |= {"num_queries": len(found.queries), "num_candidates": hits.ids.shape[1]}
    content |= {"num_shown": num_shown, "calibrated": probability is not None}
    content |= {"failed": found.failed, "not_indexed": not_indexed, "box": found.box}
    queries = Queries(shown, ("Found",), NOTE if num_pairs else "")
    page = render_page("search.html.j2", Path(__file__).parent, content, queries, pictures)
    return pages.write_page(path, page)


def views_of(found: Found, index: OpenIndex, ranker: Ranker) -> PairViews:
    """Explains pairs of queries that were kept; images are found by name in an index that was
    updated since, and is open.
    """

    def read(number: int) -> LocalDescriptors:
        here = index.id_of.get(found.gallery[number])
        if here is None:
            raise BadInput("the image is no longer in the index")
        return index.read(here, ranker.options.gallery_count)

    return PairViews(ranker.scorer.model, found.local.__getitem__, read)


def pair_page(found: Found, hits: Hits, place: int, images: Path, views: PairViews) -> str:
    """A page of the only query and one image of its list, hits, with their matches."""
    pictures, number, large = PagePictures(), int(hits.ids[0, place]), PIXELS["pair"]
    name, asked = found.gallery[number], found.queries[0]
    candidate = pictures.number(images / name, large)
    query = pictures.number(found.root / asked, large, found.box)
    tile = _tile(found.gallery, hits, (0, place), candidate, None)
    of_query = {candidate: views.of([Pair(0, number, found.box)])[0][number]}
    view = QueryView(asked, query, _about(found, 0), None, [], [[tile]], of_query)
    queries = Queries([view], ("Found",), NOTE, opened=True)
    content = {"title": f"{asked} and {name}"}
    return render_page("page.html.j2", Path(__file__).parent, content, queries, pictures)


def _tile(
    gallery: Sequence[str], hits: Hits, at: tuple[int, int], picture: int, probability: Probability
) -> Tile:
    score, sim = (pages.say_score(float(values[at])) for values in (hits.scores, hits.sims))
    said = f"score {score}, sim {sim}"
    said += "" if probability is None else f", p {probability[at]:.2f}"
    before = int(hits.global_rank[at])
    return Tile(gallery[hits.ids[at]], picture, at[1] + 1, before, tag="", said=said)


def _about(found: Found, q: int) -> str:
    """What is said below the picture of a query."""
    name, own = found.queries[q], found.own[q]
    parts = pages.say_box(found.box)
    if own is not None:
        place = f", as {own}" if own != name else ""
        parts.append(f"in the folder itself{place}, and left out of its list")
    return "; ".join(parts)
