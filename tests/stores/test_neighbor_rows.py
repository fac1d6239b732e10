"""Lists that stay in their file give the same rows as lists in memory, and need no memory."""

from __future__ import annotations

import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch

from ames_lite.errors import BadInput, MissingFile
from ames_lite.records import Neighbors
from ames_lite.stores import neighbor_rows
from ames_lite.stores.neighbor_lists import (
    convert_published,
    open_neighbor_rows,
    read_neighbors,
    write_neighbors,
)
from ames_lite.stores.neighbor_rows import NeighborRows
from ames_lite.stores.published import neighbors as published_planes
from ames_lite.stores.published.neighbors import open_planes

NUM, DEPTH = 200, 60
NAMES = tuple(f"{i}.jpg" for i in range(NUM))


def lists(with_self: bool = False, num: int = NUM) -> Neighbors:
    rng = np.random.default_rng(1)
    sims = rng.normal(0, 0.4, (num, num)).astype(np.float32)
    np.fill_diagonal(sims, 2 if with_self else -np.inf)
    ids = np.argsort(-sims, axis=1, kind="stable")[:, : num - 1].astype(np.int32)
    return Neighbors(ids, np.take_along_axis(sims, ids, axis=1), num)


def pickled(path: Path, neighbors: Neighbors, protocol: int = 4) -> Path:
    planes = torch.from_numpy(np.stack([neighbors.sims, neighbors.ids]).astype(np.float32))
    path.write_bytes(pickle.dumps(planes, protocol))
    return path


def test_rows_of_a_file_are_those_in_memory(tmp_path: Path) -> None:
    given = lists()
    native = write_neighbors(tmp_path / "nn.hdf5", given, NAMES, NAMES, {})
    plain = NeighborRows.of(given)
    rng = np.random.default_rng(0)
    for path in (native, pickled(tmp_path / "nn.pkl", given)):
        mapped = open_neighbor_rows(path, NAMES)
        assert mapped.mapped is not None and (len(mapped), mapped.width) == (NUM, NUM - 1)
        for rows in (np.arange(50, 90), rng.permutation(NUM)[:30], np.array([7])):
            for depth in (1, DEPTH, 10_000):
                for a, b in zip(plain.take(rows, depth), mapped.take(rows, depth), strict=True):
                    assert a.dtype == b.dtype
                    np.testing.assert_array_equal(a, b)
            mapped.check(slice(0, NUM), DEPTH)
            mapped.release()
        np.testing.assert_array_equal(plain.take(rows, DEPTH)[0], given.ids[rows, :DEPTH])


def test_an_own_entry_goes_to_the_end_and_counts_for_nothing(tmp_path: Path) -> None:
    path = pickled(tmp_path / "nn.pkl", lists(with_self=True))
    without = read_neighbors(path, NAMES, NAMES)
    mapped = open_neighbor_rows(path, NAMES)
    rows = np.arange(NUM)
    ids, sims = mapped.take(rows, DEPTH)
    np.testing.assert_array_equal(ids, without.ids[:, :DEPTH])
    np.testing.assert_array_equal(sims, without.sims[:, :DEPTH])
    ids, sims = mapped.take(rows, NUM)
    assert (ids[:, -1] == rows).all() and (sims[:, -1] == 0).all()


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_planes_are_found_without_reading_them(protocol: int, tmp_path: Path) -> None:
    whole = torch.rand(3, 90, 110, generator=torch.Generator().manual_seed(0))
    path = tmp_path / "nn.pkl"
    for tensor in (whole, whole[:2], whole.double(), whole[:, ::2], whole[:, :, 5:80]):
        path.write_bytes(pickle.dumps(tensor, protocol))
        planes = open_planes(path)
        assert planes.mapped is not None
        np.testing.assert_array_equal(planes.values, tensor.numpy())


def test_what_is_of_another_form_is_read_into_memory(tmp_path: Path) -> None:
    tensor, path = torch.rand(2, 90, 110), tmp_path / "nn.pkl"
    for other in (tensor, tensor.numpy(), tensor.numpy().astype(np.float16), torch.rand(2, 3, 4)):
        path.write_bytes(pickle.dumps(other, 2 if other is tensor else 4))
        planes = open_planes(path)
        assert planes.mapped is None
        np.testing.assert_array_equal(planes.values, np.asarray(other))
    whole = pickle.dumps(tensor, 4)
    for content in (
        *(pickle.dumps(other, 4) for other in ({"a": tensor}, tensor[0], [1, 2])),
        *(whole[:-30_000], whole[:200], b"", b"\x80\x04."),
    ):
        path.write_bytes(content)
        with pytest.raises(BadInput):
            open_planes(path)


class Attack:
    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("this must not be run",))


def test_nothing_of_a_pickle_is_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "nn.pkl"
    for protocol in (3, 4, 5):
        path.write_bytes(pickle.dumps([torch.rand(2, 200, 199), Attack()], protocol))
        with pytest.raises(BadInput, match="not allowed"):
            open_neighbor_rows(path, NAMES)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("with_self", [False, True])
