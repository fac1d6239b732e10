"""The page of a search: every query beside the images found for it, as one HTML file.

Input: hits, names, the folders of the pictures. Output: a page that holds its pictures itself and
needs no script and no network. There is no ground truth here, so nothing on the page says which
images are right; it shows where each stood in the global ranking and what moved it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ames_lite.evaluation.pictures import QUERY_THUMBNAIL, Album, Picture, write_page
from ames_lite.io.images import Box
from ames_lite.search.image_search import Hits


class Side(NamedTuple):
    """Images of one side: the folder that the names are relative to, and the names."""

    root: Path
    names: Sequence[str]


class HitTile(NamedTuple):
    """One image found: rank and before count from 1, before in the global ranking."""

    name: str
    picture: Picture
    rank: int
    before: int
    score: float
    sim: float
    probability: float | None


class AskedFor(NamedTuple):
    """One query; own: its name in the gallery, where it was left out; absent: nothing is like it
    enough to be an answer.
    """

    name: str
    picture: Picture
    own: str | None
    absent: bool
    tiles: list[HitTile]


def write_search_page(
    path: str | Path,
    queries: Side,
    gallery: Side,
    hits: Hits,
    *,
    facts: Mapping[str, str],
    probability: npt.NDArray[np.float64] | None,
    absent: npt.NDArray[np.bool_] | None,
    own: Sequence[str | None],
    failed: Mapping[str, str],
    not_indexed: Mapping[str, str],
    box: Box | None,
    num_shown: int,
    num_queries: int,
) -> Path:
    """Write the page to `path`, in place of one that is there, and return the path.

    hits: of queries.names, ids counting in gallery.names; facts: label and value, at the head of
    the page; probability [Q, K]: of every hit; absent [Q], own [Q]: see `AskedFor`; failed,
    not_indexed: queries and gallery images that could not be described, and why; box: the part of
    the query that was searched for. The first num_queries are shown, of each the first num_shown.
    """
    asked, found = Album(queries.root), Album(gallery.root)
    shown = [
        AskedFor(
            name,
            asked.picture(name, QUERY_THUMBNAIL, box),
            own[q],
            absent is not None and bool(absent[q]),
            _tiles(hits, q, gallery.names, found, num_shown, probability),
        )
        for q, name in enumerate(queries.names[:num_queries])
    ]
    content = {
        "title": f"Search in {gallery.root.name}",
        "facts": facts,
        "shown": shown,
        "num_queries": len(queries.names),
        "num_shown": num_shown,
        "num_candidates": hits.ids.shape[1],
        "box": box,
        "calibrated": probability is not None,
        "failed": failed,
        "not_indexed": not_indexed,
        "lost": len(found.troubles()),
    }
    return write_page(path, "search.html.j2", Path(__file__).parent, content)


def _tiles(
    hits: Hits,
    q: int,
    names: Sequence[str],
    album: Album,
    count: int,
    probability: npt.NDArray[np.float64] | None,
) -> list[HitTile]:
    values = (hits.ids, hits.global_rank, hits.scores, hits.sims)
    rows = zip(*(array[q, :count].tolist() for array in values), strict=True)
    right = [None] * count if probability is None else probability[q, :count].tolist()
    return [
        HitTile(
            name=names[n],
            picture=album.picture(names[n]),
            rank=rank,
            before=before,
            score=score,
            sim=round(sim, 3) + 0,
            probability=right[rank - 1],
        )
        for rank, (n, before, score, sim) in enumerate(rows, 1)
    ]
