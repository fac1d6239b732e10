"""A ranking of rows, written by names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ames_lite.records import Neighbors
from ames_lite.stores.candidates import Candidates, in_form, write_candidates


def write_ranking(
    path: Path,
    form: str,
    queries: Sequence[str],
    gallery: Sequence[str],
    ranking: Neighbors,
    tag: str = "r",
    **columns: Any,
) -> Path:
    """columns: of `pairs`."""
    lists = in_form(Candidates.of_arrays(ranking.ids, ranking.sims), form, queries, gallery)
    return write_candidates(path, form, lists, tag=tag, columns=columns)
