"""The compressed index against the exact search: what it may miss, and what it may not."""

from __future__ import annotations

import logging
import re
from typing import Any

import numpy as np
import pytest

from ames_lite.errors import BadInput
from ames_lite.retrieval import compressed, knn, rows
from ames_lite.retrieval.compressed import IvfPq, compressed_knn
from ames_lite.retrieval.knn import exact_knn

SMALL = IvfPq(code_size=4, nlist=8, nprobe=2, refine=2, recall_queries=20)
WHOLE = IvfPq(code_size=2, nlist=8, nprobe=8, refine=1000, recall_queries=10)


class Rows:
    """A gallery in memory that counts what is read of it at once."""

    def __init__(self, rows: np.ndarray) -> None:
        self.rows, self.dim, self.reads = rows, rows.shape[1], list[int]()

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, first: int, stop: int) -> np.ndarray:
        self.reads.append(stop - first)
        return self.rows[first:stop]


def clustered(seed: int, num: int, width: int = 16) -> np.ndarray:
    """Unit vectors around forty others."""
    generator = np.random.default_rng(seed)
    middles = np.random.default_rng(0).standard_normal((40, width))
    rows = middles[generator.integers(40, size=num)] + generator.standard_normal((num, width)) / 2
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_all_lists_and_all_candidates_are_the_exact_search() -> None:
    """Own images by name, copies by id, the last bit of a similarity."""
    gallery = clustered(1, 600)
    gallery[300:340] = gallery[:40]
    own = np.arange(290, 320)
    found = compressed_knn(gallery[290:320], Rows(gallery), 50, WHOLE, own=own)
    exact = exact_knn(gallery[290:320], gallery, 50, own=own)
    np.testing.assert_array_equal(found.neighbors.ids, exact.ids)
    np.testing.assert_array_equal(found.neighbors.sims, exact.sims)
    assert found.recall == {1: 1.0, 10: 1.0, 50: 1.0}


def test_recall_is_that_of_the_lists_and_similarities_are_exact() -> None:
    query, gallery = clustered(2, 20), clustered(3, 3000)
    found = compressed_knn(query, Rows(gallery), 30, SMALL)
    exact = exact_knn(query, gallery, 30)
    for k in (1, 10, 30):
        shares = [
            len(set(a[:k].tolist()) & set(b[:k].tolist())) / k
            for a, b in zip(found.neighbors.ids, exact.ids, strict=True)
        ]
        assert found.recall[k] == pytest.approx(np.mean(shares))
    assert 0.3 < found.recall[30] < 1
    ids, sims = found.neighbors.ids, found.neighbors.sims
    np.testing.assert_allclose(sims, np.einsum("qd,qkd->qk", query, gallery[ids]), atol=1e-6)
    assert found.settings["nlist"] == 8 and found.settings["recall_queries"] == 20


def test_more_lists_and_more_candidates_find_more() -> None:
    query, gallery = clustered(2, 40), Rows(clustered(3, 3000))
    shares = [
        compressed_knn(query, gallery, 30, IvfPq(4, 8, nprobe, refine, 40)).recall[30]
        for nprobe, refine in ((1, 1), (1, 4), (8, 4), (8, 100))
    ]
    assert shares == sorted(shares) and shares[0] < shares[1] < shares[2] and shares[3] == 1


def test_half_precision_is_searched_as_its_float32() -> None:
    query, gallery = clustered(4, 10), clustered(5, 900).astype(np.float16)
    a, b = (compressed_knn(query, Rows(g), 9, SMALL) for g in (gallery, gallery.astype(np.float32)))
    assert a.neighbors.sims.tobytes() == b.neighbors.sims.tobytes() and a.recall == b.recall


