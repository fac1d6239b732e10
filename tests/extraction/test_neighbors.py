"""The laws of neighbour lists: exact, in either form, from native and published descriptors."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from ames_lite.errors import BadInput
from ames_lite.extraction.neighbors import convert_topk, prepare_topk
from ames_lite.retrieval.compressed import IvfPq
from ames_lite.stores.global_store import GlobalStore
from ames_lite.stores.neighbor_lists import read_neighbors
from ames_lite.stores.row_writer import GlobalWriter
from tests.stores.files import read_globals, write_globals

QUERIES = tuple(f"q{i}" for i in range(5))
GALLERY = (*(f"g{i}" for i in range(30)), "q2")


def descriptors(num: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((num, 8)).astype(np.float32)


@pytest.fixture
def paths(tmp_path: Path) -> tuple[Path, Path]:
    made = {"backbone": "tiny"}
    query = write_globals(tmp_path / "q.hdf5", QUERIES, descriptors(5, 0), made)
    return query, write_globals(tmp_path / "g.hdf5", GALLERY, descriptors(31, 1), made)


def test_both_forms_hold_the_same_lists(paths: tuple[Path, Path], tmp_path: Path) -> None:
    native = prepare_topk(*paths, tmp_path / "nn.hdf5", num_neighbors=12)
    published = prepare_topk(*paths, tmp_path / "nn.pkl", num_neighbors=12)
    a, b = (read_neighbors(path, QUERIES, GALLERY) for path in (native, published))
    np.testing.assert_array_equal(a.ids, b.ids)
    np.testing.assert_array_equal(a.sims, b.sims)
    sims = descriptors(5, 0) @ descriptors(31, 1).T
    sims[2, 30] = -np.inf  # itself
    np.testing.assert_array_equal(a.ids, np.argsort(-sims, axis=1)[:, :12])


def test_lists_are_converted_both_ways(paths: tuple[Path, Path], tmp_path: Path) -> None:
    native = prepare_topk(*paths, tmp_path / "nn.hdf5", num_neighbors=12)
    published = convert_topk(native, tmp_path / "nn.pkl", QUERIES, GALLERY)
    back = convert_topk(published, tmp_path / "back.hdf5", QUERIES, GALLERY)
    a, b = (read_neighbors(path, QUERIES, GALLERY) for path in (native, back))
    np.testing.assert_array_equal(a.ids, b.ids)
    np.testing.assert_array_equal(a.sims, b.sims)
    with pytest.raises(BadInput, match="exists already"):
        convert_topk(native, published, QUERIES, GALLERY)
    with pytest.raises(BadInput, match="query list"):
        convert_topk(native, tmp_path / "no.pkl", QUERIES[::-1], GALLERY)
    with pytest.raises(BadInput, match="one file"):
        convert_topk(native, native, QUERIES, GALLERY, overwrite=True)


def test_published_descriptors_are_searched_with_their_lists(
    paths: tuple[Path, Path], tmp_path: Path
) -> None:
    plain = []
    for name, path in (("query", paths[0]), ("gallery", paths[1])):
        plain.append(tmp_path / f"dinov2_{name}_cls.hdf5")
        with h5py.File(plain[-1], "w") as file:
            file["features"] = read_globals(path)[1]
    native = prepare_topk(*paths, tmp_path / "a.hdf5")
    other = prepare_topk(*plain, tmp_path / "b.hdf5", names=(QUERIES, GALLERY))
    a, b = (read_neighbors(path, QUERIES, GALLERY) for path in (native, other))
    np.testing.assert_array_equal(a.ids, b.ids)
    with pytest.raises(BadInput, match="without names"):
        prepare_topk(*plain, tmp_path / "c.hdf5")
    with pytest.raises(BadInput, match=r"\[31, 8\]"):
        prepare_topk(*plain, tmp_path / "c.hdf5", names=(QUERIES, GALLERY[:30]))


def test_a_set_against_itself_is_read_once(tmp_path: Path, monkeypatch) -> None:
    path = write_globals(tmp_path / "t.hdf5", GALLERY, descriptors(31, 1), {})
    seen = []

    class Counted(GlobalStore):
        def read(self, first, stop):
            seen.append((first, stop))
            return super().read(first, stop)

    monkeypatch.setattr("ames_lite.extraction.neighbors.GlobalStore", Counted)
    found = prepare_topk(path, path, tmp_path / "nn.hdf5", num_neighbors=31)
    neighbors = read_neighbors(found, GALLERY, GALLERY)
    assert len(seen) == 1 and neighbors.ids.shape == (31, 30)
    assert not (neighbors.ids == np.arange(31)[:, None]).any()


def test_a_gallery_is_read_in_blocks(tmp_path: Path, monkeypatch) -> None:
    paths = [
        write_globals(tmp_path / f"{len(names)}.hdf5", names, descriptors(len(names), seed), {})
        for seed, names in enumerate((QUERIES, GALLERY))
    ]
    whole = prepare_topk(*paths, tmp_path / "a.hdf5")
    monkeypatch.setattr("ames_lite.retrieval.knn.BLOCK_BYTES", 4 * 8 * 7)  # seven rows
    blocks = prepare_topk(*paths, tmp_path / "b.hdf5")
    assert whole.read_bytes() == blocks.read_bytes()


def test_images_that_failed_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with GlobalWriter(tmp_path / "g.hdf5", GALLERY, 8, {}) as writer:
        writer.mark_failed(GALLERY[0], "no image")
        for name, row in zip(GALLERY[1:], descriptors(31, 1), strict=False):
            writer.append(name, row)
    query = write_globals(tmp_path / "q.hdf5", QUERIES, descriptors(5, 0), {})
    prepare_topk(query, tmp_path / "g.hdf5", tmp_path / "nn.hdf5")
    assert "1 of 31 images failed" in caplog.text


def test_a_compressed_search_says_what_it_missed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    names = [f"g{i}" for i in range(900)]
    paths = [
        write_globals(tmp_path / f"{seed}.hdf5", of, descriptors(len(of), seed), {"backbone": "b"})
        for seed, of in enumerate((QUERIES, names))
    ]
    index = IvfPq(code_size=2, nlist=16, nprobe=3, refine=1)
    found = prepare_topk(*paths, tmp_path / "nn.hdf5", num_neighbors=100, index=index)
    exact = prepare_topk(*paths, tmp_path / "exact.hdf5", num_neighbors=100)
    a, b = (read_neighbors(path, QUERIES, names) for path in (found, exact))
    shares = [np.isin(one, other).mean() for one, other in zip(b.ids, a.ids, strict=True)]
    with h5py.File(found) as file:
        stored = json.loads(file.attrs["provenance"])
    assert stored["search"].startswith("ivf_pq") and stored["backbone"] == "b"
    assert stored["recall@100"] == pytest.approx(np.mean(shares)) and np.mean(shares) < 1
    assert (stored["nlist"], stored["nprobe"], stored["recall_queries"]) == (16, 3, 5)
    assert f"against exact, on 5 queries: recall@1 {stored['recall@1']:.4f}" in caplog.text
    assert f"recall@100 {np.mean(shares):.4f}" in caplog.text


def test_a_compressed_search_of_a_set_against_itself(tmp_path: Path) -> None:
    names = [f"g{i}" for i in range(600)]
    path = write_globals(tmp_path / "t.hdf5", names, descriptors(600, 1), {})
    index = IvfPq(code_size=4, nlist=4, nprobe=4, refine=600)
    found = prepare_topk(path, path, tmp_path / "a.hdf5", num_neighbors=20, index=index)
    exact = prepare_topk(path, path, tmp_path / "b.hdf5", num_neighbors=20)
    a, b = (read_neighbors(one, names, names) for one in (found, exact))
    np.testing.assert_array_equal(a.ids, b.ids)
    np.testing.assert_array_equal(a.sims, b.sims)
