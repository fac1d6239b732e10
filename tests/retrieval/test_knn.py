"""The laws of exact search: a stable sort of all similarities, whatever the blocks."""

import re

import numpy as np
import pytest

from ames_lite.errors import BadInput
from ames_lite.retrieval import faiss_calls, knn
from ames_lite.retrieval.rows import own_rows


def exact_knn(query, gallery, k, block_rows=None, **options):
    """knn.exact_knn, with so many gallery rows in a block."""
    with pytest.MonkeyPatch.context() as patch:
        if block_rows is not None:
            patch.setattr(knn, "BLOCK_BYTES", block_rows * 4 * query.shape[-1])
        return knn.exact_knn(query, gallery, k, **options)


def referee(query, gallery, k, query_names=None, gallery_names=None):
    """Loops over pairs and a sort by (falling similarity, id); exact for small integers."""
    lists = []
    for q, row in enumerate(query):
        pairs = [(-np.float32(np.dot(row, g)), i) for i, g in enumerate(gallery)]
        if query_names is not None:
            pairs = [p for p in pairs if gallery_names[p[1]] != query_names[q]]
        lists.append(sorted(pairs))
    width = min(k, min(len(pairs) for pairs in lists))
    ids = np.array([[i for _, i in pairs[:width]] for pairs in lists]).reshape(-1, width)
    sims = np.array([[-s for s, _ in pairs[:width]] for pairs in lists]).reshape(-1, width)
    return ids, sims


def integers(seed: int, num: int, width: int, high: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).integers(-high, high + 1, (num, width)).astype(np.float32)