def test_the_conversion_in_blocks_is_the_one_in_memory(
    with_self: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbor_rows, "BLOCK_BYTES", 7 * NUM * 4)  # seven rows at a time
    path = pickled(tmp_path / "nn.pkl", lists(with_self))
    expected = read_neighbors(path, NAMES, NAMES)
    for keep in (None, 50, 5000):
        output = tmp_path / f"{keep}.hdf5"
        convert_published(path, output, NAMES, NAMES, keep=keep)
        found = read_neighbors(output, NAMES, NAMES)
        np.testing.assert_array_equal(found.ids, expected.ids[:, :keep])
        np.testing.assert_array_equal(found.sims, expected.sims[:, :keep])
    monkeypatch.setattr(published_planes, "_mapped", lambda path: None)
    convert_published(path, tmp_path / "slow.hdf5", NAMES, NAMES, keep=50)
    slow, fast = (read_neighbors(tmp_path / f"{n}.hdf5", NAMES, NAMES) for n in ("slow", "50"))
    np.testing.assert_array_equal(slow.ids, fast.ids)
    np.testing.assert_array_equal(slow.sims, fast.sims)


def test_the_conversion_takes_the_memory_of_a_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    num, width = 2000, 1500
    monkeypatch.setattr(neighbor_rows, "BLOCK_BYTES", 1 << 20)
    rng = np.random.default_rng(0)
    first = np.stack([rng.permutation(num - 1)[:width] for _ in range(8)])
    ids = np.tile(first, (num // 8, 1)).astype(np.int32)
    ids[ids >= np.arange(num)[:, None]] += 1  # no image in its own list
    sims = np.broadcast_to(np.linspace(1, 0, width, dtype=np.float32), ids.shape)
    path = pickled(tmp_path / "nn.pkl", Neighbors(ids, sims, num))
    names = tuple(f"{i}.jpg" for i in range(num))
    tracemalloc.start()
    try:
        convert_published(path, tmp_path / "nn.hdf5", names, names)
        open_neighbor_rows(path, names).check(slice(0, 100), 300)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert path.stat().st_size > 24e6 and peak < 12e6
    np.testing.assert_array_equal(read_neighbors(tmp_path / "nn.hdf5", names, names).ids, ids)


@pytest.mark.parametrize(
    "plane, value, message",
    [
        (1, 3.5, "has the id 3.5 in place 2"),
        (1, -1, "has the id -1"),
        (1, NUM, "rows 0 to 199"),
        (0, np.inf, "the sim inf in place 2"),
        (0, np.nan, "the sim nan"),
    ],
)
def test_a_list_that_is_none_is_refused_before_anything_is_written(
    plane: int, value: float, message: str, tmp_path: Path
) -> None:
    given = lists()
    planes = np.stack([given.sims, given.ids]).astype(np.float32)
    planes[plane, 150, 2] = value
    path = tmp_path / "nn.pkl"
    path.write_bytes(pickle.dumps(torch.from_numpy(planes), 4))
    with pytest.raises(BadInput, match=message):
        convert_published(path, tmp_path / "nn.hdf5", NAMES, NAMES)
    assert not (tmp_path / "nn.hdf5").exists()
    with pytest.raises(BadInput, match="query 150 has the"):
        open_neighbor_rows(path, NAMES).check(slice(100, NUM), DEPTH)


def test_lists_that_do_not_fall_keep_their_order_and_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    given = lists()
    sims = given.sims.copy()
    sims[[3, 70, 150]] = sims[[3, 70, 150], ::-1]  # as of a list that was reordered
    path = pickled(tmp_path / "nn.pkl", Neighbors(given.ids, sims, NUM))
    found = read_neighbors(path, NAMES, NAMES)
    np.testing.assert_array_equal(found.ids, given.ids)
    np.testing.assert_array_equal(found.sims, sims)
    assert (given.rising, found.rising) == (0, 3)
    mapped = open_neighbor_rows(path, NAMES)
    assert mapped.check(slice(60, NUM), DEPTH) == 2
    np.testing.assert_array_equal(mapped.take(np.array([70]), 5)[0][0], given.ids[70, :5])
    for keep in (None, 50):
        caplog.clear()
        output = convert_published(path, tmp_path / f"{keep}.hdf5", NAMES, NAMES, keep=keep)
        assert "nn.pkl: the similarities of 3 of 200 lists do not fall" in caplog.text
        assert len(caplog.records) == 1
        np.testing.assert_array_equal(read_neighbors(output, NAMES, NAMES).sims, sims[:, :keep])


def test_lists_of_other_images_are_refused(tmp_path: Path) -> None:
    native = write_neighbors(tmp_path / "nn.hdf5", lists(), NAMES, NAMES, {})
    with pytest.raises(BadInput, match="another query list"):
        open_neighbor_rows(native, NAMES[::-1])
    with pytest.raises(BadInput, match="199"):
        open_neighbor_rows(pickled(tmp_path / "nn.pkl", lists()), NAMES[:-1])
    with pytest.raises(MissingFile):
        open_neighbor_rows(tmp_path / "no.hdf5", NAMES)
