"""`.npy` files with objects: what np.save writes is read, and nothing is ever executed."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ames_lite.errors import BadInput, MissingFile
from ames_lite.stores.published.safe_pickle import (
    NUMPY_ARRAYS,
    OBJECT_ARRAYS,
    read_npy,
    read_pickle,
)


def nested() -> np.ndarray[Any, Any]:
    array = np.empty((2, 3), object)
    inner = np.empty(2, object)
    inner[:] = [[1], np.array([2.5])]
    array[0] = [0, [1, 2], "ä"]
    array[1] = [np.int64(7), np.arange(3), inner]
    return array


def test_objects_come_back_as_they_were(tmp_path: Path) -> None:
    for order in ("C", "F"):
        given = np.array(nested(), order=order)  # type: ignore[call-overload]
        np.save(tmp_path / "a.npy", given)
        came = read_npy(tmp_path / "a.npy")
        assert came.shape == (2, 3) and came.dtype == object
        assert came[0].tolist() == [0, [1, 2], "ä"]
        assert came[1, 0] == 7 and came[1, 1].tolist() == [0, 1, 2]
        assert came[1, 2][0] == [1] and came[1, 2][1].tolist() == [2.5]


@pytest.mark.parametrize("array", [np.eye(3), np.array(["a", "bc"]), np.array(3), np.zeros((0, 2))])
def test_plain_arrays_are_read_too(array: np.ndarray[Any, Any], tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", array)
    np.testing.assert_array_equal(read_npy(tmp_path / "a.npy"), array)


class Attack:
    ran = False

    def __reduce__(self) -> tuple[object, ...]:
        return (setattr, (Attack, "ran", True))


def test_what_asks_for_a_call_is_refused_and_not_called(tmp_path: Path) -> None:
    array = np.empty(2, object)
    array[0] = Attack()
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(BadInput, match=r"setattr(.|\n)*a\.npy"):
        read_npy(tmp_path / "a.npy")
    assert not Attack.ran


def header(content: bytes, shape: tuple[int, ...]) -> bytes:
    """The header of an array of objects before any content."""
    text = repr({"descr": "|O", "fortran_order": False, "shape": shape}).ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + content


@pytest.mark.parametrize(
    "content",
    {
        "another shape": header(pickle.dumps(nested()), (3, 2)),
        "no array": header(pickle.dumps([1, 2]), (2,)),
        "numbers": header(pickle.dumps(np.zeros(2)), (2,)),
        "cut": header(pickle.dumps(nested())[:-20], (2, 3)),
        "nothing": b"",
        "no npy": b"hello, this is no array",
        "records": b"\x93NUMPY\x01\x00\x40\x00"
        + repr({"descr": [("a", "|O")], "fortran_order": False, "shape": (1,)}).ljust(64).encode(),
    }.items(),
    ids=lambda item: item[0],
)
def test_damage_is_named(content: tuple[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(content[1])
    with pytest.raises(BadInput, match=r"a\.npy"):
        read_npy(tmp_path / "a.npy")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match=r"a\.npy(.|\n)*poses"):
        read_npy(tmp_path / "a.npy", "poses")


class Forged:
    """An array of objects whose state is what a test says."""

    def __init__(self, shape: tuple[int, ...], data: object) -> None:
        self.shape, self.data = shape, data

    def __reduce__(self) -> tuple[object, ...]:
        make, arguments, _ = np.empty(1, object).__reduce__()
        return make, arguments, (1, self.shape, np.dtype(object), False, self.data)


@pytest.mark.parametrize("data", [[1], [1, 2, 3], b"\0" * 16, (1, 2), {"a": 1}])
def test_a_forged_state_is_refused(data: object, tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(Forged((2,), data)))
    with pytest.raises(BadInput):
        read_pickle(path, OBJECT_ARRAYS)


def test_objects_stay_forbidden_where_only_numbers_are_allowed(tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(nested()))
    with pytest.raises(BadInput):
        read_pickle(path, NUMPY_ARRAYS)
    came = read_pickle(path, OBJECT_ARRAYS)
    assert isinstance(came, np.ndarray) and came.shape == (2, 3)