def units(seed: int, num: int, width: int) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((num, width)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture(params=[1, 32])
def margin(request, monkeypatch):
    """Few and many spare candidates, found by matrix products as in a large search."""
    monkeypatch.setattr(knn, "MARGIN", request.param)
    monkeypatch.setattr(faiss_calls.faiss.cvar, "distance_compute_blas_threshold", 1)


@pytest.mark.parametrize("k", [1, 2, 7, 40, 199, 200, 1000])
@pytest.mark.parametrize("high", [1, 3])
def test_many_exact_ties_are_ordered_by_id(margin, k: int, high: int) -> None:
    query, gallery = integers(0, 30, 4, high), integers(1, 200, 4, high)
    ids, sims = referee(query, gallery, k)
    for block_rows in (3, 64, 1000):
        found = exact_knn(query, gallery, k, block_rows=block_rows)
        np.testing.assert_array_equal(found.ids, ids)
        np.testing.assert_array_equal(found.sims, sims)
        assert (found.ids.dtype, found.sims.dtype) == (np.int32, np.float32)


def test_a_gallery_of_copies_is_listed_by_id(margin) -> None:
    gallery = np.repeat(units(0, 2, 16), 150, axis=0)
    found = exact_knn(gallery[:1], gallery, 200, block_rows=70)
    np.testing.assert_array_equal(found.ids[0], np.arange(200))
    assert len(np.unique(found.sims[0, :150])) == 1, "copies are equally similar, to the last bit"


def all_similarities(query: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    ids = np.tile(np.arange(len(gallery)), (len(query), 1))
    return knn.similarities(query, gallery, ids)


@pytest.mark.parametrize("width", [1, 5, 128])
def test_real_numbers_equal_a_stable_sort_of_all_similarities(margin, width: int) -> None:
    gallery = units(0, 700, width)
    gallery[300:400] = gallery[:100]
    gallery[400:500] = np.nextafter(gallery[:100], np.float32(2))  # apart by the last bit
    query = gallery[::3]  # of the copies and of what is apart from them too
    sims = all_similarities(query, gallery)
    np.testing.assert_allclose(sims, query.astype(float) @ gallery.T.astype(float), atol=1e-6)
    order = np.argsort(-sims, axis=1, kind="stable")
    for k in (1, 20, 650):
        for block_rows in (97, 5000):
            found = exact_knn(query, gallery, k, block_rows=block_rows)
            np.testing.assert_array_equal(found.ids, order[:, :k])
            expected = np.take_along_axis(sims, order[:, :k], 1)
            np.testing.assert_array_equal(found.sims, expected)


def test_neither_blocks_nor_query_batches_change_a_bit(monkeypatch) -> None:
    query, gallery = units(2, 23, 96), units(3, 900, 96)
    whole = exact_knn(query, gallery, 30)
    for rows, sizes in {7: (200, 899), 4096: (41, 512)}.items():
        monkeypatch.setattr(knn, "QUERY_ROWS", rows)
        for block_rows in sizes:
            found = exact_knn(query, gallery, 30, block_rows=block_rows)
            assert found.ids.tobytes() == whole.ids.tobytes()
            assert found.sims.tobytes() == whole.sims.tobytes()
            assert found.num_gallery == 900


def test_blocks_are_bounded_in_bytes_unless_told(monkeypatch) -> None:
    gallery, seen = units(3, 90, 16), []
    search = knn._Best.search
    monkeypatch.setattr(knn, "BLOCK_BYTES", 40 * 4 * 16)
    monkeypatch.setattr(
        knn._Best, "search", lambda best, b, ids: (seen.append(len(b)), search(best, b, ids))
    )
    found = exact_knn(gallery[:5], gallery, 4)
    assert seen == [40, 40, 10]
    whole = exact_knn(gallery[:5], gallery, 4, block_rows=100)
    assert seen[3:] == [90] and found.sims.tobytes() == whole.sims.tobytes()


@pytest.mark.parametrize("k", [1, 3, 20])
def test_rounding_hides_no_neighbour(margin, k: int) -> None:
    rng = np.random.default_rng(0)
    values = rng.standard_normal(128).astype(np.float32)
    gallery = np.stack([rng.permutation(values) for _ in range(400)])  # equal but for rounding
    query = np.linspace(0.3, 1, 40, dtype=np.float32)[:, None] * np.ones(128, np.float32)
    sims = all_similarities(query, gallery)
    assert len(np.unique(sims[0])) > 5, "the sums differ in their last bits"
    order = np.argsort(-sims, axis=1, kind="stable")[:, :k]
    for block_rows in (150, 400):
        found = exact_knn(query, gallery, k, block_rows=block_rows)
        np.testing.assert_array_equal(found.ids, order)


@pytest.mark.parametrize("scale", [1e-25, 1e-12, 1e12])
def test_the_size_of_numbers_hides_no_neighbour(margin, scale: float) -> None:
    gallery = (units(4, 300, 8) * scale).astype(np.float32)
    sims = all_similarities(gallery, gallery)
    order = np.argsort(-sims, axis=1, kind="stable")[:, :9]
    np.testing.assert_array_equal(exact_knn(gallery, gallery, 9).ids, order)


@pytest.mark.parametrize("k", [1, 5, 58, 59, 60, 100])
def test_nobody_is_its_own_neighbour_even_among_copies(margin, k: int) -> None:
    gallery = integers(5, 60, 3, 1)
    gallery[10:20] = gallery[0]  # copies under other names stay
    names = [f"{i}.jpg" for i in range(60)]
    order = np.random.default_rng(0).permutation(60)[:25]
    query, query_names = gallery[order], [names[i] for i in order]
    ids, sims = referee(query, gallery, k, query_names, names)
    for block_rows in (4, 60):
        own = own_rows(query_names, names)
        found = exact_knn(query, gallery, k, own=own, block_rows=block_rows)
        np.testing.assert_array_equal(found.ids, ids)
        np.testing.assert_array_equal(found.sims, sims)
        assert not (found.ids == order[:, None]).any()
        assert found.ids.shape[1] == min(k, 59)


def test_only_queries_that_are_in_the_gallery_lose_a_row() -> None:
    gallery = integers(6, 10, 3)
    names = [str(i) for i in range(10)]
    queries = ["3", "elsewhere"]
    found = exact_knn(gallery[3:5], gallery, 10, own=own_rows(queries, names))
    ids, _ = referee(gallery[3:5], gallery, 10, queries, names)
    np.testing.assert_array_equal(found.ids, ids)
    away = exact_knn(gallery[3:5], gallery, 10, own=own_rows(["x", "y"], names))
    assert away.ids.shape == (2, 10)


def test_without_names_an_image_finds_itself() -> None:
    gallery = units(7, 20, 8)
    np.testing.assert_array_equal(exact_knn(gallery, gallery, 1).ids[:, 0], np.arange(20))


def test_float16_is_searched_as_its_float32() -> None:
    gallery = units(8, 100, 8).astype(np.float16)
    a = exact_knn(gallery[:5], gallery, 9, block_rows=40)
    b = exact_knn(gallery[:5].astype(np.float32), gallery.astype(np.float32), 9)
    assert a.ids.tobytes() == b.ids.tobytes() and a.sims.tobytes() == b.sims.tobytes()


def broken(row: int, value: float) -> np.ndarray:
    rows = units(9, 50, 4)
    rows[row, 1] = value
    return rows


@pytest.mark.parametrize(
    ("query", "gallery", "part"),
    [
        (broken(3, np.nan), units(9, 50, 4), "query descriptors: row 3 has NaN"),
        (units(9, 50, 4), broken(47, np.inf), "from row 40: row 7 has NaN"),
        (units(9, 50, 4), units(9, 50, 5), "width 5"),
        (units(9, 50, 4), units(9, 50, 4)[0], "[4] (float32)"),
        (units(9, 50, 4), units(9, 50, 4)[:0], "empty"),
        (units(9, 50, 4)[:0], units(9, 50, 4), "[0, 4]"),
        (units(9, 50, 4).astype(int), units(9, 50, 4), "int64"),
    ],
)
def test_bad_descriptors_are_refused(query, gallery, part: str) -> None:
    with pytest.raises(BadInput, match=re.escape(part)) as error:
        exact_knn(query, gallery, 3, block_rows=20)
    assert "expected" in str(error.value)


def test_bad_arguments_are_refused() -> None:
    rows = units(10, 5, 4)
    with pytest.raises(BadInput, match="k is 0"):
        exact_knn(rows, rows, 0)
    with pytest.raises(BadInput, match="'a' more than once"):
        own_rows("ab", "abcda")


@pytest.mark.parametrize("width", [3, 64])
def test_candidates_by_torch_give_the_same_lists(width: int, monkeypatch) -> None:
    """What a GPU does, on the CPU: ties, blocks and batches of queries."""
    generator = np.random.default_rng(width)
    query, gallery = (generator.integers(-2, 3, (n, width)) for n in (70, 300))
    given = query.astype(np.float32), gallery.astype(np.float32)
    wanted = exact_knn(*given, 40, block_rows=90)
    monkeypatch.setattr(knn, "DEVICE_ROWS", 16)
    monkeypatch.setattr(knn, "flat_candidates", knn._on_device("cpu"))
    found = exact_knn(*given, 40, block_rows=90)
    np.testing.assert_array_equal(found.ids, wanted.ids)
    np.testing.assert_array_equal(found.sims, wanted.sims)


@pytest.mark.gpu
def test_a_gpu_gives_the_same_lists() -> None:
    generator = np.random.default_rng(0)
    query, gallery = (generator.standard_normal((n, 96)).astype(np.float32) for n in (500, 20_000))
    wanted, found = (exact_knn(query, gallery, 100, device=name) for name in ("cpu", "cuda"))
    np.testing.assert_array_equal(found.ids, wanted.ids)
    np.testing.assert_array_equal(found.sims, wanted.sims)
