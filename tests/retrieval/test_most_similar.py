"""The shortlist equals a sort of all similarities, whatever the blocks and the order of rows."""

from __future__ import annotations

import numpy as np
import pytest

from ames_lite.errors import BadInput
from ames_lite.retrieval.knn import most_similar

Blocks = list[tuple[np.ndarray, np.ndarray]]


def unit(rng: np.random.Generator, num: int, width: int) -> np.ndarray:
    rows = rng.standard_normal((num, width))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def referee(query: np.ndarray, gallery: np.ndarray, own: list[int | None]) -> list[list[int]]:
    """One pair at a time, in float64; ids sorted by falling float32 similarity, then by id."""
    lists = []
    for vector, left_out in zip(query, own, strict=True):
        sims = [np.float32(np.einsum("d,d->", row.astype(np.float64), vector)) for row in gallery]
        ids = [n for n in range(len(gallery)) if n != left_out]
        lists.append(sorted(ids, key=lambda n: (-sims[n], n)))
    return lists


def cut(gallery: np.ndarray, order: np.ndarray, size: int) -> Blocks:
    return [(gallery[order[i : i + size]], order[i : i + size]) for i in range(0, len(order), size)]


@pytest.mark.parametrize("count", [1, 3, 10, 59, 60, 100])
@pytest.mark.parametrize("size", [1, 7, 60])
def test_the_list_is_that_of_a_full_sort(count: int, size: int) -> None:
    rng = np.random.default_rng(count)
    gallery = unit(rng, 60, 48).astype(np.float16)
    gallery[40:50] = gallery[10]  # ties, also at the end of a list
    gallery[30:33] = -gallery[10]
    query = np.concatenate([unit(rng, 3, 48), gallery[10:11]]).astype(np.float32)
    for own in ([None] * 4, [None, 5, None, 10]):
        found = most_similar(query, cut(gallery, rng.permutation(60), size), count, 60, own)
        wanted = referee(query, gallery, own)
        width = min(count, min(map(len, wanted)))
        assert found.ids.tolist() == [row[:width] for row in wanted]
        assert found.num_gallery == 60


def test_what_rounding_hides_is_still_found() -> None:
    """Vectors that differ by less than float32 products tell apart: float64 decides."""
    rng = np.random.default_rng(0)
    base = unit(rng, 1, 4096)[0]
    gallery = np.stack([base] * 300).astype(np.float16)
    places = rng.integers(0, 4096, 300)
    gallery[np.arange(300), places] += np.float16(2e-5)
    query = base[None].astype(np.float32)
    found = most_similar(query, cut(gallery, rng.permutation(300), 64), 20, 300)
    assert found.ids.tolist() == [referee(query, gallery, [None])[0][:20]]


def test_wrong_vectors_are_refused() -> None:
    gallery = unit(np.random.default_rng(0), 5, 8).astype(np.float16)
    query, ids = gallery[:1].astype(np.float32), np.arange(5)
    with pytest.raises(BadInput, match="have width 8"):
        most_similar(query[:, :4], [(gallery, ids)], 2, 5)
    with pytest.raises(BadInput, match="no vector to be found"):
        most_similar(query, [(gallery[:1], ids[:1])], 2, 5, [0])
    gallery[3, 2] = np.nan
    with pytest.raises(BadInput, match="NaN"):
        most_similar(query, [(gallery, ids)], 2, 5)
