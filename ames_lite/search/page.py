"""The page of a search: every query beside the images found for it, in one HTML file that needs no
script and no network. There is no ground truth here, so nothing on it says which images are right.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ames_lite.evaluation.pictures import QUERY_THUMBNAIL, Album, write_page
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
) -> Path:
    """Write the page to `path`, in place of one that is there, and return the path.

    images: the indexed folder; facts: label and value, at the head of the page; probability [Q, K]:
    of every hit; absent [Q]: whether no image is similar enough to be an answer. The first
    num_queries are shown, of each the first num_shown.
    """
    asked, album, hits = Album(found.root), Album(images), found.hits
    shown = [
        {
            "name": name,
            "picture": asked.picture(name, QUERY_THUMBNAIL, found.box),
            "own": found.own[q],
            "absent": bool(absent[q]),
            "tiles": [
                {
                    "name": name,
                    "picture": album.picture(name),
                    "rank": k + 1,
                    "before": int(hits.global_rank[q, k]),  # in the global ranking, from 1
                    "score": float(hits.scores[q, k]),
                    "sim": round(float(hits.sims[q, k]), 3) + 0,
                    "probability": None if probability is None else float(probability[q, k]),
                }
                for k, name in enumerate(found.names(q)[:num_shown])
            ],
        }
        for q, name in enumerate(found.queries[:num_queries])
    ]
    content = {
        "title": f"Search in {images.name}",
        "facts": facts,
        "shown": shown,
        "num_queries": len(found.queries),
        "num_shown": num_shown,
        "num_candidates": hits.ids.shape[1],
        "box": found.box,
        "calibrated": probability is not None,
        "failed": found.failed,
        "not_indexed": not_indexed,
        "lost": len(album.troubles()),
    }
    return write_page(path, "search.html.j2", Path(__file__).parent, content)
