"""The laws of nn_*.pkl: read without trust, exact ids, and what we write they can read."""

import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from ames_lite.errors import BadInput, MissingFile
from ames_lite.records import Neighbors
from ames_lite.stores.neighbor_lists import read_neighbors, write_neighbors
from ames_lite.stores.published.neighbors import TENSOR, open_planes, read_shortlist
from ames_lite.stores.published.safe_pickle import NUMPY_ARRAYS, read_pickle
from tests.stores.published.test_safe_pickle import Attack

QUERIES, GALLERY = ("q0", "q1", "q2"), tuple(f"g{i}" for i in range(7))


def planes(num_planes: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    sims = torch.rand(3, 7, generator=generator).sort(descending=True).values
    ids = torch.stack([torch.randperm(7, generator=generator) for _ in range(3)]).float()
    return torch.stack([sims, ids, torch.full((3, 7), -1.0)][:num_planes])


def write(path: Path, content: object, protocol: int = 2) -> Path:
    path.write_bytes(pickle.dumps(content, protocol))
    return path


@pytest.mark.parametrize("num_planes", [2, 3])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_sims_and_ids_come_back_exactly(tmp_path: Path, num_planes: int, protocol: int) -> None:
    given = planes(num_planes)
    for content in (
        given,
        given.double(),
        given.numpy(),
        given.transpose(1, 2).mT,
        np.asfortranarray(given.numpy()),
    ):
        path = write(tmp_path / "nn.pkl", content, protocol)
        found = read_neighbors(path, QUERIES, GALLERY)
        np.testing.assert_array_equal(found.ids, given[1].numpy().astype(int))
        np.testing.assert_array_equal(found.sims, given[0].numpy())
        assert (found.ids.dtype, found.sims.dtype) == (np.int32, np.float32)


def test_a_view_of_a_larger_tensor_is_read_as_the_view(tmp_path: Path) -> None:
    large = torch.cat([torch.full((2, 3, 2), 9.0), planes()], dim=2)
    found = read_neighbors(write(tmp_path / "nn.pkl", large[..., 2:]), QUERIES, GALLERY)
    np.testing.assert_array_equal(found.sims, planes()[0].numpy())


def test_what_is_written_is_what_published_code_expects(tmp_path: Path) -> None:
    given = read_neighbors(write(tmp_path / "a.pkl", planes()), QUERIES, GALLERY)
    path = write_neighbors(tmp_path / "b.pkl", given, QUERIES, GALLERY, {"unused": 1})
    with open(path, "rb") as file:
        plain = pickle.load(file)  # noqa: S301 as the published code does
    assert plain.dtype == torch.float32 and torch.equal(plain, planes())
    again = read_neighbors(path, QUERIES, GALLERY, 4)
    np.testing.assert_array_equal(again.ids, given.ids[:, :4])
    with pytest.raises(BadInput, match="exists already"):
        write_neighbors(path, given, QUERIES, GALLERY, {})


def test_an_image_is_left_out_of_its_own_list_by_name(tmp_path: Path) -> None:
    names = tuple(f"g{i}" for i in range(7))
    ids = torch.tensor(
        [[0, 1, 2], [3, 1, 4], [5, 6, 0], [1, 2, 4], [4, 0, 1], [5, 1, 0], [6, 1, 2]]
    )
    sims = torch.linspace(1, 0.5, 3).expand(7, 3)
    path = write(tmp_path / "nn.pkl", torch.stack([sims, ids.float()]))
    found = read_neighbors(path, names, names)
    assert found.ids.tolist() == [[1, 2], [3, 4], [5, 6], [1, 2], [0, 1], [1, 0], [1, 2]]
    assert found.sims[1].tolist() == [1.0, 0.5] and found.sims[2].tolist() == [1.0, 0.75]


@pytest.mark.parametrize("query, place, value", [(1, 2, 7.0), (0, 0, -1.0), (2, 6, 0.5)])
def test_ids_outside_the_gallery_are_refused(
    tmp_path: Path, query: int, place: int, value: float
) -> None:
    given = planes()
    given[1, query, place] = value
    path = write(tmp_path / "nn.pkl", given)
    with pytest.raises(BadInput, match=f"query {query} has the id {value}") as error:
        read_neighbors(path, QUERIES, GALLERY)
    assert str(path) in str(error.value)


def test_lists_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    cases = {
        "3 queries, the query list has 2": (planes(), QUERIES[:2]),
        "the sim nan": (planes() * torch.tensor([torch.nan, 1.0])[:, None, None], QUERIES),
        "twice": (torch.stack([planes()[0], torch.zeros(3, 7)]), QUERIES),
        "float16": (planes().half(), QUERIES),
        r"\[3, 7\]": (planes()[0], QUERIES),
        r"\[4, 3, 7\]": (torch.cat([planes(), planes()]), QUERIES),
        "dict": ({"ids": [1]}, QUERIES),
    }
    for match, (content, queries) in cases.items():
        with pytest.raises(BadInput, match=match) as error:
            read_neighbors(write(tmp_path / "nn.pkl", content), queries, GALLERY)
        assert "nn.pkl" in str(error.value)
    with pytest.raises(MissingFile):
        read_neighbors(tmp_path / "no.pkl", QUERIES, GALLERY)


def test_float32_ids_stop_being_exact(tmp_path: Path) -> None:
    sims, ids = np.ones((1, 1), np.float32), np.zeros((1, 1), np.int32)
    many = Neighbors(ids, sims, (1 << 24) + 1)
    names = [str(i) for i in range(3)]
    with pytest.raises(BadInput, match="gallery list has 3"):
        write_neighbors(tmp_path / "nn.pkl", many, ["q"], names, {})
    from ames_lite.stores.published.neighbors import write_published_neighbors

    with pytest.raises(BadInput, match="16777217"):
        write_published_neighbors(tmp_path / "nn.pkl", many)


def test_nothing_in_a_tensor_pickle_is_run(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    inner = pickle.dumps(Attack(marker), 2)
    forged = [Attack(marker), [planes(), Attack(marker)]]
    for content in forged:
        with pytest.raises(BadInput, match="mkdir"):
            read_neighbors(write(tmp_path / "nn.pkl", content), QUERIES, GALLERY)
    # the storage is a stream of its own, which the weights-only loader reads
    stream = b"\x80\x03ctorch.storage\n_load_from_bytes\n(B" + len(inner).to_bytes(4, "little")
    (tmp_path / "nn.pkl").write_bytes(stream + inner + b"tR.")
    with pytest.raises(BadInput, match=r"nn\.pkl|storage"):
        read_neighbors(tmp_path / "nn.pkl", QUERIES, GALLERY)
    assert not marker.exists()


class Forged:
    """Pickles as a tensor with these parts."""

    def __init__(self, num: int, *parts: object) -> None:
        storage = torch.arange(float(num)).untyped_storage()
        self.storage = torch.storage.TypedStorage(
            wrap_storage=storage, dtype=torch.float32, _internal=True
        )
        self.parts = parts

    def __reduce__(self) -> tuple[object, ...]:
        return torch._utils._rebuild_tensor_v2, (self.storage, *self.parts, False, OrderedDict())


@pytest.mark.parametrize("num", [12, 120_000])  # in memory, and mapped
def test_forged_shapes_never_read_beyond_the_storage(num: int, tmp_path: Path) -> None:
    path, row = tmp_path / "nn.pkl", num // 4
    good = open_planes(write(path, Forged(num, 0, (2, 2, row), (2 * row, row, 1)), 4))
    assert (good.mapped is not None) == (num > 12)
    np.testing.assert_array_equal(good.values.ravel(), np.arange(num))
    for offset, shape, stride in [
        (1, (2, 2, row), (2 * row, row, 1)),
        (0, (3, 2, row), (2 * row, row, 1)),
        (0, (2, 2, row), (1 << 40, row, 1)),
        (-1, (2, 1, 1), (1, 1, 1)),
        (0, (2, 1, 1), (-1, 1, 1)),
        (0, (2, 2, row), (row, 1)),
        (0, (2, True, 1), (1, 1, 1)),
        (0, (2, 0, 1), (1, 1, 1)),
    ]:
        with pytest.raises(BadInput):
            open_planes(write(path, Forged(num, offset, shape, stride), 4))


def test_cut_and_flipped_pickles_raise_bad_input_alone(tmp_path: Path) -> None:
    stream = pickle.dumps(planes(), 2)
    path, rng = tmp_path / "nn.pkl", np.random.default_rng(0)
    for length in range(0, len(stream), 7):
        path.write_bytes(stream[:length])
        with pytest.raises(BadInput):
            read_pickle(path, {**NUMPY_ARRAYS, **TENSOR})
    refused = 0
    for _ in range(300):
        harmed = bytearray(stream)
        harmed[rng.integers(len(harmed))] = rng.integers(256)
        path.write_bytes(harmed)
        try:
            read_neighbors(path, QUERIES, GALLERY)
        except BadInput:
            refused += 1
    assert refused > 100


def test_the_third_plane_gives_every_listed_image_its_row(tmp_path: Path) -> None:
    ids = np.array([[3, 1, 4], [1, 3, 0]])
    rows_of = {0: 2, 1: 0, 3: 3, 4: 1}
    rows = np.vectorize(rows_of.get)(ids)
    sims = np.tile(np.array([3.0, 2.0, 1.0]), (2, 1))
    gallery = [f"g{i}" for i in range(6)]

    def written(third: np.ndarray) -> Path:
        path = tmp_path / "nn.pkl"
        path.write_bytes(pickle.dumps(torch.tensor(np.stack([sims, ids, third])), 2))
        return path

    found = read_shortlist(written(rows), ["a", "b"], gallery)
    assert found is not None and found.tolist() == [2, 0, -1, 3, 1, -1]
    for q, k, value, what in [(0, 0, 9, "row in the shortlist 9"), (1, 1, 1, "two rows")]:
        wrong = rows.copy()
        wrong[q, k] = value
        with pytest.raises(BadInput, match=what):
            read_shortlist(written(wrong), ["a", "b"], gallery)
    twice = np.where(rows == 2, 3, rows)  # images 0 and 3 in one row
    with pytest.raises(BadInput, match="row two images"):
        read_shortlist(written(twice), ["a", "b"], gallery)
    path = tmp_path / "two.pkl"
    path.write_bytes(pickle.dumps(torch.tensor(np.stack([sims, ids])), 2))
    assert read_shortlist(path, ["a", "b"], gallery) is None
