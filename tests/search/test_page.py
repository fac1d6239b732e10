"""The page of a search: the views are those of the images that it names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ames_lite.extraction.backbones.sift import Sift
from ames_lite.reranking.scorer import verifier_scorer
from ames_lite.search.image_search import Ranker, search_images
from ames_lite.search.index import OpenIndex
from ames_lite.search.indexing import index_images
from ames_lite.search.page import Pair, pair_page, views_of, write_search_page
from tests.pages import Page
from tests.search.photos import save_photos

SIFT = Sift(top_k=60, image_size=200)
RANKER = Ranker(verifier_scorer("mutual_nn"), 0.3, 0.1, num_rerank=8)


def test_an_index_that_changed_since_the_search_explains_the_same_images(tmp_path: Path) -> None:
    photos, index = save_photos(tmp_path / "photos"), tmp_path / "index"
    index_images(photos, index, SIFT)
    found = search_images(index, photos / "c_1.jpg", SIFT, RANKER, keep=1)
    pairs = [Pair(0, number, None) for number in found.hits.ids[0].tolist()]

    def explained() -> dict[str, object]:
        with OpenIndex(index) as opened:
            views = views_of(found, opened, RANKER).of(pairs)
        return {found.gallery[number]: view for number, view in views[0].items()}

    before = explained()
    (photos / "a_0.jpg").rename(photos / "z.jpg")
    gone = found.names(0)[0]
    (photos / gone).unlink()
    index_images(photos, index, SIFT)
    after = explained()
    same = set(before) - {gone, "a_0.jpg"}
    assert len(same) > 5 and all(after[name] == before[name] for name in same)
    assert "no longer in the index" in str(after[gone])


def test_the_part_that_was_searched_for_is_said_as_in_a_report(tmp_path: Path) -> None:
    photos, index = save_photos(tmp_path / "photos"), tmp_path / "index"
    index_images(photos, index, SIFT)
    box = (10.0, 20.0, 300.4, 400.0)
    found = search_images(index, photos / "c_1.jpg", SIFT, RANKER, box=box, keep=1)
    with OpenIndex(index) as opened:
        views = views_of(found, opened, RANKER)
        pages = [pair_page(found, found.hits, 0, photos, views)]
        facts, rest = {"Images": "12"}, {"not_indexed": {}, "probability": None}
        counts = {"num_shown": 5, "num_queries": 1, "num_pairs": 2}
        given: dict[str, Any] = {
            "facts": facts,
            "absent": np.zeros(1, bool),
            "views": views,
            **rest,
            **counts,
        }
        pages += [write_search_page(tmp_path / "a.html", found, photos, **given).read_text("utf-8")]
    for text in pages:
        page = Page(text)
        said = page.views[0]["said"]
        assert said.startswith("crop box 10, 20, 300, 400; in the folder itself")
    assert "the part that was searched for. A click on an image" in page.text