def test_lists_follow_from_the_seed_and_not_from_the_blocks(monkeypatch) -> None:
    query, gallery = clustered(6, 30), Rows(clustered(7, 1500))
    whole = compressed_knn(query, gallery, 20, SMALL)
    gallery.reads.clear()
    for module, name in ((rows, "READ_BYTES"), (knn, "BLOCK_BYTES")):
        monkeypatch.setattr(module, name, 4 * 16 * 128)
    monkeypatch.setattr(compressed, "SEARCH_BYTES", 24 * 41 * 7)  # seven queries at a time
    blocks = compressed_knn(query, gallery, 20, SMALL)
    assert whole.neighbors.ids.tobytes() == blocks.neighbors.ids.tobytes()
    assert whole.neighbors.sims.tobytes() == blocks.neighbors.sims.tobytes()
    assert max(gallery.reads) <= 128, "memory is bounded by the block"
    passes = 3 + -(-30 // 7)  # training, filling, exact lists, and one for every batch of queries
    assert sum(gallery.reads) <= passes * 1500


def test_a_sample_is_bounded_in_bytes(monkeypatch) -> None:
    seen, make = [], compressed.ivf_pq_index

    def watched(*given: int) -> Any:
        index = make(*given)
        train = index.train
        index.train = lambda sample: (seen.append(len(sample)), train(sample))
        return index

    monkeypatch.setattr(compressed, "SAMPLE_BYTES", 4 * 16 * 700)
    monkeypatch.setattr(compressed, "ivf_pq_index", watched)
    found = compressed_knn(clustered(8, 5), Rows(clustered(9, 2000)), 5, IvfPq(4, recall_queries=5))
    assert seen == [700] and found.settings["nlist"] == 700 // compressed.ROWS_PER_LIST
    with pytest.raises(BadInput, match=r"(?s)700 rows of width 16.*800 lists.*by a whitening"):
        compressed_knn(clustered(8, 5), Rows(clustered(9, 2000)), 5, IvfPq(4, 800))


def test_lists_too_short_for_k_are_joined_by_more(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    query, gallery = clustered(10, 12), clustered(11, 400)
    found = compressed_knn(query, Rows(gallery), 390, IvfPq(4, 16, nprobe=1, recall_queries=3))
    assert found.neighbors.ids.shape == (12, 390)
    assert all(len(set(row)) == 390 and row.min() >= 0 for row in found.neighbors.ids)
    assert "found too few neighbours: nprobe=2 for them" in caplog.text


def test_the_width_of_codes_follows_from_that_of_the_rows() -> None:
    for width, size in ((16, 16), (768, 96), (1024, 64), (97, 1), (49152, 96)):
        gallery = Rows(np.zeros((300, width), np.float32))
        assert compressed._settled(IvfPq(), gallery).code_size == size


@pytest.mark.parametrize(
    ("num", "options", "part"),
    [
        (200, SMALL, "200 gallery images are too few for 8 lists and codes of 256"),
        (300, IvfPq(4, 301), "300 gallery images are too few for 301 lists"),
        (300, IvfPq(5), "code_size 5 does not divide the width 16"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(num: int, options: IvfPq, part: str) -> None:
    gallery = Rows(clustered(0, num))
    with pytest.raises(BadInput, match=re.escape(part)) as error:
        compressed_knn(clustered(1, 5), gallery, 3, options)
    assert "expected" in str(error.value) and gallery.reads == []


@pytest.mark.parametrize(
    "wrong", [{"nlist": 0}, {"nprobe": 0}, {"refine": 0}, {"recall_queries": 0}, {"seed": -1}]
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, int]) -> None:
    ((key, value),) = wrong.items()
    with pytest.raises(BadInput, match=f"{key} is {value}(.|\n)*expected"):
        IvfPq(4, **wrong)


def test_bad_rows_are_refused() -> None:
    rows = clustered(0, 300)
    with pytest.raises(BadInput, match="width 8"):
        compressed_knn(rows[:2, :8], Rows(rows), 3, SMALL)
    with pytest.raises(BadInput, match="k is 0"):
        compressed_knn(rows[:2], Rows(rows), 0, SMALL)
    rows[77, 3] = np.nan
    with pytest.raises(BadInput, match="row 77 has NaN"):
        compressed_knn(rows[:2], Rows(rows), 3, SMALL)
