"""Laws of records: whatever is given, one is made that is what it says, or it is refused."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis.extra.numpy as arrays
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ames_lite.errors import BadInput
from ames_lite.records import LocalDescriptors, Neighbors, PairScores
from ames_lite.stores import pair_scores
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.neighbor_lists import read_neighbors, write_neighbors
from tests.laws import any_arrays, floats, law

Array = np.ndarray[Any, Any]


def made(make: Callable[[], Any]) -> Any:
    """The record; None where it was refused, in words."""
    try:
        return make()
    except BadInput as error:
        assert len(str(error)) > 10
        return None


@law
@given(any_arrays(2, 2, 1, 1), st.tuples(st.integers(-1, 3), st.integers(0, 3)))
def test_descriptors_are_what_they_say_or_refused(
    parts: list[Array], size: tuple[int, int]
) -> None:
    descriptors, xy, scale, weight = parts
    xy = xy[:, :2] if xy.ndim == 2 else xy
    found = made(lambda: LocalDescriptors(descriptors, xy, scale, weight, size))
    if found is not None:
        assert found.descriptors.shape == descriptors.shape and found.xy.shape == (found.count, 2)
        assert np.isfinite(found.descriptors).all() and np.isfinite(found.weight).all()
        assert (np.diff(found.weight) <= 0).all() and min(found.size) > 0
        assert not found.placed or ((found.xy >= 0) & (found.xy <= 1)).all()
        assert not any(getattr(found, name).flags.writeable for name in ("xy", "scale", "weight"))


@st.composite
def descriptors_of(draw: Any) -> LocalDescriptors:
    count, kind = draw(st.integers(0, 6)), draw(st.sampled_from(["f2", "f4"]))
    numbers = arrays.arrays(kind, (count, 8), elements=floats("f2", -8, 8))
    unit = floats("f4", 0, 1)
    weight = draw(arrays.arrays("f4", count, elements=floats("f4", -100, 100)))
    xy = draw(arrays.arrays("f4", (count, 2), elements=unit))
    scale = draw(arrays.arrays("u1", count))
    size = draw(st.tuples(st.integers(1, 9999), st.integers(1, 9999)))
    return LocalDescriptors(draw(numbers), xy, scale, -np.sort(-weight), size)


@law
@given(st.lists(descriptors_of(), min_size=1, max_size=4))
def test_descriptors_come_back_from_a_file(rows: list[LocalDescriptors]) -> None:
    names = [f"{row}.jpg" for row in range(len(rows))]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.hdf5"
        with DescriptorStore.create(path, names, 6, 8, "float16", {"layer": 1}) as store:
            for name, row in zip(names, rows, strict=True):
                store.append(name, row)
        with DescriptorStore.open(path) as store:
            for number, row in enumerate(rows):
                found = store.read(number)
                assert found.size == row.size
                for name in ("descriptors", "xy", "scale", "weight"):
                    np.testing.assert_array_equal(getattr(found, name), getattr(row, name))


@law
@given(any_arrays(2, 2), st.integers(0, 300))
def test_neighbors_are_what_they_say_or_refused(parts: list[Array], num: int) -> None:
    ids, sims = parts
    found = made(lambda: Neighbors(ids, sims, num))
    if found is not None:
        assert found.ids.shape == found.sims.shape and found.ids.ndim == 2
        assert all(len(set(row)) == len(row) for row in found.ids.tolist())
        assert not found.ids.size or 0 <= found.ids.min() <= found.ids.max() < num
        assert np.isfinite(found.sims).all() and 0 <= found.rising <= len(found.ids)


@st.composite
def neighbors(draw: Any) -> Neighbors:
    queries, num = draw(st.integers(1, 4)), draw(st.integers(1, 9))
    length = draw(st.integers(1, num))
    orders = [draw(st.permutations(range(num)))[:length] for _ in range(queries)]
    values = arrays.arrays("f4", (queries, length), elements=floats("f4", -1, 1))
    return Neighbors(np.array(orders, np.int32), -np.sort(-draw(values), axis=1), num)


@law
@given(neighbors(), st.sampled_from([".hdf5", ".pkl"]))
def test_neighbors_come_back_from_a_file(given_lists: Neighbors, suffix: str) -> None:
    queries = [f"q{row}" for row in range(len(given_lists.ids))]
    gallery = [f"g{row}" for row in range(given_lists.num_gallery)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"nn{suffix}"
        write_neighbors(path, given_lists, queries, gallery, {})
        found = read_neighbors(path, queries, gallery)
        np.testing.assert_array_equal(found.ids, given_lists.ids)
        np.testing.assert_array_equal(found.sims, given_lists.sims)


@law
@given(any_arrays(1, 1, 1))
def test_scores_are_what_they_say_or_refused(parts: list[Array]) -> None:
    query, image, logit = parts
    found = made(lambda: PairScores(query, image, logit))
    if found is not None:
        pairs = list(zip(found.query.tolist(), found.gallery.tolist(), strict=True))
        assert pairs == sorted(set(pairs)) and np.isfinite(found.logit).all()
        assert set(pairs) == set(zip(query.tolist(), image.tolist(), strict=True))
        assert not pairs or min(map(min, pairs)) >= 0


@law
@given(
    st.dictionaries(
        st.tuples(st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1)),
        floats("f4", -1000, 1000),
        max_size=9,
    )
)
def test_scores_come_back_from_a_file(logit_of: dict[tuple[int, int], float]) -> None:
    pairs = np.array(list(logit_of), np.int32).reshape(-1, 2)
    one = PairScores(pairs[:, 0], pairs[:, 1], np.array(list(logit_of.values()), np.float32))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scores.hdf5"
        pair_scores.write_pair_scores(path, one, {"weights": "x"}, {})
        found = pair_scores.read_pair_scores(path, {"weights": "x"})
    for name in ("query", "gallery", "logit"):
        np.testing.assert_array_equal(getattr(found, name), getattr(one, name))
