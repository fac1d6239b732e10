"""Images without descriptors in an evaluation: their pairs have the logit NO_EVIDENCE, so that only
the global similarity ranks them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ames_lite.records import NO_EVIDENCE, PairScores
from ames_lite.stores.descriptor_store import DescriptorStore, say_empty

KEY = "without_descriptors"  # in results.json: by side {"of": number of images, "names": [...]}
CALLED = {"query": "queries", "gallery": "gallery images"}


def find_without_descriptors(
    query_store: DescriptorStore, gallery_store: DescriptorStore, scores: PairScores
) -> dict[str, dict[str, Any]]:
    """By side, how many images there are and the names of those without descriptors.

    A native store tells them from its header; of a published one, which would have to be read as a
    whole, they are those that were scored.
    """
    blank = scores.logit <= NO_EVIDENCE
    queries = _empty_rows(query_store, scores.query, blank)
    other = ~np.isin(scores.query, queries)  # a pair with an empty query says nothing of its image
    gallery = _empty_rows(gallery_store, scores.gallery[other], blank[other])
    sides = {"query": (query_store, queries), "gallery": (gallery_store, gallery)}
    return {
        side: {"of": len(store), "names": [store.names[row] for row in rows]}
        for side, (store, rows) in sides.items()
    }


def _empty_rows(
    store: DescriptorStore, rows: npt.NDArray[np.int32], blank: npt.NDArray[np.bool_]
) -> npt.NDArray[np.integer]:
    if store.published:
        return np.setdiff1d(rows[blank], rows[~blank])
    return store.empty_rows()


def say_without_descriptors(results: Mapping[str, Any]) -> list[str]:
    """A sentence a side that has any; none for results of older versions."""
    found = results.get(KEY, {})
    return [
        f"{say_empty(found[side]['names'], found[side]['of'], what)} (ranked by the global "
        "similarity alone)"
        for side, what in CALLED.items()
        if found.get(side, {}).get("names")
    ]
